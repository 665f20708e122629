/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * The inside of the block heap, shared by its files: osmem.c (the core, and os_*), regions.c (its
 * memory), heap.c (what the libc names need beyond it), fork.c, and check.c (faults and the
 * whole-heap checker). Nobody else includes this; heap.h is for the layers above.
 *
 * Invariants, checked by block_check:
 *	H1 blocks tile [start, end) of each region without a gap; sizes are multiples of the grain
 *	H2 the list visits all blocks of all regions in address order, and prev undoes next
 *	H3 a block is free or allocated; the header of an allocated or mapped one is sealed
 *	H4 the free blocks are exactly those that the index has
 *	H5 regions are in address order and do not touch, so neighbours in the list that touch are
 *	   of the same region
 *	H6 top is the last block of the region that grows, last is the last of all
 *	H7 the figures in stats agree with the list
 */

#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/single_threaded.h>

#include "block.h"
#include "block_meta.h"
#include "helpers.h"
#include "index.h"

#define META sizeof(struct block_meta)
#define COURSE_GRAIN ((size_t)8)
#define LIBC_MIN_SIZE ((size_t)32)
#define MMAP_THRESHOLD (128 * KIB)
#define FIRST_REGIONS 64

_Static_assert(META == 32, "the spec's header");
_Static_assert(LIBC_MIN_SIZE > INDEX_NARROW_MAX, "mapped regions are anywhere: no zones for them");

struct region {
	char *start; /* the first block */
	char *end; /* one past the last block */
	char *limit; /* one past what the kernel gave; H5: never touches another region */
};

struct block_heap {
	/* What every call reads or writes, close together. */
	bool is_locked; /* whether block_leave has something to unlock */
	bool uses_brk;
	bool is_threshold_fixed;
	_Atomic(unsigned char) perturb;
	size_t grain; /* chunks are multiples of it, payloads are aligned to it; a power of two */
	size_t min_size; /* the smallest payload; more than INDEX_NARROW_MAX without brk */
	struct region *regions; /* in address order */
	size_t growing; /* the region that is extended */
	size_t recent; /* the region that a pointer was found in last */
	size_t region_count, region_room;
	struct block_meta *top; /* H6 */
	struct block_meta *last; /* H6 */
	struct block_stats stats;
	struct index index;

	pthread_mutex_t lock; /* guards everything here that is not atomic */
	_Atomic(size_t) threshold; /* chunks this large are mapped */
	struct treap_node *mapped; /* the live mapped blocks, through prev and next of the header,
				    * sealed with block_secret */
	struct region first_regions[FIRST_REGIONS];
};

extern struct block_heap course_heap;
extern _Atomic(uint64_t) block_secret; /* zero until the first block is made */

/* Arithmetic. */

static inline size_t round_up(size_t n, size_t to)
{
	return (n + to - 1) & ~(to - 1);
}

static inline char *round_down_ptr(void *p, size_t to)
{
	return (char *)((uintptr_t)p & ~(uintptr_t)(to - 1));
}

static inline char *block_end(const struct block_meta *b)
{
	return (char *)(uintptr_t)(b + 1) + b->size;
}

static inline struct treap_node *mapped_node(struct block_meta *b)
{
	return (struct treap_node *)(void *)&b->prev;
}

static inline struct block_meta *mapped_block(struct treap_node *n)
{
	return (struct block_meta *)(void *)((char *)n - offsetof(struct block_meta, prev));
}

/* The link of a block in a list that only needs one: the first word of the payload. */
static inline struct block_meta **payload_link(struct block_meta *b)
{
	return (struct block_meta **)(void *)(b + 1);
}

/* Seals: a keyed check word in the padding of every live header. */

static inline _Atomic(uint32_t) *seal_word(struct block_meta *b)
{
	return (_Atomic(uint32_t) *)(void *)((char *)b + offsetof(struct block_meta, status) +
					     sizeof(int));
}

/* Status and size are below the hash's top bits, so that any change of them changes those. */
static inline uint32_t seal_of(const struct block_meta *b)
{
	uint64_t key = atomic_load_explicit(&block_secret, memory_order_relaxed) ^ (uintptr_t)b;

	return (uint32_t)(((key + (b->size << 2) + (uint64_t)b->status) * 0x9e3779b97f4a7c15u) >>
			  32);
}

