// SPDX-License-Identifier: BSD-3-Clause

/*
 * The block heap, and os_malloc, os_calloc, os_realloc and os_free on top of it.
 *
 * A heap is a set of regions, each tiled by blocks: a 32-byte header (block_meta.h), then the
 * payload. All blocks of a heap form one doubly linked list in address order. The list is the
 * truth; the index (index.h) is a cache of its free blocks.
 *
 *	region  start                                              end            limit
 *	        | header payload | header payload | ... | payload | ahead of need |
 *
 * 1. Allocation first settles: every block freed or split off since the last search is coalesced
 *    with its free neighbours and indexed. Then it takes the best fit, the lowest among equals, and
 *    splits it; or it grows the heap.
 * 2. Freeing marks the block and defers the rest to the next search.
 * 3. Chunks at or above a threshold are mappings of their own, kept in a treap by address.
 *
 * Overhead: 32 bytes a block. Smallest payload: 8 bytes in the course heap, 32 in the libc heap. No
 * call walks the list, but for block_check and the report of a fault.
 */

#include <errno.h>
#include <string.h>

#include "block_core.h"
#include "calls.h"
#include "osmem.h"
#include "trace.h"

#define EXPORT __attribute__((visibility("default")))

#define COURSE_FIRST_RAISE (128 * KIB)

/* For make bench-steps: what this file would cost without an index, or without pending blocks. */
#ifndef SEARCH_BY_WALK
#define SEARCH_BY_WALK 0
#endif
#ifndef COALESCE_BY_WALK
#define COALESCE_BY_WALK 0
#endif

struct block_heap course_heap = {.lock = PTHREAD_ADAPTIVE_MUTEX_INITIALIZER_NP,
				 .uses_brk = true,
				 .grain = COURSE_GRAIN,
				 .min_size = COURSE_GRAIN,
				 .regions = course_heap.first_regions,
				 .region_room = FIRST_REGIONS,
				 .index = {.kind = INDEX_FEW}};

_Atomic(uint64_t) block_secret;

/* Locking. Nothing is locked while the process has a single thread. */

BLOCK_HOT void lock(struct block_heap *h)
{
	pthread_mutex_lock(&h->lock);
	h->is_locked = true;
}

BLOCK_HOT void unlock(struct block_heap *h)
{
	h->is_locked = false;
	pthread_mutex_unlock(&h->lock);
}

bool block_enter_slow(struct block_heap *h)
{
	lock(h);
	return true;
}

void block_leave_slow(struct block_heap *h)
{
	unlock(h);
}

struct region *block_find_region_slow(struct block_heap *h, const void *p)
{
	size_t low = 0, high = h->region_count;

	while (low < high) {
		size_t mid = (low + high) / 2;

		if ((const char *)p >= h->regions[mid].end)
			low = mid + 1;
		else
			high = mid;
	}
	if (low == h->region_count || !block_is_in(&h->regions[low], p))
		return NULL;
	h->recent = low;
	return &h->regions[low];
}

bool block_is_linked(const struct block_heap *h, const struct region *r, const struct block_meta *b)
{
	size_t room = (size_t)(r->end - (const char *)b) - META;
	const struct block_meta *next, *prev = b->prev;

	if (room > PTRDIFF_MAX || b->size > room || b->size < h->min_size ||
	    (b->size & (h->grain - 1)) || (b->size < room && room - b->size <= META))
		return false;
	next = block_expected_next(h, r, b);
	if (b->next != next || (next && next->prev != b))
		return false;
	if ((const char *)b == r->start)
		return r == h->regions ? !prev : block_is_in(r - 1, prev) && prev->next == b;
	return (const char *)prev >= r->start && prev < b &&
	       ((uintptr_t)prev & (COURSE_GRAIN - 1)) == 0 && prev->next == b;
}

/* Anything but a live heap block: a mapped one, perhaps a free one, or a fault. */
struct block_meta *block_of_slow(struct block_heap *h, const char *call, void *p, bool may_be_free)
{
	struct block_meta *b = (struct block_meta *)p - 1;
	struct region *r = block_find_region(h, b);

