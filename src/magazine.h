/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Magazines: batches of cells of one class, and the depots where they wait between two threads.
 *
 *	cells[0]          …    cells[capacity - 1]   cells[capacity]
 *	| room, or a cell | … | a cell             | NULL           | … | next | count |
 *
 * A magazine is aligned to its size. It fills downwards: the cells are at [top, capacity), so that
 * top is at the NULL when it is empty, and at an address that is a multiple of MAGAZINE_SIZE when it
 * is full. Neither test needs to know the capacity.
 *
 * Invariants, checked by magazine_check:
 *	M1 cells[capacity] is NULL
 *	M2 a magazine in a depot's full list has cells from 0 on, count of them: the capacity
 *	M3 cells in magazines are out of the store, and no cell is in two places
 */

#pragma once

#include <stdatomic.h>

#include "slab.h"

#define DEPOT_BYTES MIB /* of cells in a class's depot */

struct magazine {
	void *cells[MAGAZINE_CELLS_MAX + 1];
	struct magazine *next; /* in a depot */
	unsigned int count; /* while it is not some thread's loaded one: 0 or capacity */
};

_Static_assert(sizeof(struct magazine) <= MAGAZINE_SIZE, "a magazine has a cell to itself");
_Static_assert(SLAB_SIZE % MAGAZINE_SIZE == 0, "cells of magazines are aligned to their size");

/*
 * Guarded by the lock of its class. The full ones are in shards, and a cache prefers its own: cells
 * that a thread has freed are in its core's caches, and share lines with each other.
 */
struct depot {
	struct magazine *full[SLAB_SHARDS], *empty;
	unsigned int full_count, empty_count;
	unsigned int low; /* the fewest full ones since the last look */
};

extern struct depot magazine_depots[CLASS_COUNT];
extern _Atomic(size_t) magazine_depot_bytes; /* of cells in the full ones of all depots */

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

/* An empty magazine for class, or NULL without memory or while the store is frozen. */
struct magazine *magazine_new(unsigned int class);
void magazine_free(struct magazine *m);

/* The following want the lock of class. */

/* A full magazine of the depot, from shard if that has one, or NULL. */
struct magazine *depot_take_full_locked(unsigned int class, unsigned int shard);

/* Hand in a full magazine and get an empty one: perhaps the same, its cells in the store. */
struct magazine *depot_exchange_full_locked(unsigned int class, unsigned int shard,
					    struct magazine *full);

/* Hand in an empty magazine. */
void depot_put_empty_locked(unsigned int class, struct magazine *empty);

/* Take apart what has not been needed since the last call; with all, everything. */
void depot_shrink_locked(unsigned int class, bool all);
