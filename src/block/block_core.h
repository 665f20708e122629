/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * The inside of the course allocator. Its files alone include this: osmem.c (the rules),
 * block_heap.c (the state), block_regions.c (memory from the kernel, and fork), block_pointer.c
 * (validation and reports) and block_walk.c (copies for block.h, and the checker).
 *
 * The heap is a table of regions in address order. There is one region, unless somebody else moves
 * the break.
 *
 *	region  start                                              end            limit
 *	        | header payload | header payload | ... | payload | ahead of need |
 *
 * Invariants, checked by block_check:
 *	H1 blocks fill [start, end) of each region; sizes are multiples of 8, and not 0
 *	H2 next leads through all blocks of all regions in address order, and prev leads back
 *	H3 a block of a region is free or allocated; live blocks have the checksum of their header
 *	H4 every free block is either pending (Q1) or in the index (I1 to I3); no other block is
 *	H5 regions do not touch, so blocks that touch are of one region
 *	H6 last is the last block of the last region, the one that grows
 *	H7 the figures in stats agree with the list
 *	H8 the mapped blocks are in a treap (T1, T2)
 */

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "block.h"
#include "block_meta.h"
#include "hash.h"
#include "helpers.h"
#include "index.h"
#include "lock.h"
#include "pending.h"
#include "trace/trace.h"

#define META sizeof(struct block_meta)
#define GRAIN ((size_t)8) /* sizes are multiples of it, and the smallest payload */
#define MMAP_THRESHOLD (128 * KIB)
#define REGIONS_MAX 65536

struct region {
	char *start; /* the first block */
	char *end; /* of the last block */
	char *limit; /* of what the kernel gave */
};

struct block_heap {
	size_t recent; /* the region that a pointer was found in last */
	size_t region_count;
	unsigned int raises; /* how often memory came from the kernel */
	struct block_meta *last; /* H6; NULL before the first use */
	struct pending pending;
	struct osmem_heap_stats stats; /* block_get_stats derives live_blocks and mapped_blocks */
	struct index index;
	struct block_meta *mapped; /* H8 */
	struct lock lock; /* of all of this, block_regions, pending_table and links_heap */
};

extern struct block_heap course;
extern struct region block_regions[REGIONS_MAX];

HOT void block_enter(void)
{
	lock_acquire(&course.lock);
}

HOT void block_leave(void)
{
	lock_release(&course.lock);
}

/* ---- Arithmetic ---- */

HOT size_t round_up(size_t n, size_t to)
{
	return (n + to - 1) & ~(to - 1);
}

HOT char *block_end(const struct block_meta *b)
{
	return (char *)(uintptr_t)(b + 1) + b->size;
}

HOT struct block_meta *block_at(char *p)
{
	return (struct block_meta *)(void *)p;
}

/* ---- Checksums: a keyed hash of address, size and status in every live header ---- */

HOT uint32_t block_checksum_of(const struct block_meta *b)
{
	uint64_t key = links_heap.secret ^ (uintptr_t)b;

	/* The upper half of the product depends on every bit of size and status. */
	return (uint32_t)(hash_fast(key + (b->size << 2) + (uint64_t)b->status) >> 32);
}

HOT void block_set_checksum(struct block_meta *b)
{
	*links_padding(b) = block_checksum_of(b);
}

HOT bool block_has_checksum(struct block_meta *b)
{
	return *links_padding(b) == block_checksum_of(b);
}

/* ---- Figures and traces ---- */

HOT void block_note_peak(void)
{
	size_t bytes = course.stats.live_bytes + course.stats.mapped_bytes;

	if (bytes > course.stats.peak_bytes)
		course.stats.peak_bytes = bytes;
}

/* Record a step that has just been done. */
HOT void block_note(enum trace_step step, unsigned int rule, const void *first, uint64_t second,
		    uint64_t third)
{
	if (trace_is_on)
		trace_step(step, rule, (uintptr_t)first, second, third);
}

/* ---- block_pointer.c: validation; what is not in order is reported, and the process ends ---- */

HOT bool block_is_in(const struct region *r, const void *p)
{
	return (uintptr_t)p - (uintptr_t)r->start < (uintptr_t)(r->end - r->start);
}

struct region *block_find_region_slow(const void *p); /* block_heap.c */

/* The region that p is in, or NULL. */
HOT struct region *block_find_region(const void *p)
{
	struct region *r = &block_regions[course.recent];

	return __builtin_expect(block_is_in(r, p), 1) ? r : block_find_region_slow(p);
}

/* What next of b, a block of r, has to be. */
HOT const struct block_meta *block_expected_next(const struct region *r, const struct block_meta *b)
{
	if (block_end(b) != r->end)
		return block_at(block_end(b));
	return r + 1 == block_regions + course.region_count ? NULL : block_at(r[1].start);
}

/* Whether the size of b, a block of r, is possible. */
bool block_has_sane_size(const struct region *r, const struct block_meta *b);

struct block_meta *block_of_slow(const char *call, void *p, bool may_be_free);

/*
 * The block of a pointer that the program passed to call: a live one, or a free one where
 * may_be_free is set. Only memory of the heap is read.
 *
 * Of the links, only next is validated here. The neighbours' headers are read when the block is
 * coalesced: they are two cache misses that the search needs anyway.
 */
HOT struct block_meta *block_of(const char *call, void *p, bool may_be_free)
{
	struct block_meta *b = (struct block_meta *)p - 1;
	const struct region *r = block_find_region(b);

	if (__builtin_expect(r && ((uintptr_t)p & (GRAIN - 1)) == 0 && (char *)p < r->end &&
				     b->status == STATUS_ALLOC && block_has_checksum(b) &&
				     ((char *)b->next == block_end(b) ||
				      b->next == block_expected_next(r, b)),
			     1))
		return b;
	return block_of_slow(call, p, may_be_free);
}

/* Validate b, a free block, and its neighbours. */
void block_check_neighbours(struct block_meta *b) __attribute__((cold));

/* Validate b, which does not touch the next block: it has to be the last of its region. */
void block_require_region_end(struct block_meta *b) __attribute__((cold));

/* block_heap.c: report that b is overwritten. */
void block_corrupted(const struct block_meta *b) __attribute__((noreturn, cold));

/* ---- block_regions.c ---- */

/* Draw the secret of all checksums before the first block is made. */
HOT void block_make_secret(void)
{
	if (!links_heap.secret)
		links_heap.secret = sys_secret();
}

/* How far the heap can grow without a system call. */
HOT size_t block_room(void)
{
	const struct region *r = &block_regions[course.region_count - 1];

	return (size_t)(r->limit - r->end);
}

/* Move the end of the heap up by size bytes, at most block_room(). */
HOT void block_extend(size_t size)
{
	block_regions[course.region_count - 1].end += size;
	course.stats.region_bytes += size;
	course.stats.ahead_bytes -= size;
}

enum raise {
	RAISED, /* the heap has more room; others may have changed anything meanwhile */
	REFUSED, /* errno is ENOMEM */
	MOVED, /* the break is not where the heap ends, and no new region was wanted */
};

/*
 * Raise the break for the heap to grow by size bytes. If somebody else has moved it, make a new
 * region of chunk bytes instead, unless chunk is 0: one free block, pending.
 *
 * The heap is unlocked meanwhile, since sbrk may be a hook that allocates. *tries is 0 at first. A
 * hook may use up the new room every time, so the third try raises the break by enough for either.
 */
enum raise block_raise(size_t size, size_t chunk, unsigned int *tries);
