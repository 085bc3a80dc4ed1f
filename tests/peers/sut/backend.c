/* A small sound backend, as a subject of the protocol vtpm-sut/1: written from PROTOCOL.md and the handshake alone. */

#include "sut.h"

enum { ABSENT, INITIALISING, INIT_WAIT, INITIALISED, CONNECTED, CLOSING, CLOSED, NO_STATE = 9 };
enum { IDLE, SUBMIT, FINISH, CANCEL };

#define DEVICES 16
#define HEADER 10 /* bytes of a TPM header */

struct device {
	unsigned domain, handle;
	int known;     /* this record is in use */
	int tracked;   /* the application was told */
	int leaving;   /* there is a reason to close it */
	int left;      /* it was closed, and not made anew since */
	int connected; /* the number of its connection, 0: none */
	unsigned long page, port;
	unsigned long ref, channel; /* the keys of that connection */
	int ready;                  /* a request was seen */
};

static struct device devices[DEVICES];
static int connections;
static int last; /* whom the TPM worked for last */

static struct {
	struct device *device; /* NULL: the TPM has nothing to do */
	int connection;
	unsigned extra;
	unsigned char head[HEADER];
} job;

static void look(struct device *device);

/* ------------------------------------------------------------------------------------------------------ xenstore */

static char tx[40]; /* names the transaction that is open, as it stands in a request; empty: none is */

static int begin(void)
{
	if (!call("{\"do\":\"begin\"}"))
		return 0;
	snprintf(tx, sizeof tx, ",\"tx\":%lu", number("tx"));
	return 1;
}

/* 0: somebody has changed the store meanwhile, and all of it is to be done again. */
static int commit(void)
{
	int done = call("{\"do\":\"commit\"%s}", tx) || !strstr(answer, "EAGAIN");

	tx[0] = 0;
	return done;
}

static int read_node(const char *directory, const char *name, char *to, size_t size)
{
	if (!call("{\"do\":\"read\",\"path\":\"%s/%s\"%s}", directory, name, tx))
		return 0;
	/* a value with a byte of zero in it is none that anybody means */
	return string("value", to, size) == strlen(to);
}

static int state_of(const char *directory)
{
	char text[MOST];

	if (!call("{\"do\":\"read\",\"path\":\"%s/state\"%s}", directory, tx))
		return ABSENT;
	if (string("value", text, sizeof text) == 1 && text[0] >= '0' && text[0] <= '8')
		return text[0] - '0';
	return NO_STATE;
}

/* A key of the frontend: a decimal number of 32 bits and nothing else. */
static int read_key(const char *directory, const char *name, unsigned long *key)
{
	char text[MOST];
	size_t length;

	*key = 0;
	if (!read_node(directory, name, text, sizeof text))
		return 0;
	length = strspn(text, "0123456789");
	if (!length || length > 10 || text[length] || (length > 1 && text[0] == '0'))
		return 0;
	*key = strtoul(text, NULL, 10);
	return *key <= 0xffffffff;
}