static inline void seal(struct block_meta *b)
{
	atomic_store_explicit(seal_word(b), seal_of(b), memory_order_relaxed);
}

/* Zero, or what sets the seal of b apart from that of a live block. */
static inline uint32_t seal_difference(struct block_meta *b)
{
	return atomic_load_explicit(seal_word(b), memory_order_relaxed) ^ seal_of(b);
}

static inline bool is_sealed(struct block_meta *b)
{
	return !seal_difference(b);
}

static inline bool is_mapped_block(struct block_heap *h, struct block_meta *b)
{
	return treap_has(&h->mapped, mapped_node(b),
			 atomic_load_explicit(&block_secret, memory_order_relaxed));
}

/*
 * Freed while a fork was under way and not yet taken in (fork.c): the seal is its own, the status
 * still that of a live block, so that neighbours leave it alone.
 */
#define SEAL_DEFERRED 0x5a5a5a5au

/* Whether the header of b, not free, is what this library has written there. */
static inline bool has_seal(struct block_meta *b)
{
	uint32_t difference = seal_difference(b);

	return !difference || difference == SEAL_DEFERRED;
}

/* Put b, between the end of a and what follows, into the list behind a. */
static inline void block_link_behind(struct block_heap *h, struct block_meta *a,
				     struct block_meta *b)
{
	b->prev = a;
	b->next = a->next;
	a->next = b;
	if (b->next)
		b->next->prev = b;
	else
		h->last = b;
	if (h->top == a)
		h->top = b;
	h->stats.blocks++;
}

/* osmem.c. Everything below wants the heap entered, unless it says otherwise. */

/*
 * Lock h, if the process has ever had a second thread. False: a fork is under way, and the heap
 * must not be touched; there is nothing to leave. The course heap never says that.
 */
bool block_enter_slow(struct block_heap *h);
void block_leave_slow(struct block_heap *h);

static inline bool block_enter(struct block_heap *h)
{
	return __libc_single_threaded || block_enter_slow(h);
}

static inline void block_leave(struct block_heap *h)
{
	if (h->is_locked)
		block_leave_slow(h);
}

/*
 * Whether b, somewhere in r, lies in it and its neighbours point back; nothing outside r is read.
 */
bool block_is_linked(const struct block_heap *h, const struct region *r,
		     const struct block_meta *b);

/*
 * Rules 10 to 13: a block of size bytes, free and unknown to the index; *fresh: never used before.
 */
struct block_meta *block_place(struct block_heap *h, size_t size, bool *fresh);

/* As block_place for the libc heap, at the start of a free block of room bytes; NULL if none is. */
struct block_meta *block_place_roomy(struct block_heap *h, size_t size, size_t room);

/* Cut b down to size bytes; the rest becomes a free block, unknown to the index. */
struct block_meta *block_cut(struct block_heap *h, struct block_meta *b, size_t size);

/* Take b out of the index; its header is right. Links that are overwritten are reported. */
void block_unindex(struct block_heap *h, struct block_meta *b);

/* Free a live heap block, to be coalesced by the next search. */
void block_release(struct block_heap *h, struct block_meta *b);

enum growth {
	GROWN,
	REFUSED, /* no memory, errno is ENOMEM; nothing has changed */
	DETACHED, /* not here, another place may do */
};

/* Rules 17a to 17c on a live heap block. */
enum growth block_resize_in_place(struct block_heap *h, struct block_meta *b, size_t size);

/* Coalesce all that is pending: rule 10. */
void block_settle(struct block_heap *h);

/*
 * The common path of os_malloc, of os_free and of their libc sisters is one function each: inlined,
 * with the heap's address a constant, it takes half the instructions.
 */
#define BLOCK_HOT static inline __attribute__((always_inline))

BLOCK_HOT bool block_is_in(const struct region *r, const void *p)
{
	return (uintptr_t)p - (uintptr_t)r->start < (uintptr_t)(r->end - r->start);
}

struct region *block_find_region_slow(struct block_heap *h, const void *p);

/* The region that p is in, or NULL. */
BLOCK_HOT struct region *block_find_region(struct block_heap *h, const void *p)
{
	struct region *r = &h->regions[h->recent];

	return block_is_in(r, p) ? r : block_find_region_slow(h, p);
}

