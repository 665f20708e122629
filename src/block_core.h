/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * The inside of the course allocator, shared by its files: osmem.c (the rules), block_regions.c
 * (its memory), block_pointer.c (which pointers are blocks, and the report of those that are not),
 * block_lock.c, block_check.c and block_walk.c. Nobody else includes this; block.h is for the
 * layers above.
 *
 * The heap is a set of regions in address order, each tiled by blocks: one region, unless somebody
 * else moves the break.
 *
 *	region  start                                              end            limit
 *	        | header payload | header payload | ... | payload | ahead of need |
 *
 * Invariants, checked by block_check:
 *	H1 blocks tile [start, end) of each region without a gap; sizes are multiples of 8, not 0
 *	H2 the list visits all blocks of all regions in address order, and prev undoes next
 *	H3 a block is free or allocated; the header of an allocated or mapped one has its checksum
 *	H4 every free block is pending (Q1) or in the index (I1 to I3), and nothing else is
 *	H5 regions do not touch, so neighbours in the list that touch are of the same region
 *	H6 last is the last block of the last region, the one that grows
 *	H7 the figures in stats agree with the list
 *	H8 the mapped blocks are in a treap (T1, T2)
 */

#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "block.h"
#include "block_meta.h"
#include "helpers.h"
#include "index.h"
#include "lock.h"
#include "pending.h"
#include "trace.h"

#define META sizeof(struct block_meta)
#define GRAIN ((size_t)8) /* sizes are multiples of it, and the smallest payload */
#define MMAP_THRESHOLD (128 * KIB)
#define REGIONS_MAX 65536

struct region {
	char *start; /* the first block */
	char *end; /* one past the last block */
	char *limit; /* one past what the kernel gave; about end, but in the last region */
};

struct block_heap {
	size_t recent; /* the region that a pointer was found in last */
	size_t region_count;
	unsigned int raises; /* how often memory came from the kernel */
	struct block_meta *last; /* H6; NULL before the first use */
	struct pending pending;
	struct osmem_heap_stats stats; /* live_blocks is left out: block_get_stats derives it */
	struct index index;
	struct block_meta *mapped; /* H8 */
	struct lock lock; /* guards all of this and all of these, links_heap included */
};

extern struct block_heap course;
extern struct region block_regions[REGIONS_MAX];

/*
 * Who calls sbrk has it, and the lock of the heap only before and after. block_lock_raise gives up
 * after a second, and returns false.
 */
extern pthread_mutex_t block_raise_lock;

bool block_lock_raise(void);

/* Locking. Nothing is locked while the process has a single thread. */

HOT void block_enter(void)
{
	lock_acquire(&course.lock);
}

HOT void block_leave(void)
{
	lock_release(&course.lock);
}

/* Arithmetic. */

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

/* Checksums: a keyed hash in the padding of every live header. */

/* Status and size are below the hash's top bits, so that any change of them changes those. */
HOT uint32_t block_checksum_of(const struct block_meta *b)
{
	uint64_t key = links_heap.secret ^ (uintptr_t)b;

	return (uint32_t)(((key + (b->size << 2) + (uint64_t)b->status) * LINKS_HASH) >> 32);
}

HOT void block_set_checksum(struct block_meta *b)
{
	*links_padding(b) = block_checksum_of(b);
}

/* Zero, or what sets the checksum of b apart from that of a live block. */
HOT uint32_t block_checksum_difference(struct block_meta *b)
{
	return *links_padding(b) ^ block_checksum_of(b);
}

HOT bool block_has_checksum(struct block_meta *b)
{
	return !block_checksum_difference(b);
}

/* A step of the heap for the trace; everything before it in the call has happened. */
HOT void block_note(enum trace_step step, unsigned int rule, const void *first, uint64_t second,
		    uint64_t third)
{
	if (trace_is_on)
		trace_step(step, rule, (uintptr_t)first, second, third);
}

/* Figures. */

HOT void block_note_peak(void)
{
	size_t bytes = course.stats.live_bytes + course.stats.mapped_bytes;

	if (bytes > course.stats.peak_bytes)
		course.stats.peak_bytes = bytes;
}

/* block_pointer.c. Reports leave the heap first. */

HOT bool block_is_in(const struct region *r, const void *p)
{
	return (uintptr_t)p - (uintptr_t)r->start < (uintptr_t)(r->end - r->start);
}

struct region *block_find_region_slow(const void *p);

/* The region that p is in, or NULL. */
HOT struct region *block_find_region(const void *p)
{
	struct region *r = &block_regions[course.recent];

	return __builtin_expect(block_is_in(r, p), 1) ? r : block_find_region_slow(p);
}

/* What must stand behind b, which may be the last block of r. */
HOT const struct block_meta *block_expected_next(const struct region *r, const struct block_meta *b)
{
	if (block_end(b) != r->end)
		return block_at(block_end(b));
	return r + 1 == block_regions + course.region_count ? NULL : block_at(r[1].start);
}

struct block_meta *block_of_slow(const char *call, void *p, bool may_be_free);

/*
 * The one way from a pointer to its block. The block is live, or free where may_be_free is set;
 * anything else is reported. Memory that is not the heap's is never read.
 *
 * A header with its checksum is a live block's. Its links may have been hit by writes in front of
 * the payload: next is looked at here; the neighbours' own headers only when the block is
 * coalesced, because they are two cache misses that the search will need anyway.
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

/*
 * b and its neighbours in the list lead to each other; nothing outside r, which b is in, is read.
 */
bool block_is_linked(const struct region *r, const struct block_meta *b);

/* b, free and about to be coalesced: its neighbours are in order, or it is a fault. */
void block_check_neighbours(struct block_meta *b) __attribute__((cold));

/* b, which touches no next block, is the last of its region, or it is a fault. */
void block_require_region_end(struct block_meta *b) __attribute__((cold));

/* Say that b is overwritten, and abort. */
void block_corrupted(const struct block_meta *b) __attribute__((noreturn, cold));

/* block_regions.c. */

/* Draw the secret of all checksums, unless that was done; the first block of all needs it. */
HOT void block_make_secret(void)
{
	if (!links_heap.secret)
		links_heap.secret = sys_secret();
}

/* Bytes that the kernel gave behind the end of the heap. */
HOT size_t block_room(void)
{
	const struct region *r = &block_regions[course.region_count - 1];

	return (size_t)(r->limit - r->end);
}

/* Move the end of the heap up by size bytes, block_room at most. */
HOT void block_extend(size_t size)
{
	block_regions[course.region_count - 1].end += size;
	course.stats.region_bytes += size;
	course.stats.ahead_bytes -= size;
}

enum raise {
	RAISED, /* there is more than before; but others may have changed anything meanwhile */
	REFUSED, /* errno is ENOMEM */
	MOVED, /* the break is not where the heap ends, and no new region was wanted */
};

/*
 * Get memory for the heap to grow by size bytes; or, where somebody else has moved the break, for a
 * new region of chunk bytes, which is one free block, pending; chunk may be 0. The heap is left
 * meanwhile, for sbrk may be anybody's. *tries is 0 at first: where a hook of sbrk takes room every
 * time, the third try in a row gets enough for all.
 */
enum raise block_raise(size_t size, size_t chunk, unsigned int *tries);

void block_register_mapped(struct block_meta *b);
void block_unregister_mapped(struct block_meta *b);
