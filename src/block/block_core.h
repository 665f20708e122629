/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Core header of the course allocator: osmem.c (the rules), block_heap.c (the state),
 * block_break.c and block_regions.c (memory from the kernel, fork), block_fork.c (repair of a child
 * of malloc), block_pointer.c (validation, reports) and block_walk.c (copies, the checker).
 *
 * The heap is a table of regions in address order. There is one region, unless other code moves the
 * break.
 *
 *	region  start                                             end       limit
 *	        | header payload | header payload | ... | payload | reserve |
 *
 * Invariants, checked by block_check:
 *	H1 blocks fill [start, end) of each region; sizes are multiples of grain, and not 0
 *	H2 next links all blocks of all regions in address order, and prev is its inverse
 *	H3 a block of a region is free or allocated; the checksum in a live header is valid
 *	H4 every free block is either pending (Q1) or in the index (I1 to I3); no other block is
 *	H5 regions are not adjacent, so adjacent blocks belong to one region
 *	H6 last is the last block of the last region, which is the one that grows
 *	H7 the statistics agree with the list
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
#define GRAIN ((size_t)8) /* the smallest payload; every size is a multiple of it */
#define MALLOC_GRAIN ((size_t)16) /* the same if the list serves malloc: its alignment */
#define MMAP_THRESHOLD (128 * KIB)
#define REGIONS_MAX 512

struct region {
	char *start; /* of the first block */
	char *end; /* of the last block */
	char *limit; /* of the reserve behind it */
};

struct block_heap {
	size_t recent; /* the region of the last lookup */
	size_t region_count;
	unsigned int raises; /* how often the break was raised */
	struct block_meta *last; /* H6; NULL before the first use */
	size_t grain; /* GRAIN, or MALLOC_GRAIN: H1 */
	struct pending pending;
	struct osmem_heap_stats stats; /* block_get_stats derives live_blocks and mapped_blocks */
	struct index index;
	struct block_meta *mapped; /* H8 */
	bool has_strays; /* mapped blocks that are not in the treap: block_fork.c */
	struct lock lock; /* guards this struct, block_regions, pending_table and links_heap */
};

extern struct block_heap course;
extern struct region block_regions[REGIONS_MAX];

HOT void block_lock(void)
{
	lock_acquire(&course.lock);
}

HOT void block_unlock(void)
{
	lock_release(&course.lock);
}

/* ---- Arithmetic ---- */

HOT char *block_end(const struct block_meta *b)
{
	return (char *)(uintptr_t)(b + 1) + b->size;
}

HOT struct block_meta *block_at(char *p)
{
	return (struct block_meta *)(void *)p;
}

/*
 * The last store of a change: a fork may copy the heap before or after it, and block_fork.c walks
 * the list by the sizes.
 */
HOT void block_set_size(struct block_meta *b, size_t size)
{
	atomic_thread_fence(memory_order_release);
	b->size = size;
}

/* Whether the list serves malloc, too (block_serve_malloc). */
HOT bool block_serves_malloc(void)
{
	return course.grain == MALLOC_GRAIN;
}

/* ---- Checksum of a live header: a keyed hash of address, size and status ---- */

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

/* ---- Statistics and traces ---- */

HOT void block_update_peak(void)
{
	size_t bytes = course.stats.live_bytes + course.stats.mapped_bytes;

	if (bytes > course.stats.peak_bytes)
		course.stats.peak_bytes = bytes;
}

/* Record a step that has just been performed. */
HOT void block_trace(enum trace_step step, unsigned int rule, const void *first, uint64_t second,
		     uint64_t third)
{
	if (trace_is_on)
		trace_step(step, rule, (uintptr_t)first, second, third);
}

/* ---- block_pointer.c: validation; an invalid block is reported, and the process aborts ---- */

HOT bool block_is_in(const struct region *r, const void *p)
{
	return (uintptr_t)p - (uintptr_t)r->start < (uintptr_t)(r->end - r->start);
}

struct region *block_find_region_slow(const void *p); /* block_heap.c */

/* The region that contains p, or NULL. */
HOT struct region *block_find_region(const void *p)
{
	struct region *r = &block_regions[course.recent];

	return __builtin_expect(block_is_in(r, p), 1) ? r : block_find_region_slow(p);
}

/* The only valid value of b->next, for a block of r. */
HOT const struct block_meta *block_expected_next(const struct region *r, const struct block_meta *b)
{
	if (block_end(b) != r->end)
		return block_at(block_end(b));
	return r + 1 == block_regions + course.region_count ? NULL : block_at(r[1].start);
}

/* Whether b, a block of r, can have its size. */
bool block_has_valid_size(const struct region *r, const struct block_meta *b);

/* The slow path of block_of. */
struct block_meta *block_of_slow(const char *call, void *p, bool may_be_free);

/*
 * Validate p, which the program passed to call, and return its block: a live one, or a free one if
 * may_be_free is set. NULL if p was reported; then the lock is released. Reads only memory of the
 * heap.
 *
 * Of the links, only next is validated here. The neighbours' headers are two cache misses, so they
 * are validated when the block is coalesced, which reads them anyway.
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

/* Validate b, which is not adjacent to the next block: it must be the last of its region. */
void block_require_region_end(struct block_meta *b) __attribute__((cold));

/* block_heap.c: report that b is overwritten, and abort. */
void block_corrupted(const struct block_meta *b) __attribute__((noreturn, cold));

/* ---- block_break.c: the program break, or what replaces it ---- */

/* Where the next raise begins, if nothing else moves the break. NULL: unknown. */
char *block_break(void);

/* Raise it by size. Returns where it was, or NULL with errno ENOMEM. */
char *block_raise_break(size_t size);

/* ---- block_regions.c ---- */

/* Set the bounds of all regions, for the validation of links. */
void block_update_bounds(void);

/* Set the secret of all checksums, before the first block exists. */
HOT void block_make_secret(void)
{
	if (!links_heap.secret)
		links_heap.secret = sys_secret();
}

/* Bytes by which the heap can grow without a system call. */
HOT size_t block_reserve(void)
{
	const struct region *r = &block_regions[course.region_count - 1];

	return (size_t)(r->limit - r->end);
}

/* Take size bytes from the reserve. */
HOT void block_extend(size_t size)
{
	block_regions[course.region_count - 1].end += size;
	course.stats.region_bytes += size;
	course.stats.ahead_bytes -= size;
}

enum raise {
	RAISED, /* the reserve has grown; another thread may have changed or used anything */
	REFUSED, /* errno is ENOMEM */
	MOVED, /* other code has moved the break, and chunk is 0 */
};

/*
 * Raise the break, so that the heap can grow by size bytes. If other code has moved the break,
 * create a new region of chunk bytes instead (one pending free block), unless chunk is 0.
 *
 * The heap is unlocked during the call, because sbrk may be a hook that allocates. *tries is 0 at
 * first. A hook may use up the new memory every time, so the third try raises the break by enough
 * for both cases.
 */
enum raise block_raise(size_t size, size_t chunk, unsigned int *tries);
