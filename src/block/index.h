/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * The index of free blocks: exact best fit, lowest address among equals. Its links are in the
 * payloads of the blocks, so it needs no memory.
 *
 * Blocks are in bins by size. A bitmap has a bit for each bin, set while the bin is not empty.
 *	- 8 to 1024 bytes: one bin per size, so the best fit is the lowest address of a bin. Bins
 *	  from 24 bytes on are pairing heaps (pairing.h), whose three links do not fit into 8 or 16
 *	  bytes. Those two bins are treaps (treap.h).
 *	- Larger: eight bins per doubling of size. Each is a treap by size, then address.
 *
 * Insertion into a pairing heap is O(1); everything else is O(log n), amortised.
 *
 * Invariants:
 *	I1 a free block that is not pending is in the bin of its size, once
 *	I2 a bit of the bitmap is set if and only if its bin is not empty
 *	I3 pairing heaps keep P1 and P2, treaps T1 and T2
 *
 * Pairing heaps are implemented in headers: inlined into the search they take half the time.
 */

#pragma once

#include "pairing.h"
#include "treap.h"

#define INDEX_PAIRING_MIN sizeof(struct pairing_links)
#define INDEX_EXACT_MAX ((size_t)1024)
#define INDEX_FIRST_PAIRING (INDEX_PAIRING_MIN / 8 - 1)
#define INDEX_FIRST_SIZED (INDEX_EXACT_MAX / 8)
#define INDEX_SUBBINS_SHIFT 3
#define INDEX_DOUBLINGS 39 /* 2^10 to 2^49 */
#define INDEX_BINS (INDEX_FIRST_SIZED + (INDEX_DOUBLINGS << INDEX_SUBBINS_SHIFT))
#define INDEX_WORDS ((INDEX_BINS + 63) / 64)

struct index {
	uint64_t occupied[INDEX_WORDS]; /* I2 */
	struct block_meta *bin[INDEX_BINS]; /* roots */
};

/* Whether blocks of this size are in a pairing heap. */
HOT bool index_is_pairing(size_t size)
{
	return size - INDEX_PAIRING_MIN <= INDEX_EXACT_MAX - INDEX_PAIRING_MIN;
}

HOT size_t index_exact_bin(size_t size)
{
	return size / 8 - 1;
}

HOT size_t index_bin_of(size_t size)
{
	unsigned int log;
	size_t sub;

	if (size <= INDEX_EXACT_MAX)
		return index_exact_bin(size);
	log = 63 - (unsigned int)__builtin_clzll(size);
	sub = size >> (log - INDEX_SUBBINS_SHIFT) & ((1u << INDEX_SUBBINS_SHIFT) - 1);
	return INDEX_FIRST_SIZED + ((size_t)(log - 10) << INDEX_SUBBINS_SHIFT) + sub;
}

HOT void index_set_bit(struct index *ix, size_t bin)
{
	ix->occupied[bin / 64] |= UINT64_C(1) << (bin % 64);
}

HOT void index_clear_bit(struct index *ix, size_t bin)
{
	ix->occupied[bin / 64] &= ~(UINT64_C(1) << (bin % 64));
}

/* The first bin at or after bin that is not empty, or INDEX_BINS. */
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

/* index.c: operations on the bins that are treaps. */
void index_insert_sized(struct index *ix, struct block_meta *b);
bool index_remove_sized(struct index *ix, struct block_meta *b);
struct block_meta *index_take_sized(struct index *ix, size_t bin, size_t size);

/* Insert b, which is free and not pending. */
HOT void index_insert(struct index *ix, struct block_meta *b)
{
	size_t bin = index_exact_bin(b->size);

	*links_padding(b) = 0;
	if (!index_is_pairing(b->size)) {
		index_insert_sized(ix, b);
		return;
	}
	pairing_insert(&ix->bin[bin], b);
	index_set_bit(ix, bin);
}

/* Remove b. Returns false if it is not in the bin of its size. */
HOT bool index_remove(struct index *ix, struct block_meta *b)
{
	size_t bin = index_exact_bin(b->size);

	if (!index_is_pairing(b->size))
		return index_remove_sized(ix, b);
	pairing_remove(&ix->bin[bin], b);
	if (!ix->bin[bin])
		index_clear_bit(ix, bin);
	return true;
}

/* Remove the lowest block of a pairing heap that is not empty. */
HOT struct block_meta *index_take_lowest(struct index *ix, size_t bin)
{
	struct block_meta *b = ix->bin[bin],
			  *children = pairing_follow(b, &pairing_links(b)->child);

	if (__builtin_expect(!children, 1)) {
		ix->bin[bin] = NULL;
		index_clear_bit(ix, bin);
	} else if (__builtin_expect(index_exact_bin(b->size) == bin, 1)) {
		pairing_set_root(&ix->bin[bin], pairing_meld_siblings(children));
	}
	return b;
}

/*
 * Remove the smallest block of at least size bytes, the lowest among equals. NULL if there is none.
 * The header of the result may be overwritten: the caller has to validate it.
 *
 * *capacity is the size of the block. It is mostly known from the bin, before the block is read, so
 * that a branch on it resolves two loads earlier. That saves 1 ns of 34.
 */
HOT struct block_meta *index_take(struct index *ix, size_t size, size_t *capacity)
{
	size_t bin = index_bin_of(size);
	struct block_meta *b = NULL;

	if (size > INDEX_EXACT_MAX)
		b = index_take_sized(ix, bin++, size);
	if (!b)
		bin = index_next_occupied(ix, bin);
	if (bin >= INDEX_FIRST_PAIRING && bin < INDEX_FIRST_SIZED) {
		*capacity = (bin + 1) * 8;
		return index_take_lowest(ix, bin);
	}
	if (!b)
		b = index_take_sized(ix, bin, size);
	*capacity = b ? b->size : 0;
	return b;
}

/* Check I1 to I3 in O(n), and count the blocks. Returns NULL or a description of a violation. */
const char *index_check(const struct index *ix, size_t *count);
