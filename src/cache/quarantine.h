/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Quarantines of hardened mode: rule 2 of hardened.h. Only the owner of a cache uses its
 * quarantine, unless a comment says otherwise.
 */

#pragma once

#include "tcache_core.h"

/* Written by the owner of the cache only. Rows of classes that it never freed are never touched. */
struct quarantine {
	uint64_t random; /* odd */
	struct quarantine *next; /* of spares */
	_Atomic(uint8_t) count[CLASS_COUNT]; /* Q2 */
	void *cells[CLASS_COUNT][QUARANTINE_MAX]; /* Q1; NULL: none */
};

extern uint8_t quarantine_sizes[CLASS_COUNT] SLAB_HIDDEN; /* in cells */

/* Whether the option is set. If so, harden the wings below, too. */
bool hardened_start(void);

/* A random number below n; n is below 2^32. */
static inline size_t quarantine_random(struct quarantine *q, size_t n)
{
	q->random *= 6364136223846793005u;
	return (size_t)((q->random >> 32) * n >> 32);
}

static inline void quarantine_set_count(struct quarantine *q, unsigned int class, unsigned int n)
{
	atomic_store_explicit(&q->count[class], (uint8_t)n, memory_order_relaxed);
}

/* Shuffle cells, with the random state of tc, the caller's cache. */
void quarantine_shuffle(struct tcache *tc, void **cells, unsigned int n);

/* Get an empty quarantine (NULL: no memory); return an empty one. The list of caches is locked. */
struct quarantine *quarantine_new(void);
void quarantine_drop(struct quarantine *q);

/* Return the cells of class in tc's quarantine to the store. */
void quarantine_flush(struct tcache *tc, unsigned int class);

/* The number of cells of class in tc's quarantine, and whether cell is one of them. */
size_t quarantine_count(const struct tcache *tc, unsigned int class);
bool quarantine_has(const struct tcache *tc, unsigned int class, const void *cell);

/*
 * Check tc's quarantine. NULL, or a static text that names the violated invariant:
 *	Q1 cells in quarantine are of their class, out of the store, and zero
 *	Q2 counts are right
 */
const char *quarantine_check(const struct tcache *tc);
