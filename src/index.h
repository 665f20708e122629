/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * The index of the free blocks that were searched before: exact best fit, and the lowest address
 * among equals, without a walk and without memory of its own. It is a cache of the block list,
 * never the truth.
 *
 * A block is in the bin of its size. Bins are in the order of size, and a bitmap has a bit for
 * every bin that is not empty.
 *	- 8 to 1024 bytes: a bin for each size. All blocks of a bin are equal, and the lowest
 *	  address is all that is ever asked for: a pairing heap by address (pairing.h), or for 8 and
 *	  16 bytes, where its links have no room, a treap (treap.h).
 *	- Above: 8 bins per doubling of size, each a treap by size, then address.
 *
 * Cost: insertion O(1) from 24 to 1024 bytes; everything else O(log n), amortised.
 *
 * Invariants:
 *	I1 a free block that is not pending is in the bin of its size, once
 *	I2 a bit of the bitmap is set if and only if its bin is not empty
 *	I3 pairing heaps keep P1 and P2, treaps T1 and T2
 *
 * The functions are here, not in index.c, because inlined into the search they cost half.
 */

#pragma once

#include "pairing.h"
#include "treap.h"

#define INDEX_EXACT_MAX ((size_t)1024)
#define INDEX_PAIRING_MIN ((size_t)24)
#define INDEX_FIRST_PAIRING (INDEX_PAIRING_MIN / 8 - 1)
#define INDEX_FIRST_SIZED (INDEX_EXACT_MAX / 8)
#define INDEX_SUBBINS_SHIFT 3
#define INDEX_DOUBLINGS 39 /* 2^10 to 2^49 */
#define INDEX_BINS (INDEX_FIRST_SIZED + (INDEX_DOUBLINGS << INDEX_SUBBINS_SHIFT))
#define INDEX_WORDS ((INDEX_BINS + 63) / 64)

_Static_assert(sizeof(struct pairing_links) == 24, "the payload of the first pairing heap");

struct index {
	uint64_t occupied[INDEX_WORDS + 1]; /* I2; the last is always 0 */
	struct block_meta *bin[INDEX_BINS]; /* roots */
};

/* Whether blocks of this size are in a pairing heap. */
HOT bool index_is_pairing(size_t size)
{
	return size - INDEX_PAIRING_MIN <= INDEX_EXACT_MAX - INDEX_PAIRING_MIN;
}

HOT size_t index_bin_above(size_t size)
{
	unsigned int log = 63 - (unsigned int)__builtin_clzll(size);
	size_t sub = size >> (log - INDEX_SUBBINS_SHIFT) & ((1u << INDEX_SUBBINS_SHIFT) - 1);

	return INDEX_FIRST_SIZED + ((size_t)(log - 10) << INDEX_SUBBINS_SHIFT) + sub;
}

HOT size_t index_exact_bin(size_t size)
{
	return size / 8 - 1;
}

HOT size_t index_bin_of(size_t size)
{
	return size <= INDEX_EXACT_MAX ? index_exact_bin(size) : index_bin_above(size);
}

/* A block was taken out of bin. */
HOT void index_mark(struct index *ix, size_t bin)
{
	if (!ix->bin[bin])
		ix->occupied[bin / 64] &= ~(UINT64_C(1) << (bin % 64));
}

/* The first bin from bin on that is not empty, or INDEX_BINS. */
HOT size_t index_next_occupied(const struct index *ix, size_t bin)
{
	size_t w = bin / 64;
	uint64_t bits = ix->occupied[w] & ~UINT64_C(0) << (bin % 64);

	while (!bits) {
		if (++w == INDEX_WORDS)
			return INDEX_BINS;
		bits = ix->occupied[w];
	}
	return w * 64 + (size_t)__builtin_ctzll(bits);
}

/* index.c: the bins that are treaps. */
void index_insert_sized(struct index *ix, struct block_meta *b);
bool index_remove_sized(struct index *ix, struct block_meta *b);
struct block_meta *index_take_sized(struct index *ix, size_t bin, size_t size);

/* Insert b, free and not pending. */
HOT void index_insert(struct index *ix, struct block_meta *b)
{
	size_t bin;

	*links_padding(b) = 0;
	if (!index_is_pairing(b->size)) {
		index_insert_sized(ix, b);
		return;
	}
	bin = index_exact_bin(b->size);
	pairing_insert(&ix->bin[bin], b);
	ix->occupied[bin / 64] |= UINT64_C(1) << (bin % 64);
}

/* Take b out; false: it is not in the bin of its size. */
HOT bool index_remove(struct index *ix, struct block_meta *b)
{
	size_t bin;

	if (!index_is_pairing(b->size))
		return index_remove_sized(ix, b);
	bin = index_exact_bin(b->size);
	pairing_remove(&ix->bin[bin], b);
	index_mark(ix, bin);
	return true;
}

/*
 * Take out the smallest block of at least size bytes, the lowest one among equals; NULL if none. A
 * block whose header is overwritten may be returned too, not taken out: the caller must look.
 */
HOT struct block_meta *index_take(struct index *ix, size_t size)
{
	size_t bin = index_bin_of(size);
	struct block_meta *b = NULL, *children;

	if (size > INDEX_EXACT_MAX)
		b = index_take_sized(ix, bin++, size);
	if (b)
		return b;
	bin = index_next_occupied(ix, bin);
	if (bin - INDEX_FIRST_PAIRING >= INDEX_FIRST_SIZED - INDEX_FIRST_PAIRING)
		return bin < INDEX_BINS ? index_take_sized(ix, bin, size) : NULL;
	b = ix->bin[bin];
	children = pairing_follow(b, &pairing_links(b)->child);
	if (__builtin_expect(!children, 1)) {
		ix->bin[bin] = NULL;
		ix->occupied[bin / 64] &= ~(UINT64_C(1) << (bin % 64));
		return b;
	}
	if (__builtin_expect(index_bin_of(b->size) != bin, 0))
		return b;
	pairing_set_root(&ix->bin[bin], pairing_meld_siblings(children));
	return b;
}

/*
 * Check I1 to I3 as far as the index alone can, and count the blocks in *count. NULL, or the text
 * of the first invariant that does not hold. O(n).
 */
const char *index_check(const struct index *ix, size_t *count);