	if ((uintptr_t)p & (h->grain - 1))
		block_bad_pointer(h, call, p);
	if (r && (char *)p >= r->end) /* not all of a header, then; it might be unmapped */
		block_bad_pointer(h, call, p);
	if (r && may_be_free && b->status == STATUS_FREE && block_is_linked(h, r, b))
		return b;
	if (!r && is_mapped_block(h, b) && is_sealed(b) &&
	    treap_is_sound(&mapped_node(b)->left, block_secret) &&
	    treap_is_sound(&mapped_node(b)->right, block_secret))
		return b;
	block_bad_pointer(h, call, p);
}

/* A block that is about to come out of the index is as it went in, or the process ends. */
BLOCK_HOT void require_free(struct block_heap *h, const struct block_meta *b)
{
	if (b->status != STATUS_FREE || (const char *)b->next != block_end(b))
		block_require_last(h, b);
}

/* List surgery. */

/* The block after b, if it is free and touches b. */
BLOCK_HOT struct block_meta *free_next(const struct block_meta *b)
{
	struct block_meta *next = b->next;

	return next && next->status == STATUS_FREE && (char *)next == block_end(b) ? next : NULL;
}

BLOCK_HOT struct block_meta *free_prev(const struct block_meta *b)
{
	struct block_meta *prev = b->prev;

	return prev && prev->status == STATUS_FREE && block_end(prev) == (const char *)b ? prev
											 : NULL;
}

/*
 * A step of the course heap for the trace; everything before it in the call has happened. traced is
 * a constant: what is not traced has no trace of this.
 */
BLOCK_HOT void note_step(bool traced, enum trace_step step, unsigned int rule,
			 const struct block_meta *b, uint64_t second, uint64_t third)
{
	if (traced)
		trace_step(step, rule, (uintptr_t)b, second, third);
}

/* Cut b down to size bytes; the rest becomes a free block unknown to the index. */
BLOCK_HOT struct block_meta *cut(struct block_heap *h, struct block_meta *b, size_t size)
{
	struct block_meta *rest = (struct block_meta *)(void *)((char *)(b + 1) + size);

	rest->size = b->size - size - META;
	rest->status = STATUS_FREE;
	block_link_behind(h, b, rest);
	b->size = size;
	h->stats.splits++;
	return rest;
}

/* Rule 12. The rest, unknown to the index, or NULL if b is to be given whole. */
BLOCK_HOT struct block_meta *split(struct block_heap *h, struct block_meta *b, size_t size,
				   bool traced, unsigned int rule)
{
	struct block_meta *rest;

	if (b->size - size < META + h->min_size)
		return NULL;
	rest = cut(h, b, size);
	note_step(traced, TRACE_STEP_SPLIT, rule, b, size, rest->size);
	return rest;
}

struct block_meta *block_cut(struct block_heap *h, struct block_meta *b, size_t size)
{
	return cut(h, b, size);
}

/* Append to a the block behind it, which the index does not know. */
BLOCK_HOT void absorb_next(struct block_heap *h, struct block_meta *a, bool traced,
			   unsigned int rule)
{
	struct block_meta *b = a->next;

	if (b->prev != a)
		block_corrupted(h, b);
	a->size += META + b->size;
	a->next = b->next;
	if (a->next)
		a->next->prev = a;
	else
		h->last = a;
	if (h->top == b)
		h->top = a;
	h->stats.blocks--;
	h->stats.coalesces++;
	note_step(traced, TRACE_STEP_COALESCE, rule, a, (uintptr_t)b, a->size);
}

/* The index, with the figures that delayed trimming needs. */

/* Whether b, which may be anything, is a pending block. */
static bool is_pending(struct block_heap *h, struct block_meta *b)
{
	const struct region *r = block_find_region(h, b);

	return r && (uintptr_t)b % COURSE_GRAIN == 0 &&
	       (size_t)(r->end - (char *)b) >= META + h->min_size && b->status == STATUS_FREE &&
	       index_is_pending(b);
}

