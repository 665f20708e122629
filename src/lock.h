/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * The lock of everything but sbrk, biased to the first thread.
 *
 * A process with one thread takes no lock: as long as libc knows of one thread only, and only the
 * first thread (the owner of the bias) arrives. The owner counts the sections that it is inside,
 * with plain stores. The first other thread revokes the bias for good and waits until the owner is
 * outside (lock.c). If libc does not say how many threads there are, every second thread does so.
 *
 * A mutex of libc is not sufficient. libc skips atomic instructions while it knows of one thread
 * only, and it does not know the threads of another copy of libc (dlmopen).
 */

#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "compat.h"

#define LOCK_HIDDEN __attribute__((visibility("hidden")))

/* Zero when free, so that it may be in bss. */
struct lock {
	_Atomic(uint32_t) state; /* 0: free, 1: held, 2: held, and a thread may sleep on it */
};

struct lock_bias {
	/* 0: none yet; with LOCK_REVOKING: being revoked; LOCK_REVOKED: there is no bias. */
	_Atomic(uintptr_t) owner;
	_Atomic(unsigned int) depth; /* sections that the owner is inside without locking */
};

#define LOCK_REVOKING ((uintptr_t)1)
#define LOCK_REVOKED LOCK_REVOKING

extern struct lock_bias lock_bias LOCK_HIDDEN;
/*
 * Its address, which is even, identifies the thread. Its value is free for another layer, because
 * there is little room for initial-exec variables: sample/sample_table.c.
 */
extern _Thread_local uint16_t lock_self LOCK_HIDDEN;

/* Become the owner, or revoke the bias. True: the caller is the owner and inside. */
bool lock_enter_slow(void) LOCK_HIDDEN;

void lock_wait(struct lock *l) LOCK_HIDDEN;
void lock_wake(struct lock *l) LOCK_HIDDEN;

/* Before a fork, and in the child. */
void lock_prepare_fork(void) LOCK_HIDDEN;
void lock_fork_child(void) LOCK_HIDDEN;

/* Whether the caller owns the bias, and no thread is revoking it. */
static inline bool lock_is_owner(void)
{
	return atomic_load_explicit(&lock_bias.owner, memory_order_relaxed) ==
	       (uintptr_t)&lock_self;
}

/* Whether other threads may be in locked sections. */
static inline bool lock_is_needed(void)
{
	return !compat_may_be_single_threaded() || !lock_is_owner();
}

/* Whether the bias was revoked: there is, or was, a thread that libc does not know of. */
static inline bool lock_has_foreign_threads(void)
{
	return atomic_load_explicit(&lock_bias.owner, memory_order_relaxed) == LOCK_REVOKED;
}

/* Whether the owner is inside a section without a lock. */
static inline bool lock_is_inside(void)
{
	return atomic_load_explicit(&lock_bias.depth, memory_order_relaxed);
}

/* Only the owner writes depth. */
static inline void lock_add_depth(unsigned int n)
{
	unsigned int depth = atomic_load_explicit(&lock_bias.depth, memory_order_relaxed);

	atomic_store_explicit(&lock_bias.depth, depth + n, memory_order_release);
}

/* True: the caller is the owner and inside. It enters first, and then verifies its ownership. */
static inline bool lock_enter_biased(void)
{
	if (__builtin_expect(!compat_may_be_single_threaded(), 0) ||
	    (!COMPAT_KNOWS_THREADS && lock_has_foreign_threads()))
		return false;
	if (__builtin_expect(!lock_is_owner(), 0))
		return lock_enter_slow();
	lock_add_depth(1);
	atomic_signal_fence(memory_order_seq_cst);
	if (__builtin_expect(lock_is_owner(), 1))
		return true;
	lock_add_depth(-1U);
	return false;
}

static inline void lock_acquire(struct lock *l)
{
	uint32_t state = 0;

	if (lock_enter_biased())
		return;
	if (!atomic_compare_exchange_strong_explicit(&l->state, &state, 1, memory_order_acquire,
						     memory_order_relaxed))
		lock_wait(l);
	atomic_signal_fence(memory_order_release); /* a forked child sees the lock before changes */
}

/*
 * The same; where libc does not tell of other threads, the owner of the bias does not stay inside.
 * So they wait for l only.
 */
static inline void lock_acquire_long(struct lock *l)
{
	lock_acquire(l);
	if (COMPAT_KNOWS_THREADS || atomic_load_explicit(&l->state, memory_order_relaxed))
		return;
	atomic_store_explicit(&l->state, 1, memory_order_relaxed);
	lock_add_depth(-1U);
}

/* Acquire l without waiting for its holder. False: it is held. */
static inline bool lock_try(struct lock *l)
{
	uint32_t state = 0;

	return lock_enter_biased() ||
	       atomic_compare_exchange_strong_explicit(&l->state, &state, 1, memory_order_acquire,
						       memory_order_relaxed);
}

/* While the owner is inside, no other thread holds a lock: l is its own or is not locked. */
static inline void lock_release(struct lock *l)
{
	if (__builtin_expect(!atomic_load_explicit(&l->state, memory_order_relaxed), 1)) {
		if (atomic_load_explicit(&lock_bias.depth, memory_order_relaxed))
			lock_add_depth(-1U);
		return;
	}
	if (atomic_exchange_explicit(&l->state, 0, memory_order_release) == 2)
		lock_wake(l);
}

/* False also while the owner is inside without locking. */
static inline bool lock_is_held(const struct lock *l)
{
	return atomic_load_explicit(&l->state, memory_order_relaxed);
}

/* In a forked child: the holder of l does not exist any more. */
static inline void lock_reset(struct lock *l)
{
	atomic_store_explicit(&l->state, 0, memory_order_relaxed);
}
