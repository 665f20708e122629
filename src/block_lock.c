// SPDX-License-Identifier: BSD-3-Clause

/*
 * The heap itself, and its lock. It stays locked while a thread forks: its blocks are where the
 * rules say at any moment, and libc itself never calls os_malloc.
 */

#include <stdatomic.h>

#include "block_core.h"

#define WAITS 100
#define WAIT_NS 10000000

struct block_heap course = {.pending = {.room = PENDING_ROOM}};

/* Of these, only what is used is ever touched. */
struct region block_regions[REGIONS_MAX];
struct block_meta *pending_table[PENDING_ROOM];

struct links_heap links_heap;

pthread_mutex_t block_raise_lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;

/* Guarded by the lock: whether the fork under way has a parent handler to run. */
static bool is_fork_guarded;
static bool is_raise_locked; /* and the lock of sbrk is held, too */

static atomic_bool is_forking; /* who holds the lock of sbrk is not in sbrk */
static atomic_uint turns; /* how often somebody has got it */

/*
 * Whoever waits here for a second for one and the same thread in somebody's sbrk waits for one that
 * waits for it: then it may go on. It waits many times for a little, for if the process was stopped
 * or the clock was set, only one wait ends early.
 */
bool block_lock_raise(void)
{
	bool is_locked = pthread_mutex_trylock(&block_raise_lock) == 0;

	for (unsigned int i = 0; i < WAITS && !is_locked; i++) {
		unsigned int turn = turns;
		uint64_t ns = sys_wall_ns() + WAIT_NS;
		struct timespec late = {(time_t)(ns / 1000000000), (long)(ns % 1000000000)};

		is_locked = pthread_mutex_timedlock(&block_raise_lock, &late) == 0;
		if (is_forking || turn != turns)
			i = 0;
	}
	if (is_locked)
		turns++;
	return is_locked;
}

static void prepare(void)
{
	bool is_locked;

	if (!lock_is_needed())
		return;
	is_locked = block_lock_raise();
	block_enter();
	is_forking = true;
	is_fork_guarded = true;
	is_raise_locked = is_locked;
}

static void parent(void)
{
	bool is_locked;

	if (!is_fork_guarded)
		return;
	is_fork_guarded = false;
	is_forking = false;
	is_locked = is_raise_locked;
	block_leave();
	if (is_locked)
		pthread_mutex_unlock(&block_raise_lock);
}

static void child(void)
{
	/* A signal handler may have forked inside sbrk: the thread has another number now. */
	block_raise_lock = (pthread_mutex_t)PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
	is_forking = false;
	if (!is_fork_guarded)
		return;
	is_fork_guarded = false;
	lock_reset(&course.lock);
}

/*
 * As early as can be: handlers that were registered before these run after ours when a fork is
 * prepared, and may allocate.
 */
__attribute__((constructor(101))) static void guard_forks(void)
{
	pthread_atfork(prepare, parent, child);
}