/* The links of b, a pending block, lead to others that lead back, or the process ends. */
static __attribute__((noinline)) void require_pending(struct block_heap *h, struct block_meta *b)
{
	struct block_meta *next = index_pending_next(b), *prev = index_pending_prev(b);

	if (next && (!is_pending(h, next) || index_pending_prev(next) != b))
		block_corrupted(h, b);
	if (prev ? !is_pending(h, prev) || index_pending_next(prev) != b : h->index.pending != b)
		block_corrupted(h, b);
}

void block_unindex(struct block_heap *h, struct block_meta *b)
{
	if (index_is_pending(b))
		require_pending(h, b);
	if (!index_remove(&h->index, b))
		block_corrupted(h, b);
}

static void forget(struct block_heap *h, struct block_meta *b)
{
	require_free(h, b);
	block_unindex(h, b);
}

/* No branch on whether b is free: a toss-up. The seals that has_seal knows are the libc heap's. */
BLOCK_HOT bool is_free_or_sealed(struct block_meta *b, bool is_tracked)
{
	if (is_tracked)
		return (b->status == STATUS_FREE) | has_seal(b);
	return !(seal_difference(b) & index_mask(b->status != STATUS_FREE));
}

/*
 * The search is about to read the headers on both sides of b: look whether anything ran over an
 * edge. True: it is plainly in order between two blocks of one region.
 */
BLOCK_HOT bool check_neighbours(struct block_heap *h, struct block_meta *b, bool is_tracked)
{
	const struct block_meta *prev = b->prev;
	struct block_meta *next = b->next;

	if (b->status == STATUS_FREE && (char *)next == block_end(b) && next->prev == b &&
	    is_free_or_sealed(next, is_tracked) && block_is_in(&h->regions[h->recent], prev) &&
	    block_end(prev) == (char *)b && prev->next == b)
		return true;
	block_check_neighbours(h, b);
	return false;
}

/* Rule 10: coalesce whatever was freed or split off since the last search, and index it. */
BLOCK_HOT void settle(struct block_heap *h, bool is_tracked, bool traced)
{
	struct block_meta *b, *next, *prev;

	while ((b = h->index.pending)) {
		check_neighbours(h, b, is_tracked);
		if (index_pending_next(b))
			require_pending(h, b);
		index_next_pending(&h->index);
		while ((next = free_next(b))) {
			forget(h, next);
			absorb_next(h, b, traced, 10);
		}
		while ((prev = free_prev(b))) {
			forget(h, prev);
			absorb_next(h, prev, traced, 10);
			b = prev;
			check_neighbours(h, b, is_tracked);
		}
		index_insert(&h->index, b);
	}
}

void block_settle(struct block_heap *h)
{
	settle(h, false, false);
}

/*
 * Few free blocks: rules 10 to 12 once more, without a branch on anything that is a toss-up, which
 * is what neighbours are free, what block is best, and whether it is split. Masks choose instead.
 */

/* Keys, or 0: what the neighbours of a block had, if they were free, and what it has got. */
struct merger {
	uint64_t next, prev, merged;
};

/*
 * Coalesce and index b, the only pending block, plainly in order between two others of its region.
 * It gets the place of a neighbour in the array, or a new one. False: something is out of the
 * ordinary, and nothing is done.
 */
BLOCK_HOT bool merge_few(struct block_heap *h, struct block_meta *b, struct merger *m)
{
	struct index *ix = &h->index;
	struct block_meta *next = b->next, *prev = b->prev, *after;
	uint64_t has_next = index_mask(next->status == STATUS_FREE);
	uint64_t has_prev =
		index_mask((prev->status == STATUS_FREE) & (block_end(prev) == (char *)b));
	uint64_t only_prev = has_prev & ~has_next, at, old;

	after = index_choose(has_next, next->next, next);
	if (!after || (char *)after != block_end(index_choose(has_next, next, b)) ||
	    ix->count == INDEX_FEW_MAX || (uintptr_t)after - ix->base > INDEX_KEY_SPAN)
		return false;
	m->next = index_key(ix, next, next->size) & has_next;
	m->prev = index_key(ix, prev, prev->size) & has_prev;
	if (has_next & has_prev && !index_remove_few(ix, prev)) /* one time in twenty */
		block_corrupted(h, prev);
	at = (*index_pad(next) & has_next) | (*index_pad(prev) & only_prev) |
	     (ix->count & ~(has_next | has_prev));
	old = m->next | (m->prev & only_prev);
	if (at > ix->count || ix->key[at] != old)
		block_corrupted(h, has_next ? next : prev);
	ix->count += !old;
	b = index_choose(has_prev, prev, b);
	b->size = (size_t)((char *)after - (char *)(b + 1));
	b->next = after;
	after->prev = b;
	m->merged = index_key(ix, b, b->size);
	ix->key[at] = m->merged;
	*index_pad(b) = (uint32_t)at;
	h->stats.blocks += has_next + has_prev; /* minus 1, each */
	h->stats.coalesces -= has_next + has_prev;
	return true;
}

