/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Fork detection for the locks of malloc. cache/tcache_fork.c describes the repair of a child.
 *
 * Child handlers that were registered before ours run before ours and may allocate. So a thread
 * that holds no lock calls fork_check before it takes one. That repairs the child if necessary.
 */

#pragma once

#include <stdint.h>

/* The process that this thread is forking from, or 0. */
extern _Thread_local uint32_t fork_parent __attribute__((visibility("hidden")));

void fork_check_slow(void);

static inline void fork_check(void)
{
	if (__builtin_expect(fork_parent, 0))
		fork_check_slow();
}

/*
 * Register the handlers. Idempotent: a constructor and the first allocation call it. Each child
 * calls function, without locks, to repair itself.
 */
void fork_guard(void (*function)(void));
