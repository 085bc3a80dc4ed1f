/* The protocol vtpm-sut/1 for subjects in C: one call a request, and the fields of its answer. */

#ifndef SUT_H
#define SUT_H

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAGE 4096
#define MOST 8192 /* bytes of an answer of the TPM, and of a value */

static char answer[65536 + 2];

/* Say a request, read its answer. 0: the machine refuses. A harness that is gone ends the program. */
static int call(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vprintf(format, arguments);
	va_end(arguments);
	putchar('\n');
	fflush(stdout);
	if (!fgets(answer, sizeof answer, stdin))
		exit(1);
	return strncmp(answer, "{\"ok\":true", 10) == 0;
}

/* Where the value of a field of the answer begins; NULL where there is none. Quotes inside strings are escaped. */
static const char *field(const char *name)
{
	char key[40];
	const char *found;

	snprintf(key, sizeof key, "\"%s\":", name);
	found = strstr(answer, key);
	return found ? found + strlen(key) : NULL;
}

static unsigned long number(const char *name)
{
	const char *at = field(name);

	return at ? strtoul(at, NULL, 10) : 0;
}

/* The string that begins at a quote, each character a byte; how many there are. */
static size_t string_at(const char *at, char *to, size_t size)
{
	size_t length = 0;

	for (at++; *at && *at != '"' && length + 1 < size; length++) {
		if (*at == '\\') {
			char digits[3] = { at[4], at[5], 0 };

			to[length] = (char)strtoul(digits, NULL, 16);
			at += 6;
		} else {
			to[length] = *at++;
		}
	}
	to[length] = 0;
	return length;
}

static size_t string(const char *name, char *to, size_t size)
{
	const char *at = field(name);

	to[0] = 0;
	return at ? string_at(at, to, size) : 0;
}

/* The bytes that a field has in hexadecimal digits; how many there are. */
static size_t bytes(const char *name, unsigned char *to, size_t size)
{
	const char *at = field(name);
	size_t length = 0;

	for (at = at ? at + 1 : ""; at[0] && at[0] != '"' && length < size; at += 2, length++) {
		char digits[3] = { at[0], at[1], 0 };

		to[length] = (unsigned char)strtoul(digits, NULL, 16);
	}
	return length;
}

/* Bytes as hexadecimal digits, in a buffer that the next call uses again. */
static const char *hex(const unsigned char *from, size_t length)
{
	static char digits[2 * MOST + 1];
	size_t at;

	for (at = 0; at < length; at++)
		sprintf(digits + 2 * at, "%02x", from[at]);
	digits[2 * length] = 0;
	return digits;
}

static void load(unsigned long page, unsigned offset, unsigned length, unsigned char *to)
{
	call("{\"do\":\"load\",\"page\":%lu,\"offset\":%u,\"length\":%u}", page, offset, length);
	bytes("data", to, length);
}

static void store(unsigned long page, unsigned offset, const unsigned char *from, unsigned length)
{
	call("{\"do\":\"store\",\"page\":%lu,\"offset\":%u,\"data\":\"%s\"}", page, offset, hex(from, length));
}

#endif
