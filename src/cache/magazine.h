/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Magazines: batches of cells of one class, and the depots where they wait between two threads.
 *
 *	cells[0]          …    cells[capacity - 1]   cells[capacity]
 *	| room, or a cell | … | a cell             | MAGAZINE_END   | … | next | count |
 *
 * A magazine is aligned to its size. It fills downwards: the cells are at [top, capacity), so that
 * top is at the end when it is empty, and at an address that is a multiple of MAGAZINE_SIZE when
 * it is full. Neither test needs to know the capacity.
 *
 * Invariants, checked by magazine_check:
 *	M1 cells[capacity] is MAGAZINE_END
 *	M2 a magazine in a depot's full list has cells from 0 on, count of them: the capacity
 *	M3 cells in magazines are out of the store, and no cell is in two places
 *	M4 cells in magazines have CELL_FREED in their first words, but when hardened
 */

#pragma once

#include <stdatomic.h>

#include "slab/slab.h"
#include "tunables.h"

#define CLASS_MAGAZINE CLASS_OWN_512
#define MAGAZINE_SIZE ((size_t)512)
#define MAGAZINE_CELLS_MAX 60

/* Behind the cells of a magazine: an address that may be read, and CELL_FREED is not there. */
extern const uint64_t magazine_end SLAB_HIDDEN;
#define MAGAZINE_END ((void *)(uintptr_t)&magazine_end)

struct magazine {
	void *cells[MAGAZINE_CELLS_MAX + 1];
	struct magazine *next; /* in a depot */
	unsigned int count; /* while it is not some thread's loaded one: 0 or capacity */
};

_Static_assert(sizeof(struct magazine) <= MAGAZINE_SIZE, "a magazine has a cell to itself");
_Static_assert(SLAB_SIZE % MAGAZINE_SIZE == 0, "cells of magazines are aligned to their size");

/*
 * Of one class in one shard; guarded by the shard's lock. Threads have shards as slabs have, so
 * that they do not wait for each other, and get back the cells that are in their core's caches.
 */
struct depot {
	struct magazine *_Atomic full, *_Atomic empty; /* lists; whole at any moment, for a fork */
	_Atomic(unsigned int) full_count; /* atomic for those who only look whether it is 0 */
	unsigned int empty_count;
	unsigned int low; /* the fewest full ones since the last look */
};

struct depot_shard {
	struct depot depots[CLASS_COUNT];
} __attribute__((aligned(64)));

/* Apart from the depots, whose pages are touched by those only who have use for them. */
struct depot_size {
	_Atomic(size_t) bytes; /* of cells in the full magazines of all depots of a shard */
} __attribute__((aligned(64)));

extern struct depot_shard magazine_shards[SLAB_SHARDS];
extern struct depot_size magazine_sizes[SLAB_SHARDS];
extern _Atomic(size_t) magazine_depot_size SLAB_HIDDEN; /* bytes of cells in a depot, at most */

/* Let depots hold that many bytes of cells; only from the next magazine on. */
static inline void magazine_set_depot_size(size_t size)
{
	magazine_depot_size = size;
}

/* How many full magazines there are; no lock. */
static inline unsigned int depot_full_count(unsigned int class, unsigned int shard)
{
	if (!atomic_load_explicit(&magazine_sizes[shard].bytes, memory_order_relaxed))
		return 0;
	return atomic_load_explicit(&magazine_shards[shard].depots[class].full_count,
				    memory_order_relaxed);
}

/* Compute slab_classes, with the capacities below, before anything else. Idempotent. */
void magazine_init(void);

/* Cells that a magazine of class holds. */
static inline unsigned int magazine_capacity(unsigned int class)
{
	return slab_classes[class].magazine;
}

/* The magazine that top points into. */
static inline struct magazine *magazine_of(void **top)
{
	return (struct magazine *)((uintptr_t)top & ~(MAGAZINE_SIZE - 1));
}

/* An empty magazine for class, or NULL without memory. */
struct magazine *magazine_new(unsigned int class);
void magazine_free(struct magazine *m);

/* Lock shard, as slab_enter a class, and before that. */
void depot_enter(unsigned int shard);
void depot_leave(unsigned int shard);

/* Lock all shards. */
void depot_lock_all(void);
void depot_unlock_all(void);

/* The following want shard to be entered. */

/* A full magazine of the depot, or NULL. */
struct magazine *depot_take_full_locked(unsigned int class, unsigned int shard);

/* Hand in a full magazine for an empty one. NULL: the depot is full, or there is no memory. */
struct magazine *depot_exchange_full_locked(unsigned int class, unsigned int shard,
					    struct magazine *full);

/* Hand in an empty magazine. */
void depot_put_empty_locked(unsigned int class, unsigned int shard, struct magazine *empty);

/* Take apart what has not been needed since the last call; with all, everything. */
void depot_shrink_locked(unsigned int class, unsigned int shard, bool all);

/* Bytes of cells in all depots. */
size_t magazine_depot_bytes(void);

/* In a fork's child: count what is in shard's lists, which another thread was changing. */
void depot_fork_child(unsigned int shard);

/* Whether m is in the full list. No lock: for a fork's child. */
bool depot_has_full(unsigned int class, unsigned int shard, const struct magazine *m);
