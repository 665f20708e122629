/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Magazines: arrays of free cells of one class, and the depots where full ones wait.
 *
 *	cells[0]          …    cells[capacity - 1]   cells[capacity]
 *	| room, or a cell | … | a cell             | MAGAZINE_END   | … | next | count |
 *
 * A magazine is aligned to MAGAZINE_SIZE and fills downwards: the cells are at [top, capacity). So
 * top is at the end when it is empty, and a multiple of MAGAZINE_SIZE when it is full. Neither test
 * needs the capacity.
 *
 * Invariants, checked by tcache_check:
 *	M1 cells[capacity] is MAGAZINE_END
 *	M2 a magazine in a depot's full list has count == capacity cells, from 0 on
 *	M3 a cell in a magazine is out of the store, and in one magazine only
 *	M4 a cell in a magazine has CELL_FREED in its first word, except when hardened
 */

#pragma once

#include <stdatomic.h>

#include "slab/slab.h"
#include "tunables.h"

#define CLASS_MAGAZINE CLASS_OWN_512
#define MAGAZINE_SIZE ((size_t)512)
#define MAGAZINE_CELLS_MAX 60

/* Ends the cells of a magazine: a readable address that does not hold CELL_FREED. */
extern const uint64_t magazine_end SLAB_HIDDEN;
#define MAGAZINE_END ((void *)(uintptr_t)&magazine_end)

struct magazine {
	void *cells[MAGAZINE_CELLS_MAX + 1];
	struct magazine *next; /* in a depot; malloc may read it as a cell, to prefetch */
	unsigned int count; /* 0 or capacity; stale while a thread has it loaded */
};

_Static_assert(sizeof(struct magazine) <= MAGAZINE_SIZE, "a magazine has a cell to itself");
_Static_assert(SLAB_SIZE % MAGAZINE_SIZE == 0, "cells of magazines are aligned to their size");

/*
 * The magazines of one class in one shard, guarded by the shard's lock. Each thread uses one shard:
 * so threads do not contend, and get back cells that are still in their core's caches.
 */
struct depot {
	struct magazine *_Atomic full, *_Atomic empty; /* for a fork: always consistent */
	_Atomic(unsigned int) full_count; /* written under the lock, read without it */
	unsigned int empty_count;
	unsigned int low; /* the minimum of full_count since the last depot_shrink_locked */
};

struct depot_shard {
	struct depot depots[CLASS_COUNT];
} __attribute__((aligned(64)));

/* Apart from the depots: reading it does not touch their pages. */
struct depot_size {
	_Atomic(size_t) bytes; /* of cells in all full magazines of a shard */
} __attribute__((aligned(64)));

extern struct depot_shard magazine_shards[SLAB_SHARDS];
extern struct depot_size magazine_sizes[SLAB_SHARDS];
extern _Atomic(size_t) magazine_depot_size SLAB_HIDDEN; /* limit of a depot: bytes of cells */

/* Set the limit of a depot, in bytes of cells. Depots that exceed it keep what they have. */
static inline void magazine_set_depot_size(size_t size)
{
	magazine_depot_size = size;
}

/* The number of full magazines. Takes no lock. */
static inline unsigned int depot_full_count(unsigned int class, unsigned int shard)
{
	if (!atomic_load_explicit(&magazine_sizes[shard].bytes, memory_order_relaxed))
		return 0;
	return atomic_load_explicit(&magazine_shards[shard].depots[class].full_count,
				    memory_order_relaxed);
}

/* Compute slab_classes and the capacities of magazines. Idempotent; must be called first. */
void magazine_init(void);

static inline unsigned int magazine_capacity(unsigned int class)
{
	return slab_classes[class].magazine;
}

/* The magazine that top points into; top may be its end. */
static inline struct magazine *magazine_of(void **top)
{
	return (struct magazine *)((uintptr_t)top & ~(MAGAZINE_SIZE - 1));
}

/* A new empty magazine, owned by the caller, or NULL when memory is exhausted. Preserves errno. */
struct magazine *magazine_new(unsigned int class);
void magazine_free(struct magazine *m);

/* Lock shard, as slab_enter does a class. Lock order: shards before classes. */
void depot_enter(unsigned int shard);
void depot_leave(unsigned int shard);

/* Lock all shards. */
void depot_lock_all(void);
void depot_unlock_all(void);

/* The caller of the following holds the lock of shard. */

/* Remove a full magazine from the depot. NULL if there is none. */
struct magazine *depot_take_full_locked(unsigned int class, unsigned int shard);

/* Exchange full for an empty magazine. NULL, and full stays the caller's: no room or memory. */
struct magazine *depot_exchange_full_locked(unsigned int class, unsigned int shard,
					    struct magazine *full);

/* Add an empty magazine. */
void depot_put_empty_locked(unsigned int class, unsigned int shard, struct magazine *empty);

/* Return magazines that were not needed since the last call, or all, to the store. */
void depot_shrink_locked(unsigned int class, unsigned int shard, bool all);

/* Bytes of cells in all depots. Takes no lock. */
size_t magazine_depot_bytes(void);

/* In a fork's child: recompute the counts of shard, which another thread may have been changing. */
void depot_fork_child(unsigned int shard);

/* Whether m is in the full list. Takes no lock: for a fork's child. */
bool depot_has_full(unsigned int class, unsigned int shard, const struct magazine *m);
