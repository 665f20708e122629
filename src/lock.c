// SPDX-License-Identifier: BSD-3-Clause

/*
 * The slow paths of locks: waiting, and revocation of the bias.
 *
 * The owner stores depth and then loads owner. A second thread stores owner and then loads depth.
 * This needs a store-load fence on both sides. The owner does without one: the second thread sleeps
 * for a millisecond between its store and its load. The owner's store precedes its load, so it only
 * has to leave the store buffer, which takes less than a microsecond. No architecture guarantees
 * that time. membarrier does, but a system call filter may kill the process for it. So it is called
 * where libc calls it as well, and there a second thread need not sleep.
 *
 * The owner may be inside when a second thread forks, and does not exist in the child. So a fork by
 * another thread than the owner revokes the bias, too.
 *
 * Limit: a second thread with the same thread pointer is not detected.
 */

#include "lock.h"

#include "arch.h"
#include "helpers.h"
#include "kernel.h"
#include "tunables.h"

struct lock_bias lock_bias;
_Thread_local uint16_t lock_self;

static bool spin(struct lock *l)
{
	for (unsigned int i = 0; i < SPINS; i++) {
		uint32_t state = 0;

		if (!atomic_load_explicit(&l->state, memory_order_relaxed) &&
		    atomic_compare_exchange_strong_explicit(
			    &l->state, &state, 1, memory_order_acquire, memory_order_relaxed))
			return true;
		arch_pause();
	}
	return false;
}

/* A thread that has slept does not know whether others sleep, so it leaves a 2. */
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

/* The owner has seen the new value of owner, or its depth is in memory. */
static void wait_for_owners_stores(void)
{
	if (!COMPAT_HAS_MEMBARRIER || RAW(membarrier, COMPAT_MEMBARRIER) != 0)
		sys_sleep(NAP_NS);
}

static void revoke_bias(void)
{
	atomic_fetch_or(&lock_bias.owner, LOCK_REVOKING);
	wait_for_owners_stores();
	while (atomic_load_explicit(&lock_bias.depth, memory_order_acquire))
		sys_sleep(NAP_NS);
	atomic_store(&lock_bias.owner, LOCK_REVOKED);
}

__attribute__((noinline, cold)) bool lock_enter_slow(void)
{
	uintptr_t self = (uintptr_t)&lock_self, thread = 0;

	if (atomic_compare_exchange_strong(&lock_bias.owner, &thread, self))
		return lock_enter_biased();
	if (thread != LOCK_REVOKED && (thread & ~LOCK_REVOKING) != self)
		revoke_bias();
	return false;
}

void lock_prepare_fork(void)
{
	uintptr_t thread = atomic_load(&lock_bias.owner);

	if (compat_may_be_single_threaded() && thread && thread != LOCK_REVOKED &&
	    (thread & ~LOCK_REVOKING) != (uintptr_t)&lock_self)
		revoke_bias();
}

/* The owner may not exist in the child, so it never leaves its section. */
void lock_fork_child(void)
{
	uintptr_t thread = atomic_load(&lock_bias.owner);

	if (!thread || (thread & ~LOCK_REVOKING) == (uintptr_t)&lock_self)
		return;
	atomic_store(&lock_bias.depth, 0);
	atomic_store(&lock_bias.owner, LOCK_REVOKED);
}
