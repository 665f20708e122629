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
 * When the table is full, freed blocks are spilled: a stack, whose links are in the padding. A
 * search pops them, and does not remove others from the middle of the stack: a block that is still
 * in it is coalesced when it is popped. If os_realloc removes one, or a link is too long, the
 * search walks the list of all blocks instead, from the lowest to the highest spilled one. That
 * happens at most once in 2^12 calls, or if so many blocks are spilled that it is faster.
 *
 * Invariant:
 *	Q1 the padding of every pending block has LINKS_PENDING set. The bits below it are the
 *	   block's place in the table, or PENDING_SPILLED is set and they are the distance to the
 *	   next spilled block. Spilled blocks are between low and high. No other free block has
 *	   LINKS_PENDING set.
 */

#pragma once

#include "links.h"

#define PENDING_ROOM (UINT32_C(1) << 13) /* 64 KiB */
#define PENDING_LINK_BITS 30 /* a signed distance in units of 8: 4 GiB in each direction */
#define PENDING_LINK_MASK ((UINT32_C(1) << PENDING_LINK_BITS) - 1)
#define PENDING_SPILLED (LINKS_PENDING | UINT32_C(1) << PENDING_LINK_BITS)
#define PENDING_DENSE 1024 /* bytes for each spilled block: a walk is as fast as the stack */

struct pending {
	size_t count; /* in the table */
	size_t room; /* of the table: PENDING_ROOM, except in tests */
	size_t deferred; /* at most half of the room */
	size_t spilled; /* not in the table */
	bool is_linked; /* the spilled ones are a stack, and there are some */
	struct block_meta *top; /* of the stack */
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

HOT bool pending_is_spilled(struct block_meta *b)
{
	return (*links_padding(b) & PENDING_SPILLED) == PENDING_SPILLED;
}

/* Whether b, a free block, is in the stack, from whose middle a search does not remove it. */
HOT bool pending_is_linked(const struct pending *p, struct block_meta *b)
{
	return pending_is_spilled(b) && p->is_linked;
}

/* The block that a link of b leads to. */
static inline struct block_meta *pending_linked(struct block_meta *b)
{
	int32_t units = (int32_t)(*links_padding(b) << (32 - PENDING_LINK_BITS)) >>
			(32 - PENDING_LINK_BITS);

	return (struct block_meta *)((uintptr_t)b + (uintptr_t)((intptr_t)units * 8));
}

static __attribute__((noinline, cold, unused)) void pending_spill(struct pending *p,
								  struct block_meta *b)
{
	uintptr_t units;

	if (!p->spilled++) {
		p->low = p->high = p->top = b;
		p->is_linked = true;
	}
	units = ((uintptr_t)p->top - (uintptr_t)b) / 8;
	*links_padding(b) = PENDING_SPILLED | ((uint32_t)units & PENDING_LINK_MASK);
	if (pending_linked(b) != p->top)
		p->is_linked = false;
	p->top = b;
	if (b < p->low)
		p->low = b;
	if (b > p->high)
		p->high = b;
}

/* Add b, which is free and not in the index. */
HOT void pending_add(struct pending *p, struct block_meta *b)
{
	if (__builtin_expect(p->count < p->room, 1))
		pending_put(p->count++, b);
	else
		pending_spill(p, b);
}

HOT bool pending_is_valid(const struct pending *p, struct block_meta *b)
{
	uint32_t place = *links_padding(b) & ~LINKS_PENDING;

	if (pending_is_spilled(b))
		return p->spilled && b >= p->low && b <= p->high;
	return place < p->count && pending_table[place] == b;
}

/* Remove b, which is valid. The last block of its kind fills the gap. */
HOT void pending_remove(struct pending *p, struct block_meta *b)
{
	size_t gap = *links_padding(b) & ~LINKS_PENDING;

	if (__builtin_expect(pending_is_spilled(b), 0)) {
		*links_padding(b) = 0;
		p->spilled--;
		p->is_linked = false;
		return;
	}
	if (gap < p->deferred) {
		pending_put(gap, pending_table[--p->deferred]);
		gap = p->deferred;
	}
	if (gap < --p->count)
		pending_put(gap, pending_table[p->count]);
}

static inline struct block_meta *pending_pop_linked(struct pending *p)
{
	struct block_meta *b = p->top, *next = pending_linked(b);

	p->is_linked = --p->spilled > 0;
	if (p->is_linked && (!links_are_in_heap(next, sizeof(*next)) ||
			     next->status != STATUS_FREE || !pending_is_spilled(next)))
		links_corrupted(b);
	p->top = next;
	return b;
}

static inline struct block_meta *pending_find_spilled(struct pending *p)
{
	struct block_meta *b = p->low;

	while (b->status != STATUS_FREE || !pending_is_spilled(b)) {
		struct block_meta *next = b->next;

		if (b == p->high || next <= b || !links_are_in_heap(next, sizeof(*next)))
			links_corrupted(b); /* a spilled block is missing */
		b = next;
	}
	p->low = b;
	p->spilled--;
	return b;
}

/* The stack is moved to the table, as far as there is room: then neighbours can be absorbed. */
static __attribute__((noinline, cold, unused)) struct block_meta *
pending_pop_spilled(struct pending *p)
{
	struct block_meta *b;

	if ((uintptr_t)p->high - (uintptr_t)p->low < p->spilled * PENDING_DENSE)
		p->is_linked = false;
	if (!p->is_linked)
		return pending_find_spilled(p);
	b = pending_pop_linked(p);
	while (p->is_linked && p->count < p->room)
		pending_put(p->count++, pending_pop_linked(p));
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
