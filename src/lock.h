/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * The lock of everything but sbrk. libc's would not do: libc skips its atomic instructions while it
 * knows of one thread only, and it does not know of threads that another copy of it has made, one
 * that a library in another namespace (dlmopen) has, say.
 *
 * While there is one thread, nothing is locked. That is so while libc says so and whoever comes is
 * the thread that came first. That thread notes when it is inside, with plain stores. The first
 * other one ends this for good, and waits until the first is outside: lock.c.
 */

#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/single_threaded.h>

#define LOCK_HIDDEN __attribute__((visibility("hidden")))

/* All zero when it is free, so that what it guards may be in bss. */
struct lock {
	_Atomic(uint32_t) state; /* 0: free, 1: held, 2: held, and somebody may sleep */
};

struct lock_bias {
	/* 0: nobody came yet; with LOCK_REVOKING: another one waits; LOCK_REVOKED: there are threads. */
	_Atomic(uintptr_t) owner;
	_Atomic(unsigned int) depth; /* sections that this thread is in, and nothing is locked */
};

#define LOCK_REVOKING ((uintptr_t)1)
#define LOCK_REVOKED LOCK_REVOKING

extern struct lock_bias lock_bias LOCK_HIDDEN;
extern _Thread_local uint32_t lock_self LOCK_HIDDEN; /* its address says which thread it is */

/* The caller is not known as the only thread: true if it is, and inside now. */
bool lock_enter_slow(void) LOCK_HIDDEN;

void lock_wait(struct lock *l) LOCK_HIDDEN;
void lock_wake(struct lock *l) LOCK_HIDDEN;

/* In a fork's child. */
void lock_fork_child(void) LOCK_HIDDEN;

/* Whether the caller is the thread that came first, and nobody has ended its being alone. */
static inline bool lock_is_owner(void)
{
	return atomic_load_explicit(&lock_bias.owner, memory_order_relaxed) ==
	       (uintptr_t)&lock_self;
}

/* Whether others may run. */
static inline bool lock_is_needed(void)
{
	return !__libc_single_threaded || !lock_is_owner();
}

/* Whether there is, or was, a second thread although libc knew of one only. */
static inline bool lock_has_strangers(void)
{
	return atomic_load_explicit(&lock_bias.owner, memory_order_relaxed) == LOCK_REVOKED;
}

/* Only the thread that is alone writes this. */
static inline void lock_add_depth(unsigned int n)
{
	unsigned int inside = atomic_load_explicit(&lock_bias.depth, memory_order_relaxed);

	atomic_store_explicit(&lock_bias.depth, inside + n, memory_order_release);
}

/* True: the caller is alone, and is noted as inside before it has made sure of that. */
static inline bool lock_enter_biased(void)
{
	if (__builtin_expect(!__libc_single_threaded, 0))
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
	atomic_thread_fence(memory_order_release); /* for a fork: it is held before all changes */
}

/* Nobody else holds a lock while the thread that is alone is inside: what is held is its own. */
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

/* False also where the thread that is alone is inside: nothing is locked then. */
static inline bool lock_is_held(const struct lock *l)
{
	return atomic_load_explicit(&l->state, memory_order_relaxed);
}

/* In a fork's child: whoever held l is gone. */
static inline void lock_reset(struct lock *l)
{
	atomic_store_explicit(&l->state, 0, memory_order_relaxed);
}
