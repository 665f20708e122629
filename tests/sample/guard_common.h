/* SPDX-License-Identifier: BSD-3-Clause */

/* What the tests of guarded blocks share. They link the objects, and choose what is guarded. */

#pragma once

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "harness.h"
#include "sample/guard_core.h"
#include "sample/stack.h"
#include "trace/calls.h"

#define PAGE sys_page_size()

/* From here on the C library's names know guarded blocks; guarded() makes them. */
static inline void guards_begin(void)
{
	stack_begin();
	CHECK(guard_begin());
	calls_set_mode(CALLS_SAMPLED, true);
}

static inline char *guarded(size_t size)
{
	char *p = guard_alloc(size, 16);

	CHECK_MSG(p, "nothing was guarded");
	return p;
}

/* Whether a block lies at the right edge of its slot. */
static inline bool is_right(const char *p)
{
	size_t i = guard_slot_index((uintptr_t)p);

	return (uintptr_t)p != guard_slot_start(i);
}

/* A guarded block, at the given edge; blocks at the other one are freed. */
static inline char *guarded_at(bool right, size_t size)
{
	for (int i = 0; i < 1000; i++) {
		char *p = guarded(size);

		if (is_right(p) == right)
			return p;
		free(p);
	}
	test_fail(__FILE__, __LINE__, "no block at this edge");
}

/* The kernel reads the byte for us: it fails where we would fault. */
static inline bool is_accessible(const char *p)
{
	int fds[2];
	bool is_read;

	CHECK(pipe(fds) == 0);
	is_read = write(fds[1], p, 1) == 1;
	close(fds[0]);
	close(fds[1]);
	return is_read;
}
