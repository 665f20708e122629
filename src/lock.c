// SPDX-License-Identifier: BSD-3-Clause

/*
 * The slow part of locks: who waits, and the end of being alone.
 *
 * The thread that is alone stores that it is inside, and then loads whether it still is alone. A
 * newcomer stores that it is not, and then looks whether it is inside. That takes a fence on both
 * sides, and costs the first one nothing: the newcomer sleeps for a millisecond in between. The
 * store that it may miss was executed before that load, so it only waits to leave the processor,
 * which takes less than a microsecond. No architecture promises that time; a barrier in all threads
 * (membarrier) would, but filters of system calls may kill the process for it.
 *
 * What remains: a second thread that shares the first one's thread pointer is not noticed. If a
 * newcomer forks before its first allocation, while the first thread is inside, the child does not
 * know what that was changing.
 */

#include "lock.h"

#include "helpers.h"
#include "tunables.h"

struct lock_alone lock_alone;
_Thread_local uint32_t lock_self;

static inline void pause_shortly(void)
{
#ifdef __x86_64__
	__builtin_ia32_pause();
#endif
}

static bool spin(struct lock *l)
{
	for (unsigned int i = 0; i < SPINS; i++) {
		uint32_t state = 0;

		if (!atomic_load_explicit(&l->state, memory_order_relaxed) &&
		    atomic_compare_exchange_strong_explicit(
			    &l->state, &state, 1, memory_order_acquire, memory_order_relaxed))
			return true;
		pause_shortly();
	}
	return false;
}

/* Whoever has slept does not know whether others do: it leaves a 2. */
__attribute__((noinline, cold)) void lock_wait(struct lock *l)
{
	if (spin(l))
		return;
	while (atomic_exchange_explicit(&l->state, 2, memory_order_acquire))
		sys_sleep_on(&l->state, 2, 0);
}

__attribute__((noinline, cold)) void lock_wake(struct lock *l)
{
	sys_wake_one(&l->state);
}

static void end_being_alone(void)
{
	_Atomic(uint32_t) nobody_wakes = 0;

	atomic_fetch_or(&lock_alone.thread, LOCK_ENDS);
	do {
		sys_sleep_on(&nobody_wakes, 0, NAP_NS);
	} while (atomic_load_explicit(&lock_alone.inside, memory_order_acquire));
	atomic_store(&lock_alone.thread, LOCK_SHARED);
}

__attribute__((noinline, cold)) bool lock_meet(void)
{
	uintptr_t self = (uintptr_t)&lock_self, thread = 0;

	if (atomic_compare_exchange_strong(&lock_alone.thread, &thread, self))
		return lock_pass();
	if (thread != LOCK_SHARED && (thread & ~LOCK_ENDS) != self)
		end_being_alone();
	return false;
}

/* The thread that was alone may be gone, and never leaves where it is inside. */
void lock_fork_child(void)
{
	uintptr_t thread = atomic_load(&lock_alone.thread);

	if (!thread || (thread & ~LOCK_ENDS) == (uintptr_t)&lock_self)
		return;
	atomic_store(&lock_alone.inside, 0);
	atomic_store(&lock_alone.thread, LOCK_SHARED);
}
