/* A library to be preloaded into Debian's xenstored, so that it runs on a host that has no Xen.
 *
 * It answers the calls that xenstored makes to libxenctrl, libxenevtchn and libxengnttab, and stands in for
 * /proc/xen. A pretended domain N lives in the folder that XSD_SHIM_DIR names:
 *
 *   dom.N     exists as long as the domain does; a first byte `s` says that it has shut down
 *   ring.N    4096 bytes, its xenstore ring page, mapped by both sides (io/xs_wire.h)
 *   events    a datagram socket: a u32 sent to it is an event on that local port of xenstored
 *   kick.N    a datagram socket that domain N may bind; it gets one byte for every event to the domain;
 *             N = 0 gets one when xenstored has dealt with event 1, "some domain has changed"
 *
 * The monotonic clock that xenstored sees leaps a second at each look: its limit on the rate of writes by guests
 * delays answers and never changes one, and would make a comparison of answers last for hours. XSD_SHIM_CLOCK=real
 * leaves the clock alone.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096
#define VIRQ_PORT 1     /* "some domain has changed" */
#define FIRST_PORT 1000 /* the event channel of domain N is FIRST_PORT + N */

static int events = -1;
static int handle; /* its address is every handle that is handed out */

static void place(char *path, size_t size, const char *name, unsigned int domid)
{
	const char *dir = getenv("XSD_SHIM_DIR");

	if (!dir || snprintf(path, size, domid == -1U ? "%s/%s" : "%s/%s.%u", dir, name, domid) >= (int)size) {
		fprintf(stderr, "shim: XSD_SHIM_DIR is '%s'; it must be a folder with a short name\n", dir ? dir : "");
		abort();
	}
}

static struct sockaddr_un address(const char *name, unsigned int domid)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };

	place(at.sun_path, sizeof(at.sun_path), name, domid);
	return at;
}

/* ---- libxenctrl ---------------------------------------------------------------------------------------------- */

void *xc_interface_open(void *logger, void *dombuild_logger, unsigned int flags)
{
	(void)logger, (void)dombuild_logger, (void)flags;
	return &handle;
}

int xc_interface_close(void *xch)
{
	(void)xch;
	return 0;
}

/* The head of xc_dominfo_t (xenctrl.h): all of it that xenstored looks at. */
struct dominfo_head {
	uint32_t domid, ssidref;
	unsigned int dying : 1, crashed : 1, shutdown : 1;
};

int xc_domain_getinfo(void *xch, uint32_t domid, unsigned int max, struct dominfo_head *info)
{
	char path[256], state = 0;
	int fd;

	(void)xch, (void)max;
	memset(info, 0, sizeof(*info));
	info->domid = domid;
	if (domid == 0)
		return 1;
	place(path, sizeof(path), "dom", domid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	info->shutdown = read(fd, &state, 1) == 1 && state == 's';
	close(fd);
	return 1;
}

/* ---- libxengnttab -------------------------------------------------------------------------------------------- */

void *xengnttab_open(void *logger, unsigned int flags)
{
	(void)logger, (void)flags;
	return &handle;
}

int xengnttab_close(void *xgt)
{
	(void)xgt;
	return 0;
}

int xengnttab_set_max_grants(void *xgt, uint32_t grants)
{
	(void)xgt, (void)grants;
	return 0;
}

void *xengnttab_map_grant_ref(void *xgt, uint32_t domid, uint32_t ref, int prot)
{
	char path[256];
	void *page;
	int fd;

	(void)xgt, (void)ref;
	place(path, sizeof(path), "ring", domid);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0) {
		errno = EINVAL; /* what mapping a grant of a domain that is not there ends in */
		return NULL;
	}
	page = mmap(NULL, PAGE, prot, MAP_SHARED, fd, 0);
	close(fd);
	return page == MAP_FAILED ? NULL : page;
}

int xengnttab_unmap(void *xgt, void *start, uint32_t count)
{
	(void)xgt;
	return munmap(start, (size_t)count * PAGE);
}

/* ---- libxenevtchn -------------------------------------------------------------------------------------------- */

void *xenevtchn_open(void *logger, unsigned int flags)
{
	struct sockaddr_un at = address("events", -1U);

	(void)logger, (void)flags;
	events = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (events < 0 || bind(events, (struct sockaddr *)&at, sizeof(at)) < 0)
		return NULL;
	return &handle;
}

void *xenevtchn_fdopen(void *logger, int fd, unsigned int flags)
{
	(void)logger, (void)fd, (void)flags;
	errno = ENOSYS; /* live update only */
	return NULL;
}

int xenevtchn_fd(void *xce)
{
	(void)xce;
	return events;
}

int xenevtchn_notify(void *xce, uint32_t port)
{
	struct sockaddr_un at;

	(void)xce;
	if (port < FIRST_PORT)
		return 0;
	at = address("kick", port - FIRST_PORT);
	/* nobody there, or already many kicks waiting: an event channel loses no more than this */
	(void)!sendto(events, "!", 1, MSG_DONTWAIT, (struct sockaddr *)&at, sizeof(at));
	return 0;
}

int xenevtchn_bind_interdomain(void *xce, uint32_t domid, uint32_t remote_port)
{
	(void)xce, (void)remote_port;
	return (int)(FIRST_PORT + domid);
}

int xenevtchn_bind_virq(void *xce, unsigned int virq)
{
	(void)xce, (void)virq;
	return VIRQ_PORT;
}

int xenevtchn_unbind(void *xce, uint32_t port)
{
	(void)xce, (void)port;
	return 0;
}

int xenevtchn_pending(void *xce)
{
	uint32_t port;

	(void)xce;
	return recv(events, &port, sizeof(port), MSG_DONTWAIT) == sizeof(port) ? (int)port : -1;
}

int xenevtchn_unmask(void *xce, uint32_t port)
{
	return port == VIRQ_PORT ? xenevtchn_notify(xce, FIRST_PORT) : 0;
}

/* ---- libc ---------------------------------------------------------------------------------------------------- */

int open(const char *path, int flags, ...)
{
	char instead[256];
	mode_t mode = 0;
	va_list rest;

	va_start(rest, flags);
	if (flags & (O_CREAT | __O_TMPFILE))
		mode = va_arg(rest, mode_t);
	va_end(rest);
	if (!strncmp(path, "/proc/xen/", 10)) {
		place(instead, sizeof(instead), path + 10, -1U); /* xsd_port and xsd_kva */
		path = instead;
	}
	return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
	static time_t leaps;
	const char *wanted = getenv("XSD_SHIM_CLOCK");
	int status = (int)syscall(SYS_clock_gettime, clock, now);

	if (clock == CLOCK_MONOTONIC && (!wanted || strcmp(wanted, "real")))
		now->tv_sec += ++leaps;
	return status;
}
