// SPDX-License-Identifier: BSD-3-Clause

/*
 * The heap itself, and its lock. It stays locked while a thread forks: its blocks are where the
 * rules say at any moment, and libc itself never calls os_malloc.
 */

#include "block_core.h"

struct block_heap course = {.lock = PTHREAD_ADAPTIVE_MUTEX_INITIALIZER_NP,
			    .pending = {.room = PENDING_ROOM}};

/* Of these, only what is used is ever touched. */
struct region block_regions[REGIONS_MAX];
struct block_meta *pending_table[PENDING_ROOM];

struct links_heap links_heap;

pthread_mutex_t block_raise_lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;

/* Guarded by the lock: whether the fork under way has a parent handler to run. */
static bool is_fork_guarded;

static void prepare(void)
{
	if (__libc_single_threaded)
		return;
	pthread_mutex_lock(&block_raise_lock);
	block_enter();
	is_fork_guarded = true;
}

static void parent(void)
{
	if (!is_fork_guarded)
		return;
	is_fork_guarded = false;
	block_leave();
	pthread_mutex_unlock(&block_raise_lock);
}

static void child(void)
{
	/* A signal handler may have forked inside sbrk: the thread has another number now. */
	block_raise_lock = (pthread_mutex_t)PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
	if (!is_fork_guarded)
		return;
	is_fork_guarded = false;
	course.lock = (pthread_mutex_t)PTHREAD_ADAPTIVE_MUTEX_INITIALIZER_NP;
	course.is_locked = false;
}

/*
 * As early as can be: handlers that were registered before these run after ours when a fork is
 * prepared, and may allocate.
 */
__attribute__((constructor(101))) static void guard_forks(void)
{
	pthread_atfork(prepare, parent, child);
}
