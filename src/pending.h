/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * The free blocks that the index does not know yet: those freed or split off since the last search.
 * Not a byte of their payloads may change before it, so they are in a table of the library's own
 * memory, which costs the pages that are touched and no system call. The padding of a block's
 * header has its place there, so that any can be removed at once.
 *
 * When the table is full, blocks are only marked, and between which addresses they are is kept:
 * whoever takes them walks the list of blocks from the lowest to the highest. There are 2^18 calls
 * for each such walk.
 *
 * Invariant:
 *	Q1 the padding of every pending block has LINKS_PENDING set, and leads to the place of the
 *	   table that leads back; or it has no place, and the block is one of spilled ones between
 *	   low and high. No other free block has LINKS_PENDING set.
 */

#pragma once

#include "links.h"

#define PENDING_ROOM (UINT32_C(1) << 18)
#define PENDING_SPILLED (LINKS_PENDING | PENDING_ROOM)

struct pending {
	size_t count; /* in the table */
	size_t room; /* of the table: PENDING_ROOM, but in tests */
	size_t spilled; /* not in the table, from low to high */
	struct block_meta *low, *high;
};

/* Guarded by the lock of the heap, as all here. */
extern struct block_meta *pending_table[PENDING_ROOM];

HOT bool pending_has(struct block_meta *b)
{
	return *links_padding(b) & LINKS_PENDING;
}

/* Add b, free and unknown to the index. */
HOT void pending_add(struct pending *p, struct block_meta *b)
{
	if (__builtin_expect(p->count < p->room, 1)) {
		*links_padding(b) = LINKS_PENDING | (uint32_t)p->count;
		pending_table[p->count++] = b;
		return;
	}
	*links_padding(b) = PENDING_SPILLED;
	if (!p->spilled || b < p->low)
		p->low = b;
	if (!p->spilled || b > p->high)
		p->high = b;
	p->spilled++;
}

HOT bool pending_is_sound(const struct pending *p, struct block_meta *b)
{
	uint32_t place = *links_padding(b) & ~LINKS_PENDING;

	if (place == PENDING_ROOM)
		return p->spilled && b >= p->low && b <= p->high;
	return place < p->count && pending_table[place] == b;
}

/* Remove b, which is sound. */
HOT void pending_remove(struct pending *p, struct block_meta *b)
{
	uint32_t place = *links_padding(b) & ~LINKS_PENDING;
	struct block_meta *last;

	if (__builtin_expect(place == PENDING_ROOM, 0)) {
		*links_padding(b) = 0;
		p->spilled--;
		return;
	}
	last = pending_table[--p->count];
	pending_table[place] = last;
	*links_padding(last) = LINKS_PENDING | place;
}

static __attribute__((noinline, cold, unused)) struct block_meta *
pending_pop_spilled(struct pending *p)
{
	struct block_meta *b = p->low;

	while (b->status != STATUS_FREE || *links_padding(b) != PENDING_SPILLED) {
		struct block_meta *next = b->next;

		if (b == p->high || next <= b || !links_are_in_heap(next, sizeof(*next)))
			links_damaged(b); /* there are more */
		b = next;
	}
	p->low = b;
	p->spilled--;
	return b;
}

/* Take any one out; NULL if none is pending. */
HOT struct block_meta *pending_pop(struct pending *p)
{
	struct block_meta *b;

	if (__builtin_expect(!p->count, 0))
		return p->spilled ? pending_pop_spilled(p) : NULL;
	b = pending_table[--p->count];
	if (__builtin_expect(*links_padding(b) != (LINKS_PENDING | (uint32_t)p->count), 0))
		links_damaged(b);
	return b;
}

/* gone has become part of b, the block before it. */
HOT void pending_note_absorbed(struct pending *p, const struct block_meta *gone,
			       struct block_meta *b)
{
	if (p->low == gone)
		p->low = b;
	if (p->high == gone)
		p->high = b;
}
