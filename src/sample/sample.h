/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Sampling of malloc's objects, for the heap profile and for guarded slots.
 *
 * Samples: each allocated byte is hit with the same probability, independently of all others: the
 * distances between two hits are exponential, with a mean of the interval. An object with a byte
 * that was hit is a sample. So an object of size bytes is one with probability
 * 1 - exp(-size / interval). Each sample stands for 1 / probability objects of its size, which
 * makes all estimates unbiased. A realloc counts as a free and an allocation, in place or not.
 *
 * Guards: one call in so many, at random, asks for a guarded block first (guard.h).
 *
 * Sizes are in bytes. Any thread may call any function at any time, also in a signal handler and in
 * a forked child, unless its comment says otherwise. Nothing here allocates with malloc.
 */

#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hash.h"

/*
 * The interval, from 1 to SYS_MAP_MAX. Before anything else, once; the default is SAMPLE_INTERVAL.
 */
void sample_set_interval(size_t bytes);

/*
 * Start, with that interval unless there is one already. Starting again after
 * sample_stop resumes: samples that live on from before count, what was allocated meanwhile does
 * not. False: stacks cannot be taken; samples are taken all the same, with unknown stacks.
 */
bool sample_start(size_t interval);

/* Take no more samples. Those that live are kept until they are freed. */
void sample_stop(void);

bool sample_is_on(void);

/*
 * Send one allocation in every, at random, to guard_alloc. Before the second thread starts, and
 * after the interval is set. False with errno: guard_begin failed.
 */
bool sample_start_guards(size_t every);

/*
 * The libc wing calls these instead of their tcache_ relatives while allocations are sampled or
 * guarded (CALLS_SAMPLED). Their contracts are the same. sample_realloc: p is not NULL, size not 0.
 */
void *sample_alloc(size_t size);
void *sample_alloc_zeroed(size_t size);
void *sample_alloc_aligned(size_t size, size_t align);
void *sample_realloc(const char *call, void *p, size_t size);

/* The chains of live samples by address: sample_table.c. */
struct sample_chains {
	size_t count; /* a power of two */
	_Atomic(void *) heads[];
};

extern _Atomic(struct sample_chains *) sample_chains __attribute__((visibility("hidden")));

static inline _Atomic(void *) *sample_chain_of(struct sample_chains *chains, uintptr_t address)
{
	return &chains->heads[hash_fast(address) >> 32 & (chains->count - 1)];
}

/* Whether p may be a sample. False if it certainly is none. Takes no lock. */
static inline bool sample_may_be(const void *p)
{
	struct sample_chains *chains = atomic_load_explicit(&sample_chains, memory_order_acquire);

	return chains &&
	       atomic_load_explicit(sample_chain_of(chains, (uintptr_t)p), memory_order_relaxed);
}

/* Before p, for which sample_may_be, is freed: it is no sample any more. */
void sample_forget(const void *p);

/*
 * The samples with the same stack, as one entry of a profile. For each stack there is one entry
 * with the totals, whose thread is 0 and whose live figures are 0, and one for each thread that
 * allocated live samples there, whose totals are 0. All figures are estimates of the whole program.
 */
struct sample_entry {
	const uintptr_t *frames; /* return addresses, innermost first; valid for good */
	unsigned int depth; /* 0: unknown */
	uint32_t thread; /* the kernel's id of the thread that allocated them */
	uint64_t live_objects, live_bytes;
	uint64_t total_objects, total_bytes; /* since the start, with those that were freed */
};

/*
 * Call visit for each entry. The entries are a consistent copy; visit runs without locks. False
 * with errno ENOMEM: no memory for the copy, and visit was not called.
 */
bool sample_each_stack(void (*visit)(const struct sample_entry *entry, void *arg), void *arg);

struct sample_stats {
	size_t interval; /* 0: never started */
	size_t live, stacks; /* samples, and different stacks */
	uint64_t live_bytes; /* estimate */
	size_t dropped; /* samples that got no memory, or interrupted the sampling code */
	size_t table_bytes; /* memory of the tables */
};

void sample_get_stats(struct sample_stats *stats);

/* What is known of the live sample that begins at p. False: it is none. */
struct sample_info {
	const uintptr_t *frames;
	unsigned int depth;
	uint32_t thread;
	size_t size;
};

bool sample_find(const void *p, struct sample_info *info);

/* Call visit for the memory that has the addresses of samples. No other thread may be inside. */
void sample_each_range(void (*visit)(const void *start, size_t size, void *arg), void *arg);

/*
 * Call grown each time the peak of estimated live bytes has grown by bytes, in the thread that
 * allocates, with nothing locked. One call at a time. Before the second thread starts.
 */
void sample_on_growth(size_t bytes, void (*grown)(void));