/* What must stand behind b, which may be the last block of r. */
static inline const struct block_meta *
block_expected_next(const struct block_heap *h, const struct region *r, const struct block_meta *b)
{
	if (block_end(b) != r->end)
		return (const struct block_meta *)(const void *)block_end(b);
	if (r + 1 == h->regions + h->region_count)
		return NULL;
	return (const struct block_meta *)(const void *)r[1].start;
}

struct block_meta *block_of_slow(struct block_heap *h, const char *call, void *p, bool may_be_free);

/*
 * The one door from a pointer to its block. The block is live, or free where may_be_free is set;
 * anything else is reported. Memory that is not the heap's is never read.
 *
 * A sealed header is a live block's. Its links may have been hit by writes in front of the payload:
 * next is looked at here; the neighbours' own headers only when the block is settled, because they
 * are two cache misses that the search will need anyway.
 */
BLOCK_HOT struct block_meta *block_of(struct block_heap *h, const char *call, void *p,
				      bool may_be_free)
{
	struct block_meta *b = (struct block_meta *)p - 1;
	const struct region *r;

	if ((uintptr_t)p & (h->grain - 1))
		return block_of_slow(h, call, p, may_be_free);
	r = block_find_region(h, b);
	if (r && (char *)p < r->end && b->status == STATUS_ALLOC && is_sealed(b) &&
	    ((char *)b->next == block_end(b) || b->next == block_expected_next(h, r, b)))
		return b;
	return block_of_slow(h, call, p, may_be_free);
}

static inline void block_note_peak(struct block_heap *h)
{
	size_t bytes = h->stats.live_bytes + h->stats.mapped_bytes;

	if (bytes > h->stats.peak_bytes)
		h->stats.peak_bytes = bytes;
}

/* Hand a block of block_place out. */
static inline void block_make_live(struct block_heap *h, struct block_meta *b)
{
	b->status = STATUS_ALLOC;
	seal(b);
	h->stats.live_blocks++;
	h->stats.live_bytes += META + b->size;
	block_note_peak(h);
}

/* Count a heap block as no longer live; the caller keeps it. */
static inline void block_note_freed(struct block_heap *h, const struct block_meta *b)
{
	h->stats.live_blocks--;
	h->stats.live_bytes -= META + b->size;
}

/* block_fork.c: handlers of pthread_atfork. */
void block_fork_prepare(void);
void block_fork_parent(void);
void block_fork_child(void);

/* block_regions.c. */

/* Draw the secret of all seals, unless that was done; the first block of all needs it. */
void block_make_secret(void);

/* Move the end of the growing region up by size bytes, to be made part of a block by the caller. */
enum growth block_extend_region(struct block_heap *h, size_t size);

/* Start a region; its first block, of size bytes, free and unknown to the index, or NULL. */
struct block_meta *block_new_region(struct block_heap *h, size_t size);

/*
 * Make the mapping of b, which starts it and is not registered, a region with one free block.
 * False: no room to note one more, or too many.
 */
bool block_adopt_region(struct block_heap *h, struct block_meta *b);

/* Take r, which is one free block unknown to the index, out of the heap. */
void block_remove_region(struct block_heap *h, struct region *r);

/* Write the header of a mapped block at at. The heap need not be entered. */
struct block_meta *block_make_mapped(char *at, size_t size);
void block_register_mapped(struct block_heap *h, struct block_meta *b);
void block_unregister_mapped(struct block_heap *h, struct block_meta *b);

/* Give the mapping of b, unregistered, back to the kernel; errno is preserved. Not entered. */
void block_unmap(struct block_meta *b);

/* check.c. Say what is wrong and abort; both leave the heap first. */
void block_bad_pointer(struct block_heap *h, const char *call, void *p)
	__attribute__((noreturn, cold));
void block_corrupted(struct block_heap *h, const struct block_meta *b)
	__attribute__((noreturn, cold));

/* What stands behind the top block is where its header says, or it is a fault. */
void block_require_top(struct block_heap *h);

/* b, about to come out of the index, touches no next: free and its region's last, or a fault. */
void block_require_last(struct block_heap *h, const struct block_meta *b) __attribute__((cold));

/* b, pending, not plainly between two others of its region: in order all the same, or a fault. */
void block_check_neighbours(struct block_heap *h, struct block_meta *b) __attribute__((cold));
