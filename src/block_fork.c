// SPDX-License-Identifier: BSD-3-Clause

/*
 * The heap stays locked while a thread forks: its blocks are where the rules say at any moment, and
 * libc itself never calls os_malloc.
 */

#include <sys/single_threaded.h>

#include "block_core.h"

/* Guarded by the lock: whether the fork under way has a parent handler to run. */
static bool is_fork_guarded;

void block_fork_prepare(void)
{
	if (__libc_single_threaded)
		return;
	block_enter(&course_heap);
	is_fork_guarded = true;
}

void block_fork_parent(void)
{
	if (!is_fork_guarded)
		return;
	is_fork_guarded = false;
	block_leave(&course_heap);
}

void block_fork_child(void)
{
	if (!is_fork_guarded)
		return;
	is_fork_guarded = false;
	course_heap.lock = (pthread_mutex_t)PTHREAD_ADAPTIVE_MUTEX_INITIALIZER_NP;
	course_heap.is_locked = false;
}
