/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * The index of a heap's free blocks: exact best fit, and the lowest address among equals, without a
 * walk and without memory of its own. It is a cache of the block list, never the truth.
 *
 * A free block is in one of two states.
 *
 * Pending: freed or split off since the last search; in a doubly linked list, not searched. The
 *heap takes it from there, coalesces it and inserts it.
 *
 * Indexed: in the bin of its size. Bins are in the order of size, and a bitmap has a bit for every
 * bin that is not empty.
 *	- Payloads of 8 bytes: a bin per zone of 2^33 bytes of address space, because 31-bit links
 *	  are all that fits. Zones are in address order, so the first one that is not empty is
 *right.
 *	- 16 to 1024 bytes: a bin per size. All blocks of a bin being equal, the lowest address is
 *all that is ever asked for, so a bin is a pairing heap keyed by address: insertion and removal of
 *a leaf, by far the commonest cases, touch a constant number of blocks.
 *	- Above: 8 bins per doubling of size, each a treap ordered by size, then address.
 *
 * Cost: insertion O(1); removal and taking the best fit O(log n) amortised.
 *
 * The links, drawn from the last 4 bytes of the header (block_meta.h calls them pad):
 *
 *	            pad (32)              payload word 0 (64)       payload word 1 (64)
 *	pending     1 | 0 | prev high 26  next 45 | prev low 19     unused
 *	8 bytes     0 | back 31           sibling 32 | child 32     none
 *	to 1024     0 | 0 | back high 7   child 45 | back low 19    sibling 45 | back middle 19
 *	above       0                     left                      right
 *
 * 45-bit links are addresses divided by 8; 31-bit ones count units of 8 bytes from the zone's
 *start, plus 1. Zero is no link.
 *
 * Invariants:
 *	I1 a free block is either pending or in the bin of its size, never in both, and once
 *	I2 a bit of the bitmap is set if and only if its bin is not empty
 *	I3 in a pairing heap a child's address is higher than its parent's; back leads to the
 *previous sibling, or for a first child to the parent, and is zero at the root I4 treaps keep T1
 *and T2 All of it is guarded by the lock of the heap that owns the index.
 */

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "block_meta.h"
#include "treap.h"

#define INDEX_ZONE_SHIFT 33
#define INDEX_ZONES 128 /* of 8 GiB: a heap of 8-byte grain spans at most 1 TiB */
#define INDEX_EXACT_MAX ((size_t)1024)
#define INDEX_EXACT_BINS (INDEX_EXACT_MAX / 8 - 1) /* 16, 24 ... 1024 */
#define INDEX_SUBBINS_SHIFT 3
#define INDEX_DOUBLINGS 39 /* 2^10 to 2^49 */
#define INDEX_FIRST_TREAP (INDEX_ZONES + INDEX_EXACT_BINS)
#define INDEX_BINS (INDEX_FIRST_TREAP + (INDEX_DOUBLINGS << INDEX_SUBBINS_SHIFT))
#define INDEX_WORDS ((INDEX_BINS + 63) / 64)

struct index {
	uint64_t occupied[INDEX_WORDS]; /* I2 */
	uint32_t occupied_words; /* bit w: occupied[w] is not zero */
	uint32_t pending_count;
	struct block_meta *pending; /* NULL or the newest */
	uintptr_t base; /* zone 0 starts here; set before the first 8-byte block comes */
	union {
		struct block_meta *block; /* pairing heaps: the root, lowest address of the bin */
		struct treap_node *node; /* treaps */
	} bin[INDEX_BINS];
};

/* Make b, free and unknown to the index, pending. */
void index_defer(struct index *ix, struct block_meta *b);

/* Take the newest pending block out, or NULL. */
struct block_meta *index_next_pending(struct index *ix);

/* Insert b, free and unknown to the index. */
void index_insert(struct index *ix, struct block_meta *b);

/* Take b out, pending or indexed. False: its links are overwritten, the index may be damaged. */
bool index_remove(struct index *ix, struct block_meta *b);

/* Take out the smallest block of at least size bytes, the lowest one among equals; NULL if none. */
struct block_meta *index_take(struct index *ix, size_t size);

/*
 * Call visit for every indexed block of at least size bytes (above INDEX_EXACT_MAX), the bins of
 * the largest first, until it returns false. visit must not change the index.
 */
void index_visit_large(const struct index *ix, size_t size,
		       bool (*visit)(struct block_meta *b, void *arg), void *arg);

/*
 * Check I1 to I4 as far as the index alone can, and count the blocks in *count. NULL, or the text
 * of the first invariant that does not hold. O(n).
 */
const char *index_check(const struct index *ix, size_t *count);