/* Split b, or not, in the list. The rest, or b. */
BLOCK_HOT struct block_meta *split_few(struct block_heap *h, struct block_meta *b, size_t size,
				       uint64_t is_split)
{
	struct block_meta *next = b->next, *rest, **back = next ? &next->prev : &h->last;
	size_t whole = b->size, left = whole - size;

	/* If the rest is b, what is written to it is what it has, or is written again below. */
	rest = index_choose(is_split, (struct block_meta *)(void *)((char *)(b + 1) + size), b);
	rest->prev = index_choose(is_split, b, b->prev);
	rest->next = next;
	rest->size = left - META;
	rest->status = STATUS_FREE;
	*back = rest;
	if (h->top == b)
		h->top = rest;
	b->next = index_choose(is_split, rest, next);
	b->size = whole - (left & is_split);
	h->stats.blocks -= is_split;
	h->stats.splits -= is_split;
	return rest;
}

/*
 * Take the block of key out of the index and split it; its place is for the rest or for the last.
 */
BLOCK_HOT struct block_meta *take_few(struct block_heap *h, uint64_t key, size_t size)
{
	struct index *ix = &h->index;
	struct block_meta *b = index_key_block(ix, key);
	uint64_t is_split = index_mask(index_key_size(key) - size >= META + COURSE_GRAIN);
	uint64_t rest = key - (uint64_t)(META + size) * (INDEX_KEY_SPAN - 1), moved;
	uint32_t at = *index_pad(b);

	require_free(h, b);
	if (at >= ix->count || ix->key[at] != key)
		block_corrupted(h, b);
	split_few(h, b, size, is_split);
	ix->count += (uint32_t)~is_split; /* minus 1, or 0 */
	moved = (rest & is_split) | ix->key[ix->count];
	ix->key[at] = moved; /* if b itself is the last, this is undone at once */
	ix->key[ix->count] = 0;
	*index_pad(index_key_block(ix, moved)) = at;
	return b;
}

/* Rules 10 to 12. NULL if nothing fits, or if the blocks are no longer few. */
BLOCK_HOT struct block_meta *place_few(struct block_heap *h, size_t size)
{
	struct index *ix = &h->index;
	struct block_meta *b = ix->pending;
	uint64_t want = (uint64_t)size << INDEX_KEY_SHIFT, over = index_least_over(ix, want);
	struct merger m;

	if (b && !index_pending_next(b) && check_neighbours(h, b, false) && merge_few(h, b, &m)) {
		ix->pending = NULL;
		/* The search went first, so that it need not wait for the merger. */
		if (over + want == m.next || over + want == m.prev)
			over = index_least_over(ix, want);
		over = index_lesser(over, m.merged - want);
	} else if (b) {
		settle(h, false, false);
		if (ix->kind != INDEX_FEW)
			return NULL;
		over = index_least_over(ix, want);
	}
	return over + want < want ? NULL : take_few(h, over + want, size);
}

/* The free blocks are few again, perhaps. */
static __attribute__((noinline, cold)) bool become_few(struct block_heap *h)
{
	struct index *ix = &h->index;
	struct block_meta *b[INDEX_FEW_AGAIN];
	size_t n = 0;

	if ((uintptr_t)block_end(h->last) - ix->base >= INDEX_KEY_SPAN)
		return false;
	block_settle(h);
	while (n < INDEX_FEW_AGAIN && (b[n] = index_take(ix, COURSE_GRAIN)))
		require_free(h, b[n++]);
	ix->kind = INDEX_FEW;
	while (n)
		index_insert(ix, b[--n]);
	return true;
}

