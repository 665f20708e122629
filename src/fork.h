/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * What the locks of malloc have to know of fork; cache/tcache_fork.c says what happens in a child.
 *
 * Handlers of pthread_atfork that were registered before ours run in the child before ours does,
 * and may allocate. So whoever is about to lock anything, and has nothing locked, looks whether
 * this is a child that nobody has made whole yet.
 */

#pragma once

#include <stdint.h>

/* While the thread forks, the process that it forks from; 0 otherwise. */
extern _Thread_local uint32_t fork_parent __attribute__((visibility("hidden")));

void fork_check_slow(void);

static inline void fork_check(void)
{
	if (__builtin_expect(fork_parent, 0))
		fork_check_slow();
}

/*
 * Register the handlers, once; by a constructor, and by the first allocation. function is called
 * in each child, which it makes whole, with nothing locked.
 */
void fork_guard(void (*function)(void));
