/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * The four functions as a course's test programs call them: every result is looked at, contents are
 * random to the last byte, and what os_realloc has moved is compared with where it was.
 */

#pragma once

#include "block_meta.h"
#include "osmem.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static inline struct block_meta *checked_header(void *p)
{
	return (struct block_meta *)p - 1;
}

/* Random bytes over the whole payload, of which size bytes were asked for, to its last byte. */
static inline void checked_fill(void *p, size_t size)
{
	int random = open("/dev/urandom", O_RDONLY);
	size_t done = 0, all = checked_header(p)->size;
	ssize_t n = 1;

	DIE(random < 0 || all % 8 || all < size, "open");
	for (; done < all && n > 0; done += (size_t)n)
		n = read(random, (char *)p + done, all - done);
	DIE(n <= 0, "read");
	close(random);
}

static inline void *checked_malloc(size_t size)
{
	void *p = os_malloc(size);

	DIE(!p != !size, "os_malloc");
	if (p)
		checked_fill(p, size);
	return p;
}

static inline void *checked_calloc(size_t nmemb, size_t size)
{
	unsigned char *p = os_calloc(nmemb, size);

	DIE(!p != (!nmemb || !size), "os_calloc");
	for (size_t i = 0; i < nmemb * size; i++)
		DIE(p[i], "os_calloc: contents");
	if (p)
		checked_fill(p, nmemb * size);
	return p;
}

/* The old payload is read after the call, through the old pointer, unless it was a mapping. */
static inline void *checked_realloc(void *p, size_t size)
{
	struct block_meta was = {0};
	unsigned char *q;

	if (p)
		was = *checked_header(p);
	q = os_realloc(p, size);
	if (!size || (p && was.status == STATUS_FREE)) {
		DIE(q, "os_realloc");
		return NULL;
	}
	DIE(!q, "os_realloc");
	if (p && was.status == STATUS_ALLOC)
		DIE(memcmp(p, q, was.size < size ? was.size : size) != 0, "os_realloc: contents");
	checked_fill(q, size);
	return q;
}
