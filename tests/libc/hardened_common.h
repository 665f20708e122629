/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * What tests of OSMEM_OPTIONS=hardened share. Their programs start themselves again with the
 * option, which is looked at before the first allocation.
 */

#pragma once

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "libc_common.h"

static const size_t sizes[] = {1,      8,      16,	24,	     100,     1000,	  1017,
			       4096,   8185,   8192,	20000,	     32760,   32761,	  100000,
			       100001, 262144, 5 * MIB, 5 * MIB + 1, 9 * MIB, 9 * MIB + 9};

#define CELL_MAX ((size_t)32760)

__attribute__((constructor)) static void start_again(void)
{
	test_start_again("hardened");
}

struct misuse {
	unsigned char *p;
	size_t size;
	ptrdiff_t at; /* from p, where it is written */
};

static inline void free_it(void *arg)
{
	free(((struct misuse *)arg)->p);
}

static inline void resize_it(void *arg)
{
	struct misuse *m = arg;

	free(realloc(m->p, m->size + 1));
}

static inline void touch_it(void *arg)
{
	struct misuse *m = arg;

	((volatile unsigned char *)m->p)[m->at]++;
}

/* body dies by abort(), after a line that ends in what. */
static inline void expect_death(void (*body)(void *arg), struct misuse *m, const char *what)
{
	char err[256];
	int status = test_in_child(body, m, err, sizeof(err));

	CHECK_MSG(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "%zu bytes, %s: status %d",
		  m->size, what, status);
	CHECK_MSG(strncmp(err, "osmem: ", 7) == 0 && strstr(err, what) &&
			  strchr(err, '\n') == err + strlen(err) - 1,
		  "%zu bytes, %s: %s", m->size, what, err);
}

static inline void expect_fault(void (*body)(void *arg), struct misuse *m)
{
	char err[256];
	int status = test_in_child(body, m, err, sizeof(err));

	CHECK_MSG(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV,
		  "%zu bytes, at %td: status %d", m->size, m->at, status);
}

static inline struct misuse allocated(size_t size)
{
	struct misuse m = {.p = malloc(size), .size = size};

	CHECK(m.p);
	memset(m.p, 0x5a, size);
	return m;
}

static inline bool can_be_read(const void *p)
{
	int ends[2];
	ssize_t written;

	CHECK(pipe(ends) == 0);
	written = write(ends[1], p, 1);
	close(ends[0]);
	close(ends[1]);
	return written == 1;
}

static inline void free_twice(void *arg)
{
	free_it(arg);
	free_it(arg);
}
