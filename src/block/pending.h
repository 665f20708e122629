/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * The free blocks that the index does not hold. Two kinds share one table:
 *
 *	[0, deferred)      coalesced, but too small for a pairing heap. Only a search for such a
 *	                   small block moves them to the index, which is rare. Most are remainders
 *	                   that are absorbed when a neighbour is freed.
 *	[deferred, count)  freed or split off since the last search. Their payloads must not change
 *	                   before the next search (rule 14), so they cannot hold links.
 *
 * The table is static, because os_* must not map anything but blocks. It is not large, because all
 * of it counts against the limit on locked memory (mlockall), although unused pages cost nothing.
 * The padding of a header holds the block's place in the table, so that any block can be removed in
 * O(1).
 *
 * When the table is full, freed blocks are only marked as spilled. A search finds them by walking
 * the list from the lowest to the highest of them, at most once in 2^12 calls.
 *
 * Invariant:
 *	Q1 the padding of every pending block has LINKS_PENDING set. The bits below it are the
 *	   block's place in the table, or PENDING_ROOM if the block is spilled. Spilled blocks are
 *	   between low and high. No other free block has LINKS_PENDING set.
 */

#pragma once

#include "links.h"

#define PENDING_ROOM (UINT32_C(1) << 13) /* 64 KiB */
#define PENDING_SPILLED (LINKS_PENDING | PENDING_ROOM)

struct pending {
	size_t count; /* in the table */
	size_t room; /* of the table: PENDING_ROOM, except in tests */
	size_t deferred; /* at most half of the room */
	size_t spilled; /* not in the table */
	struct block_meta *low, *high; /* of the spilled ones */
};

extern struct block_meta *pending_table[PENDING_ROOM]; /* guarded by the lock of the heap */

HOT bool pending_has(struct block_meta *b)
{
	return *links_padding(b) & LINKS_PENDING;
}

HOT void pending_put(size_t place, struct block_meta *b)
{
	pending_table[place] = b;
	*links_padding(b) = LINKS_PENDING | (uint32_t)place;
}

/* Add b, which is free and not in the index. */
HOT void pending_add(struct pending *p, struct block_meta *b)
{
	if (__builtin_expect(p->count < p->room, 1)) {
		pending_put(p->count++, b);
		return;
	}
	*links_padding(b) = PENDING_SPILLED;
	if (!p->spilled || b < p->low)
		p->low = b;
	if (!p->spilled || b > p->high)
		p->high = b;
	p->spilled++;
}

HOT bool pending_is_valid(const struct pending *p, struct block_meta *b)
{
	uint32_t place = *links_padding(b) & ~LINKS_PENDING;

	if (place == PENDING_ROOM)
		return p->spilled && b >= p->low && b <= p->high;
	return place < p->count && pending_table[place] == b;
}

/* Remove b, which is valid. The last block of its kind fills the gap. */
HOT void pending_remove(struct pending *p, struct block_meta *b)
{
	size_t gap = *links_padding(b) & ~LINKS_PENDING;

	if (__builtin_expect(gap == PENDING_ROOM, 0)) {
		*links_padding(b) = 0;
		p->spilled--;
		return;
	}
	if (gap < p->deferred) {
		pending_put(gap, pending_table[--p->deferred]);
		gap = p->deferred;
	}
	if (gap < --p->count)
		pending_put(gap, pending_table[p->count]);
}

static __attribute__((noinline, cold, unused)) struct block_meta *
pending_pop_spilled(struct pending *p)
{
	struct block_meta *b = p->low;

	while (b->status != STATUS_FREE || *links_padding(b) != PENDING_SPILLED) {
		struct block_meta *next = b->next;

		if (b == p->high || next <= b || !links_are_in_heap(next, sizeof(*next)))
			links_corrupted(b); /* a spilled block is missing */
		b = next;
	}
	p->low = b;
	p->spilled--;
	return b;
}

/* Remove and return a block that is not deferred, or NULL. */
HOT struct block_meta *pending_pop(struct pending *p)
{
	struct block_meta *b;

	if (__builtin_expect(p->count == p->deferred, 0))
		return p->spilled ? pending_pop_spilled(p) : NULL;
	b = pending_table[--p->count];
	if (__builtin_expect(*links_padding(b) != (LINKS_PENDING | (uint32_t)p->count), 0))
		links_corrupted(b);
	return b;
}

/* Add b, which is coalesced, as deferred. Returns false if there are too many of these. */
HOT bool pending_defer(struct pending *p, struct block_meta *b)
{
	if (p->deferred >= p->room / 2)
		return false;
	if (p->count > p->deferred)
		pending_put(p->count, pending_table[p->deferred]);
	p->count++;
	pending_put(p->deferred++, b);
	return true;
}

/* Make all deferred blocks ordinary pending ones. */
HOT void pending_end_deferral(struct pending *p)
{
	p->deferred = 0;
}

/* b has absorbed gone, the block behind it: keep low and high valid. */
HOT void pending_replace_absorbed(struct pending *p, const struct block_meta *gone,
				  struct block_meta *b)
{
	if (p->low == gone)
		p->low = b;
	if (p->high == gone)
		p->high = b;
}