BLOCK_HOT bool is_few(struct block_heap *h)
{
	return h->index.kind == INDEX_FEW ||
	       (h->stats.blocks - h->stats.live_blocks <= INDEX_FEW_AGAIN && become_few(h));
}

/* Growth. */

/* For the trace: b, unless it is NULL, is the first block of a new region. */
BLOCK_HOT struct block_meta *note_region(struct block_heap *h, struct block_meta *b, bool traced)
{
	if (traced && b) {
		trace_step(TRACE_STEP_REGION, 0, (uintptr_t)b,
			   (uintptr_t)h->regions[h->growing].limit, 0);
		trace_step(TRACE_STEP_APPEND, 0, (uintptr_t)b, b->size, 0);
	}
	return b;
}

/*
 * Rule 13: nothing fits. Extend the top block if it is free, else append one; the index has none.
 */
BLOCK_HOT struct block_meta *grow_noted(struct block_heap *h, size_t size, bool traced)
{
	struct block_meta *top = h->top, *b;
	bool is_free = top && top->status == STATUS_FREE;
	enum growth growth;

	if (!top)
		return block_new_region(h, size);
	if (is_free)
		require_free(h, top);
	else
		block_require_top(h);
	growth = block_extend_region(h, is_free ? size - top->size : META + size);
	if (growth == REFUSED)
		return NULL;
	if (growth == DETACHED)
		return note_region(h, block_new_region(h, size), traced);
	if (is_free) {
		block_unindex(h, top);
		note_step(traced, TRACE_STEP_EXPAND, 13, top, top->size, size);
		top->size = size;
		return top;
	}
	b = (struct block_meta *)(void *)(h->regions[h->growing].end - META - size);
	b->size = size;
	block_link_behind(h, top, b);
	note_step(traced, TRACE_STEP_APPEND, 13, b, size, 0);
	return b;
}

static __attribute__((noinline)) struct block_meta *grow(struct block_heap *h, size_t size)
{
	return grow_noted(h, size, false);
}

/* Placement. */

/* Change of a live block's size in place, from old bytes to what it is now. */
static void note_resized(struct block_heap *h, struct block_meta *b, size_t old)
{
	seal(b);
	h->stats.live_bytes += b->size - old;
	block_note_peak(h);
}

/* Rule 9. */
static __attribute__((noinline, cold)) bool start_course_heap(struct block_heap *h)
{
	struct block_meta *b = block_new_region(h, COURSE_FIRST_RAISE - META);

	note_region(h, b, trace_is_on);
	if (b)
		index_insert(&h->index, b);
	return b;
}

/* Rule 12 for b, which the search found. */
BLOCK_HOT void split_found(struct block_heap *h, struct block_meta *b, size_t size, bool traced)
{
	struct block_meta *rest;

	require_free(h, b);
	rest = split(h, b, size, traced, 12);
	if (rest) /* everything was settled, so it has no free neighbour */
		index_insert(&h->index, rest);
}

/* Rules 10 and 11 as they read, each a walk of the list. */

/* There are no free neighbours but those that settle knows of: it only costs to look. */
static void look_for_neighbours(struct block_heap *h)
{
	for (struct block_meta *b = h->last; b; b = b->prev)
		if (b->status == STATUS_FREE && free_prev(b))
			require_free(h, b);
}

static struct block_meta *find_by_walk(struct block_heap *h, size_t size)
{
	struct block_meta *best = NULL;

	for (struct block_meta *b = h->last; b; b = b->prev)
		if (b->status == STATUS_FREE && b->size >= size && (!best || b->size <= best->size))
			best = b;
	if (best)
		forget(h, best);
	return best;
}

/* Rules 10 to 13. */
BLOCK_HOT struct block_meta *place(struct block_heap *h, size_t size, bool *fresh, bool is_tracked)
{
	struct block_meta *b;

	*fresh = false;
	h->stats.searches++;
	if (COALESCE_BY_WALK)
		look_for_neighbours(h);
	if (!SEARCH_BY_WALK && !is_tracked && is_few(h)) {
		b = place_few(h, size);
		if (b)
			return b;
	}
	settle(h, is_tracked, false);
	b = SEARCH_BY_WALK ? find_by_walk(h, size) : index_take(&h->index, size);
	if (!b) {
		*fresh = !h->top || h->top->status != STATUS_FREE;
		return grow(h, size);
	}
	split_found(h, b, size, false);
	return b;
}