static int is_uuid(const char *text)
{
	static const char shape[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
	size_t at;

	for (at = 0; shape[at]; at++)
		if (shape[at] == 'x' ? !text[at] || !strchr("0123456789abcdefABCDEF", text[at]) : text[at] != '-')
			return 0;
	return !text[at];
}

static const char *back(const struct device *device)
{
	static char path[64];

	snprintf(path, sizeof path, "backend/vtpm/%u/%u", device->domain, device->handle);
	return path;
}

static const char *front(const struct device *device)
{
	static char path[64];

	snprintf(path, sizeof path, "/local/domain/%u/device/vtpm/%u", device->domain, device->handle);
	return path;
}

static int online(const struct device *device)
{
	char text[MOST];

	return read_node(back(device), "online", text, sizeof text) && !strcmp(text, "1");
}

/* A node that is gone is not made again, and what the toolstack asked to be closed is not opened. */
static void set_state(const struct device *device, int state)
{
	int opens = state == INIT_WAIT || state == CONNECTED;

	do {
		if (!begin())
			return;
		if (state_of(back(device)) != ABSENT && (!opens || online(device)))
			call("{\"do\":\"write\",\"path\":\"%s/state\",\"value\":\"%d\"%s}", back(device), state, tx);
	} while (!commit());
}

static void write_version(const struct device *device)
{
	char text[MOST];

	do {
		if (!begin())
			return;
		if (state_of(back(device)) != ABSENT &&
		    !(read_node(back(device), "feature-protocol-v2", text, sizeof text) && !strcmp(text, "1")))
			call("{\"do\":\"write\",\"path\":\"%s/feature-protocol-v2\",\"value\":\"1\"%s}", back(device), tx);
	} while (!commit());
}

/* ------------------------------------------------------------------------------------------------------ the ring */

static unsigned capacity(unsigned extra)
{
	return PAGE - 8 - 4 * extra;
}

static void notify(const struct device *device)
{
	call("{\"do\":\"notify\",\"port\":%lu}", device->port);
}

static int page_state(const struct device *device)
{
	unsigned char state;

	load(device->page, 4, 1, &state);
	return state;
}

static void put_state(const struct device *device, unsigned char state)
{
	store(device->page, 4, &state, 1);
	notify(device);
}

static void reply(const struct device *device, unsigned extra, const unsigned char *from, unsigned length)
{
	unsigned char size[4] = { length & 0xff, length >> 8 & 0xff, length >> 16 & 0xff, length >> 24 };
	int state = page_state(device);

	if (state != SUBMIT && state != CANCEL)
		return;
	store(device->page, 8 + 4 * extra, from, length);
	store(device->page, 0, size, 4);
	put_state(device, FINISH);
}

static void reply_error(const struct device *device, unsigned extra)
{
	static const unsigned char failed[HEADER] = { 0x00, 0xc4, 0, 0, 0, HEADER, 0, 0, 0, 0x09 };

	reply(device, extra, failed, HEADER);
}

static void fetch(struct device *device)
{
	unsigned char head[8], command[PAGE];
	unsigned long length;

	device->ready = 0;
	load(device->page, 0, 8, head);
	if (head[4] == CANCEL && page_state(device) == CANCEL)
		put_state(device, IDLE);
	if (head[4] != SUBMIT)
		return;
	length = head[0] | head[1] << 8 | head[2] << 16 | (unsigned long)head[3] << 24;
	if (length < HEADER || length > capacity(head[7])) {
		reply_error(device, head[7]);
		return;
	}
	load(device->page, 8 + 4 * head[7], length, command);
	job.device = device;
	job.connection = device->connected;
	job.extra = head[7];
	call("{\"do\":\"command\",\"domain\":%u,\"handle\":%u,\"locality\":%u,\"data\":\"%s\"}", device->domain, device->handle,
	     head[5], hex(command, length));
}

/* The TPM is free: whoever comes next after the one that it worked for last. */
static void serve(void)
{
	int step;

	for (step = 1; step <= DEVICES && !job.device; step++) {
		struct device *device = &devices[(last + step) % DEVICES];

		if (device->connected && device->ready) {
			fetch(device);
			if (job.device)
				last = device - devices;
			step = 0;
		}
	}
}

static void on_upcall(unsigned long port)
{
	struct device *device;

	for (device = devices; device < devices + DEVICES; device++) {
		int serving = job.device == device && job.connection == device->connected;

		if (!device->connected || device->port != port || device->ready || serving)
			continue;
		switch (page_state(device)) {
		case SUBMIT:
			device->ready = 1;
			break;
		case CANCEL:
			put_state(device, IDLE);
			break;
		}
	}
	serve();
}

static void on_answer(void)
{
	unsigned char response[MOST];
	size_t length = bytes("data", response, sizeof response);
	struct device *device = job.device;

	if (!device)
		return;
	job.device = NULL;
	if (device->connected != job.connection)
		look(device); /* which may have waited for this answer to be released */
	else if (length < HEADER || length > capacity(job.extra))
		reply_error(device, job.extra);
	else
		reply(device, job.extra, response, length);
	serve();
}

/* ------------------------------------------------------------------------------------------------- the handshake */

static void disconnect(struct device *device)
{
	call("{\"do\":\"close_port\",\"port\":%lu}", device->port);
	call("{\"do\":\"unmap\",\"page\":%lu}", device->page);
	device->connected = device->ready = 0;
}

static int connect_to(struct device *device, unsigned long ref, unsigned long channel)
{
	if (!call("{\"do\":\"map\",\"domain\":%u,\"ref\":%lu}", device->domain, ref))
		return 0;
	device->page = number("page");
	if (!call("{\"do\":\"bind\",\"domain\":%u,\"port\":%lu}", device->domain, channel)) {
		call("{\"do\":\"unmap\",\"page\":%lu}", device->page);
		return 0;
	}
	device->port = number("port");
	device->connected = ++connections;
	device->ref = ref;
	device->channel = channel;
	return 1;
}

static int track(struct device *device)
{
	char text[MOST];

	if (state_of(back(device)) == ABSENT || !read_node(back(device), "frontend", text, sizeof text) || strcmp(text, front(device)))
		return 0;
	if (!read_node(back(device), "uuid", text, sizeof text) || !is_uuid(text))
		return 0;
	device->tracked = 1;
	device->leaving = device->left = 0;
	if (online(device))
		set_state(device, INIT_WAIT);
	write_version(device);
	call("{\"do\":\"watch\",\"path\":\"%s/state\",\"token\":\"%s\"}", front(device), back(device));
	call("{\"do\":\"opened\",\"domain\":%u,\"handle\":%u}", device->domain, device->handle);
	return 1;
}

static void release(struct device *device)
{
	device->tracked = 0;
	device->left = 1;
	call("{\"do\":\"unwatch\",\"path\":\"%s/state\",\"token\":\"%s\"}", front(device), back(device));
	call("{\"do\":\"closed\",\"domain\":%u,\"handle\":%u}", device->domain, device->handle);
	if (state_of(back(device)) == INITIALISING)
		look(device);
}

/* Read both ends' nodes as they are now, and do all that is owed. */
static void look(struct device *device)
{
	char version[MOST];
	unsigned long ref, channel;
	int own = state_of(back(device)), wanted, whole, state;

	if (!device->tracked && device->left && own != INITIALISING) {
		if (own == CLOSING)
			set_state(device, CLOSED);
		return;
	}
	if (!device->tracked && !track(device))
		return;
	own = state_of(back(device));
	state = state_of(front(device));
	whole = read_key(front(device), "ring-ref", &ref);
	whole = read_key(front(device), "event-channel", &channel) && whole;
	whole = read_node(front(device), "feature-protocol-v2", version, sizeof version) && !strcmp(version, "1") && whole;
	wanted = state == INITIALISED || state == CONNECTED;
	if (own == INITIALISING) /* made anew by the toolstack, before the old one was closed */
		write_version(device);
	if (own == ABSENT || own == INITIALISING || state == ABSENT || !online(device))
		device->leaving = 1;
	if (!device->leaving && state == CLOSING && (own == INIT_WAIT || own == CONNECTED))
		set_state(device, CLOSING);
	if (device->connected) {
		int other = wanted && (!whole || ref != device->ref || channel != device->channel);

		if (device->leaving || state == CLOSED || other)
			disconnect(device);
	}
	if (device->leaving && own >= INIT_WAIT && own <= CLOSING)
		set_state(device, CLOSED);
	if (!device->leaving && state == CLOSED && own >= CONNECTED && own <= CLOSED)
		set_state(device, INIT_WAIT);
	if (!device->leaving && wanted && !device->connected && (own == INIT_WAIT || own == CONNECTED || own == CLOSED))
		if ((!whole || !connect_to(device, ref, channel)) && own != CLOSED)
			set_state(device, CLOSED);
	if (!device->leaving && wanted && device->connected && (own == INIT_WAIT || own == CLOSED))
		set_state(device, CONNECTED);
	if (device->leaving && job.device != device)
		release(device);
}

static void look_at(unsigned domain, unsigned handle)
{
	struct device *device, *unused = NULL;

	for (device = devices; device < devices + DEVICES; device++) {
		if (device->known && device->domain == domain && device->handle == handle)
			break;
		if (!device->known && !unused)
			unused = device;
	}
	if (device == devices + DEVICES) {
		if (!unused)
			return;
		device = unused;
		*device = (struct device){ .domain = domain, .handle = handle, .known = 1 };
	}
	look(device);
	serve();
}

/* The names below a directory, looked at one by one; deeper: they are domains, with devices below. */
static void walk(const char *directory, int deeper)
{
	char names[MOST], name[64], below[128];
	const char *at;

	if (!call("{\"do\":\"ls\",\"path\":\"%s\"}", directory))
		return;
	snprintf(names, sizeof names, "%s", field("names"));
	for (at = names; (at = strchr(at, '"')) && at < strchr(names, ']'); at += strlen(name) + 2) {
		unsigned domain, handle;

		string_at(at, name, sizeof name);
		snprintf(below, sizeof below, "%s/%s", directory, name);
		if (deeper)
			walk(below, 0);
		else if (sscanf(below, "backend/vtpm/%u/%u", &domain, &handle) == 2)
			look_at(domain, handle);
	}
}

static void on_watch(void)
{
	char path[MOST], token[MOST];
	unsigned domain, handle;
	int device;

	string("path", path, sizeof path);
	string("token", token, sizeof token);
	if (sscanf(strcmp(token, "backend/vtpm") ? token : path, "backend/vtpm/%u/%u", &domain, &handle) == 2) {
		look_at(domain, handle);
		return;
	}
	for (device = 0; device < DEVICES; device++) /* something above: those that are known may be gone, too */
		if (devices[device].tracked)
			look(&devices[device]);
	walk("backend/vtpm", 1);
}

static void on_stop(void)
{
	int device;

	for (device = 0; device < DEVICES; device++)
		if (devices[device].tracked) {
			devices[device].leaving = 1;
			look(&devices[device]);
		}
}

/* --------------------------------------------------------------------------------------------------- the subject */

int main(void)
{
	char event[16];

	for (;;) {
		memset(devices, 0, sizeof devices);
		job.device = NULL;
		last = 0;
		if (!call("{\"do\":\"hello\",\"protocol\":\"vtpm-sut/1\",\"end\":\"backend\",\"name\":\"example in C\",\"again\":true}"))
			return 1;
		for (;;) {
			if (!call("{\"do\":\"wait\"}"))
				return 1;
			string("event", event, sizeof event);
			if (!strcmp(event, "end"))
				return 0;
			if (!strcmp(event, "reset"))
				break;
			if (!strcmp(event, "start"))
				call("{\"do\":\"watch\",\"path\":\"backend/vtpm\",\"token\":\"backend/vtpm\"}");
			else if (!strcmp(event, "watch"))
				on_watch();
			else if (!strcmp(event, "upcall"))
				on_upcall(number("port"));
			else if (!strcmp(event, "answer"))
				on_answer();
			else if (!strcmp(event, "stop"))
				on_stop();
		}
	}
}