/* The same, step by step for the trace. */
static __attribute__((noinline, cold)) struct block_meta *place_traced(struct block_heap *h,
								       size_t size)
{
	struct block_meta *b;

	h->stats.searches++;
	settle(h, false, true);
	b = index_take(&h->index, size);
	trace_step(TRACE_STEP_SEARCH, 11, size, (uintptr_t)b, b ? b->size : 0);
	if (!b)
		return grow_noted(h, size, true);
	split_found(h, b, size, true);
	return b;
}

struct block_meta *block_place(struct block_heap *h, size_t size, bool *fresh)
{
	return place(h, size, fresh, false);
}

BLOCK_HOT void release(struct block_heap *h, struct block_meta *b)
{
	block_note_freed(h, b);
	b->status = STATUS_FREE;
	index_defer(&h->index, b);
}

void block_release(struct block_heap *h, struct block_meta *b)
{
	release(h, b);
}

/* Rule 17a to 17c. */
BLOCK_HOT enum growth resize_in_place(struct block_heap *h, struct block_meta *b, size_t size,
				      bool traced)
{
	size_t old = b->size;
	struct block_meta *next, *rest;
	enum growth growth;

	if (size > old && b == h->top) {
		growth = block_extend_region(h, size - old);
		if (growth == GROWN) {
			b->size = size;
			note_step(traced, TRACE_STEP_EXPAND, 17, b, old, size);
			note_resized(h, b, old);
		}
		if (growth != DETACHED)
			return growth;
	}
	while (b->size < size && (next = free_next(b))) {
		forget(h, next);
		absorb_next(h, b, traced, 17);
	}
	if (b->size >= size) {
		rest = split(h, b, size, traced, 17);
		if (rest)
			index_defer(&h->index, rest);
	}
	note_resized(h, b, old);
	return b->size >= size ? GROWN : DETACHED;
}

enum growth block_resize_in_place(struct block_heap *h, struct block_meta *b, size_t size)
{
	return resize_in_place(h, b, size, false);
}

/*
 * os_malloc and its sisters.
 *
 * Each has three ways. While one thread, whose calls nobody notes, has the heap to itself, it is
 * open: nothing is locked, and nothing is asked but that. Otherwise a call takes the guarded way,
 * which is locked, or traced too, where calls are noted. The ways are one text, with the way a
 * constant.
 */

enum way {
	OPEN,
	LOCKED,
	TRACED,
};

static const char course_closed;

/* Points to true while the course heap is open. */
static const char *course_gate = &__libc_single_threaded;

BLOCK_HOT bool is_open(void)
{
	return *course_gate;
}

void block_set_noted(bool is_noted)
{
	course_gate = is_noted ? &course_closed : &__libc_single_threaded;
}

BLOCK_HOT void enter(struct block_heap *h, enum way way)
{
	if (way == LOCKED) { /* there is a second thread, and this heap is never frozen */
		lock(h);
	} else if (way == TRACED) {
		block_enter(h);
	}
}

BLOCK_HOT void leave(struct block_heap *h, enum way way)
{
	if (way == LOCKED)
		unlock(h);
	else if (way == TRACED)
		block_leave(h);
}

/* Rule 7. */
BLOCK_HOT void *course_map(struct block_heap *h, size_t size, enum way way)
{
	struct block_meta *b;
	char *p = NULL;

	if (size <= PTRDIFF_MAX)
		p = sys_map(META + size);
	if (!p) {
		errno = ENOMEM;
		return NULL;
	}
	enter(h, way);
	b = block_make_mapped(p, size);
	h->stats.map_calls++;
	h->stats.allocs++;
	block_register_mapped(h, b);
	note_step(way == TRACED, TRACE_STEP_MAPPED, 7, b, size, 0);
	leave(h, way);
	return b + 1;
}

static __attribute__((noinline)) void *course_map_open(struct block_heap *h, size_t size)
{
	return course_map(h, size, OPEN);
}

/* Rule 6: on the heap below the threshold, mapped from it on. */
BLOCK_HOT void *course_alloc(size_t size, size_t threshold, enum way way)
{
	struct block_heap *h = &course_heap;
	size_t capacity = size < PTRDIFF_MAX ? round_up(size, COURSE_GRAIN) : size;
	struct block_meta *b = NULL;
	bool fresh;

	if (capacity >= threshold - META)
		return way == OPEN ? course_map_open(h, capacity) : course_map(h, capacity, way);
	enter(h, way);
	if (h->top || start_course_heap(h))
		b = way == TRACED ? place_traced(h, capacity) : place(h, capacity, &fresh, false);
	if (b) {
		h->stats.allocs++;
		block_make_live(h, b);
		note_step(way == TRACED, TRACE_STEP_USE, 0, b, b->size, 0);
	}
	leave(h, way);
	return b ? b + 1 : NULL;
}

/* Rule 7, with the heap entered. */
static __attribute__((noinline)) void course_unmap(struct block_heap *h, struct block_meta *b)
{
	block_unregister_mapped(h, b);
	h->stats.unmap_calls++;
	note_step(trace_is_on, TRACE_STEP_UNMAPPED, 7, b, b->size, 0);
	block_leave(h);
	block_unmap(b);
}

BLOCK_HOT void course_free(const char *call, void *p, enum way way)
{
	struct block_heap *h = &course_heap;
	struct block_meta *b;

	enter(h, way);
	b = block_of(h, call, p, false);
	h->stats.frees++;
	if (b->status == STATUS_MAPPED) {
		course_unmap(h, b);
		return;
	}
	release(h, b);
	note_step(way == TRACED, TRACE_STEP_FREE, 14, b, b->size, 0);
	leave(h, way);
}

/* For callers that are not worth another copy of the common path. */

static __attribute__((noinline)) void *malloc_open(size_t size)
{
	return course_alloc(size, MMAP_THRESHOLD, OPEN);
}

static __attribute__((noinline)) void *malloc_locked(size_t size)
{
	return course_alloc(size, MMAP_THRESHOLD, LOCKED);
}

static __attribute__((noinline, cold)) void *alloc_traced(size_t size, size_t threshold)
{
	return course_alloc(size, threshold, TRACED);
}

BLOCK_HOT void *course_malloc(size_t size, enum way way)
{
	if (way == OPEN)
		return malloc_open(size);
	return way == LOCKED ? malloc_locked(size) : alloc_traced(size, MMAP_THRESHOLD);
}

/* Rule 8. */
BLOCK_HOT void *course_calloc(size_t nmemb, size_t size, enum way way)
{
	size_t total;
	void *p;

	if (__builtin_mul_overflow(nmemb, size, &total)) {
		errno = ENOMEM;
		return NULL;
	}
	if (!total)
		return NULL;
	if (way == TRACED)
		p = alloc_traced(total, sys_page_size());
	else
		p = course_alloc(total, sys_page_size(), way);
	if (p && ((struct block_meta *)p - 1)->status == STATUS_ALLOC) {
		memset(p, 0, total);
		if (way == TRACED)
			trace_step(TRACE_STEP_COPY, 8, 0, (uintptr_t)p, total);
	}
	return p;
}

/* Rule 18: place anew while the old block is still there. */
BLOCK_HOT void *course_move(void *p, size_t old, size_t size, enum way way)
{
	void *q = course_malloc(size, way);

	if (!q)
		return NULL;
	memcpy(q, p, old < size ? old : size);
	if (way == TRACED)
		trace_step(TRACE_STEP_COPY, 18, (uintptr_t)p, (uintptr_t)q,
			   old < size ? old : size);
	course_free("os_realloc", p, way);
	return q;
}

/* Rules 15 to 18. */
BLOCK_HOT void *course_realloc(void *p, size_t size, enum way way)
{
	struct block_heap *h = &course_heap;
	enum growth growth = DETACHED;
	struct block_meta *b;
	size_t old;

	if (!p)
		return size ? course_malloc(size, way) : NULL;
	enter(h, way);
	b = block_of(h, "os_realloc", p, true);
	old = b->size;
	h->stats.reallocs++;
	if (b->status == STATUS_FREE) { /* rule 16 */
		leave(h, way);
		return NULL;
	}
	if (size && b->status == STATUS_ALLOC &&
	    size < MMAP_THRESHOLD - META - (COURSE_GRAIN - 1)) { /* rule 17 */
		if (way == TRACED)
			growth = resize_in_place(h, b, round_up(size, COURSE_GRAIN), true);
		else
			growth = block_resize_in_place(h, b, round_up(size, COURSE_GRAIN));
	}
	leave(h, way);
	if (!size) {
		course_free("os_realloc", p, way);
		return NULL;
	}
	if (growth == DETACHED)
		return course_move(p, old, size, way);
	return growth == GROWN ? p : NULL;
}

/* The guarded ways. */

static __attribute__((noinline, cold)) void *malloc_noted(size_t size)
{
	void *p;

	calls_enter(TRACE_OS_MALLOC, 0, size);
	p = size ? alloc_traced(size, MMAP_THRESHOLD) : NULL;
	calls_note(TRACE_OS_MALLOC, 0, size, (uintptr_t)p, size && !p);
	return p;
}

static __attribute__((noinline)) void *malloc_guarded(size_t size)
{
	if (calls_are_noted)
		return malloc_noted(size);
	return size ? malloc_locked(size) : NULL;
}

static __attribute__((noinline, cold)) void *calloc_noted(size_t nmemb, size_t size)
{
	void *p;

	calls_enter(TRACE_OS_CALLOC, nmemb, size);
	p = course_calloc(nmemb, size, TRACED);
	calls_note(TRACE_OS_CALLOC, nmemb, size, (uintptr_t)p, nmemb && size && !p);
	return p;
}

static __attribute__((noinline)) void *calloc_guarded(size_t nmemb, size_t size)
{
	if (calls_are_noted)
		return calloc_noted(nmemb, size);
	return course_calloc(nmemb, size, LOCKED);
}

static __attribute__((noinline, cold)) void *realloc_noted(void *p, size_t size)
{
	void *q;

	calls_enter(TRACE_OS_REALLOC, (uintptr_t)p, size);
	q = course_realloc(p, size, TRACED);
	calls_note(TRACE_OS_REALLOC, (uintptr_t)p, size, (uintptr_t)q, size && !q);
	return q;
}

static __attribute__((noinline)) void *realloc_guarded(void *p, size_t size)
{
	if (calls_are_noted)
		return realloc_noted(p, size);
	return course_realloc(p, size, LOCKED);
}

static __attribute__((noinline, cold)) void free_noted(void *p)
{
	calls_enter(TRACE_OS_FREE, (uintptr_t)p, 0);
	if (p)
		course_free("os_free", p, TRACED);
	calls_note(TRACE_OS_FREE, (uintptr_t)p, 0, 0, false);
}

static __attribute__((noinline)) void free_guarded(void *p)
{
	if (calls_are_noted)
		free_noted(p);
	else if (p)
		course_free("os_free", p, LOCKED);
}

EXPORT void *os_malloc(size_t size)
{
	if (!is_open())
		return malloc_guarded(size);
	return size ? course_alloc(size, MMAP_THRESHOLD, OPEN) : NULL;
}

EXPORT void os_free(void *p)
{
	if (!is_open())
		free_guarded(p);
	else if (p)
		course_free("os_free", p, OPEN);
}

EXPORT void *os_calloc(size_t nmemb, size_t size)
{
	if (!is_open())
		return calloc_guarded(nmemb, size);
	return course_calloc(nmemb, size, OPEN);
}

EXPORT void *os_realloc(void *p, size_t size)
{
	if (!is_open())
		return realloc_guarded(p, size);
	return course_realloc(p, size, OPEN);
}

/*
 * Here, so that a program that links the archive and calls nothing but os_* has it too. As early as
 * can be: handlers that were registered before these run after ours when a fork is prepared, and
 * may allocate.
 */
__attribute__((constructor(101))) static void guard_forks(void)
{
	pthread_atfork(block_fork_prepare, block_fork_parent, block_fork_child);
}
