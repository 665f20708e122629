// SPDX-License-Identifier: BSD-3-Clause

/*
 * The libc heap: a set of regions, each tiled by blocks, and mappings; for what of malloc is above
 * 32 KiB. It is what osmem.c was made from, and shares nothing with it.
 */

#include <errno.h>
#include <string.h>

#include "heap_core.h"
#include "trace.h"

/* For make bench-steps: what this file would cost without an index, or without pending blocks. */
#ifndef SEARCH_BY_WALK
#define SEARCH_BY_WALK 0
#endif
#ifndef COALESCE_BY_WALK
#define COALESCE_BY_WALK 0
#endif

struct heap heaps[HEAP_COUNT] = {
	[HEAP_COURSE] = {.regions = heaps[HEAP_COURSE].first_regions}, /* nothing is in it */
	[HEAP_LIBC] = {.lock = PTHREAD_ADAPTIVE_MUTEX_INITIALIZER_NP,
		       .grain = HEAP_ALIGN,
		       .min_size = LIBC_MIN_SIZE,
		       .regions = heaps[HEAP_LIBC].first_regions,
		       .region_room = FIRST_REGIONS,
		       .threshold = MMAP_THRESHOLD,
		       .trim_threshold = MMAP_THRESHOLD,
		       .index = {.kind = INDEX_TREES}},
};

_Atomic(uint64_t) heap_secret;

/* Locking. Nothing is locked while the process has a single thread. */

HEAP_HOT void unlock(struct heap *h)
{
	h->is_locked = false;
	pthread_mutex_unlock(&h->lock);
}

bool heap_enter_slow(struct heap *h)
{
	if (atomic_load(&h->frozen))
		return false;
	pthread_mutex_lock(&h->lock);
	if (atomic_load(&h->frozen)) {
		pthread_mutex_unlock(&h->lock);
		return false;
	}
	h->is_locked = true;
	return true;
}

void heap_leave_slow(struct heap *h)
{
	unlock(h);
}

struct region *heap_find_region_slow(struct heap *h, const void *p)
{
	size_t low = 0, high = h->region_count;

	while (low < high) {
		size_t mid = (low + high) / 2;

		if ((const char *)p >= h->regions[mid].end)
			low = mid + 1;
		else
			high = mid;
	}
	if (low == h->region_count || !heap_is_in(&h->regions[low], p))
		return NULL;
	h->recent = low;
	return &h->regions[low];
}

bool heap_is_linked(const struct heap *h, const struct region *r, const struct block_meta *b)
{
	size_t room = (size_t)(r->end - (const char *)b) - META;
	const struct block_meta *next, *prev = b->prev;

	if (room > PTRDIFF_MAX || b->size > room || b->size < h->min_size ||
	    (b->size & (h->grain - 1)) || (b->size < room && room - b->size <= META))
		return false;
	next = heap_expected_next(h, r, b);
	if (b->next != next || (next && next->prev != b))
		return false;
	if ((const char *)b == r->start)
		return r == h->regions ? !prev : heap_is_in(r - 1, prev) && prev->next == b;
	return (const char *)prev >= r->start && prev < b &&
	       ((uintptr_t)prev & (COURSE_GRAIN - 1)) == 0 && prev->next == b;
}

/* Anything but a live heap block: a mapped one, perhaps a free one, or a fault. */
struct block_meta *heap_block_of_slow(struct heap *h, const char *call, void *p, bool may_be_free)
{
	struct block_meta *b = (struct block_meta *)p - 1;
	struct region *r = heap_find_region(h, b);

	if ((uintptr_t)p & (h->grain - 1))
		heap_bad_pointer(h, call, p);
	if (r && (char *)p >= r->end) /* not all of a header, then; it might be unmapped */
		heap_bad_pointer(h, call, p);
	if (r && may_be_free && b->status == STATUS_FREE && heap_is_linked(h, r, b))
		return b;
	if (!r && is_mapped_block(h, b) && is_sealed(b) &&
	    treap_is_sound(&mapped_node(b)->left, heap_secret) &&
	    treap_is_sound(&mapped_node(b)->right, heap_secret))
		return b;
	heap_bad_pointer(h, call, p);
}

/* A block that is about to come out of the index is as it went in, or the process ends. */
HEAP_HOT void require_free(struct heap *h, const struct block_meta *b)
{
	if (b->status != STATUS_FREE || (const char *)b->next != block_end(b))
		heap_require_last(h, b);
}

/* List surgery. */

/* The block after b, if it is free and touches b. */
HEAP_HOT struct block_meta *free_next(const struct block_meta *b)
{
	struct block_meta *next = b->next;

	return next && next->status == STATUS_FREE && (char *)next == block_end(b) ? next : NULL;
}

HEAP_HOT struct block_meta *free_prev(const struct block_meta *b)
{
	struct block_meta *prev = b->prev;

	return prev && prev->status == STATUS_FREE && block_end(prev) == (const char *)b ? prev
											 : NULL;
}

/*
 * A step of the course heap for the trace; everything before it in the call has happened. traced is
 * a constant: what is not traced has no trace of this.
 */
HEAP_HOT void note_step(bool traced, enum trace_step step, unsigned int rule,
			const struct block_meta *b, uint64_t second, uint64_t third)
{
	if (traced)
		trace_step(step, rule, (uintptr_t)b, second, third);
}

/* Cut b down to size bytes; the rest becomes a free block unknown to the index. */
HEAP_HOT struct block_meta *cut(struct heap *h, struct block_meta *b, size_t size)
{
	struct block_meta *rest = (struct block_meta *)(void *)((char *)(b + 1) + size);

	rest->size = b->size - size - META;
	rest->status = STATUS_FREE;
	heap_link_behind(h, b, rest);
	b->size = size;
	h->stats.splits++;
	return rest;
}

/* Rule 12. The rest, unknown to the index, or NULL if b is to be given whole. */
HEAP_HOT struct block_meta *split(struct heap *h, struct block_meta *b, size_t size, bool traced,
				  unsigned int rule)
{
	struct block_meta *rest;

	if (b->size - size < META + h->min_size)
		return NULL;
	rest = cut(h, b, size);
	note_step(traced, TRACE_STEP_SPLIT, rule, b, size, rest->size);
	return rest;
}

struct block_meta *heap_cut(struct heap *h, struct block_meta *b, size_t size)
{
	return cut(h, b, size);
}

/* Append to a the block behind it, which the index does not know. */
HEAP_HOT void absorb_next(struct heap *h, struct block_meta *a, bool traced, unsigned int rule)
{
	struct block_meta *b = a->next;

	if (b->prev != a)
		heap_corrupted(h, b);
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
static bool is_pending(struct heap *h, struct block_meta *b)
{
	const struct region *r = heap_find_region(h, b);

	return r && (uintptr_t)b % COURSE_GRAIN == 0 &&
	       (size_t)(r->end - (char *)b) >= META + h->min_size && b->status == STATUS_FREE &&
	       index_is_pending(b);
}

/* The links of b, a pending block, lead to others that lead back, or the process ends. */
static __attribute__((noinline)) void require_pending(struct heap *h, struct block_meta *b)
{
	struct block_meta *next = index_pending_next(b), *prev = index_pending_prev(b);

	if (next && (!is_pending(h, next) || index_pending_prev(next) != b))
		heap_corrupted(h, b);
	if (prev ? !is_pending(h, prev) || index_pending_next(prev) != b : h->index.pending != b)
		heap_corrupted(h, b);
}

void heap_unindex(struct heap *h, struct block_meta *b)
{
	if (index_is_pending(b))
		require_pending(h, b);
	if (!index_remove(&h->index, b))
		heap_corrupted(h, b);
}

static void forget(struct heap *h, struct block_meta *b)
{
	require_free(h, b);
	heap_unindex(h, b);
}

/*
 * What trimming wants to know of a free block: since when it has been there, and how much of it the
 * kernel has not got back. Splits and merges hand it on, with the age of the largest part: a block
 * that is nibbled at all the time would never grow old otherwise.
 */
struct age {
	size_t largest;
	size_t dirty;
	uint32_t epoch;
};

HEAP_HOT struct age new_age(const struct heap *h, const struct block_meta *b)
{
	return (struct age){.largest = b->size, .dirty = b->size, .epoch = h->epoch};
}

/* Add the age of b, which is about to be absorbed. */
HEAP_HOT void add_age(struct age *age, struct block_meta *b)
{
	if (index_is_pending(b) || b->size <= INDEX_EXACT_MAX) {
		age->dirty += b->size;
		return;
	}
	age->dirty += to_spare(b)->dirty;
	if (b->size > age->largest) {
		age->largest = b->size;
		age->epoch = to_spare(b)->epoch;
	}
}

/* Index b; with is_tracked, a constant, its age too. */
HEAP_HOT void insert_free(struct heap *h, struct block_meta *b, const struct age *age,
			  bool is_tracked)
{
	index_insert(&h->index, b);
	if (!is_tracked || b->size <= INDEX_EXACT_MAX)
		return;
	to_spare(b)->epoch = age->epoch;
	to_spare(b)->dirty = age->dirty < b->size ? age->dirty : b->size;
}

/* No branch on whether b is free: a toss-up. The seals that has_seal knows are the libc heap's. */
HEAP_HOT bool is_free_or_sealed(struct block_meta *b, bool is_tracked)
{
	if (is_tracked)
		return (b->status == STATUS_FREE) | has_seal(b);
	return !(seal_difference(b) & index_mask(b->status != STATUS_FREE));
}

/*
 * The search is about to read the headers on both sides of b: look whether anything ran over an
 * edge. True: it is plainly in order between two blocks of one region.
 */
HEAP_HOT bool check_neighbours(struct heap *h, struct block_meta *b, bool is_tracked)
{
	const struct block_meta *prev = b->prev;
	struct block_meta *next = b->next;

	if (b->status == STATUS_FREE && (char *)next == block_end(b) && next->prev == b &&
	    is_free_or_sealed(next, is_tracked) && heap_is_in(&h->regions[h->recent], prev) &&
	    block_end(prev) == (char *)b && prev->next == b)
		return true;
	heap_check_neighbours(h, b);
	return false;
}

/* Rule 10: coalesce whatever was freed or split off since the last search, and index it. */
HEAP_HOT void settle(struct heap *h, bool is_tracked, bool traced)
{
	struct block_meta *b, *next, *prev;
	struct age age;

	while ((b = h->index.pending)) {
		check_neighbours(h, b, is_tracked);
		if (index_pending_next(b))
			require_pending(h, b);
		index_next_pending(&h->index);
		if (is_tracked)
			age = new_age(h, b);
		while ((next = free_next(b))) {
			if (is_tracked)
				add_age(&age, next);
			forget(h, next);
			absorb_next(h, b, traced, 10);
		}
		while ((prev = free_prev(b))) {
			if (is_tracked)
				add_age(&age, prev);
			forget(h, prev);
			absorb_next(h, prev, traced, 10);
			b = prev;
			check_neighbours(h, b, is_tracked);
		}
		insert_free(h, b, &age, is_tracked);
	}
}

void heap_settle(struct heap *h)
{
	settle(h, !h->uses_brk, false);
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
HEAP_HOT bool merge_few(struct heap *h, struct block_meta *b, struct merger *m)
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
		heap_corrupted(h, prev);
	at = (*index_pad(next) & has_next) | (*index_pad(prev) & only_prev) |
	     (ix->count & ~(has_next | has_prev));
	old = m->next | (m->prev & only_prev);
	if (at > ix->count || ix->key[at] != old)
		heap_corrupted(h, has_next ? next : prev);
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
HEAP_HOT struct block_meta *split_few(struct heap *h, struct block_meta *b, size_t size,
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
HEAP_HOT struct block_meta *take_few(struct heap *h, uint64_t key, size_t size)
{
	struct index *ix = &h->index;
	struct block_meta *b = index_key_block(ix, key);
	uint64_t is_split = index_mask(index_key_size(key) - size >= META + COURSE_GRAIN);
	uint64_t rest = key - (uint64_t)(META + size) * (INDEX_KEY_SPAN - 1), moved;
	uint32_t at = *index_pad(b);

	require_free(h, b);
	if (at >= ix->count || ix->key[at] != key)
		heap_corrupted(h, b);
	split_few(h, b, size, is_split);
	ix->count += (uint32_t)~is_split; /* minus 1, or 0 */
	moved = (rest & is_split) | ix->key[ix->count];
	ix->key[at] = moved; /* if b itself is the last, this is undone at once */
	ix->key[ix->count] = 0;
	*index_pad(index_key_block(ix, moved)) = at;
	return b;
}

/* Rules 10 to 12. NULL if nothing fits, or if the blocks are no longer few. */
HEAP_HOT struct block_meta *place_few(struct heap *h, size_t size)
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
static __attribute__((noinline, cold)) bool become_few(struct heap *h)
{
	struct index *ix = &h->index;
	struct block_meta *b[INDEX_FEW_AGAIN];
	size_t n = 0;

	if ((uintptr_t)block_end(h->last) - ix->base >= INDEX_KEY_SPAN)
		return false;
	heap_settle(h);
	while (n < INDEX_FEW_AGAIN && (b[n] = index_take(ix, COURSE_GRAIN)))
		require_free(h, b[n++]);
	ix->kind = INDEX_FEW;
	while (n)
		index_insert(ix, b[--n]);
	return true;
}

HEAP_HOT bool is_few(struct heap *h)
{
	return h->index.kind == INDEX_FEW ||
	       (h->stats.blocks - h->stats.live_blocks <= INDEX_FEW_AGAIN && become_few(h));
}

/* Growth. */

/* For the trace: b, unless it is NULL, is the first block of a new region. */
HEAP_HOT struct block_meta *note_region(struct heap *h, struct block_meta *b, bool traced)
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
HEAP_HOT struct block_meta *grow_noted(struct heap *h, size_t size, bool traced)
{
	struct block_meta *top = h->top, *b;
	bool is_free = top && top->status == STATUS_FREE;
	enum growth growth;

	if (!top)
		return heap_new_region(h, size);
	if (is_free)
		require_free(h, top);
	else
		heap_require_top(h);
	growth = heap_extend_region(h, is_free ? size - top->size : META + size);
	if (growth == REFUSED)
		return NULL;
	if (growth == DETACHED)
		return note_region(h, heap_new_region(h, size), traced);
	if (is_free) {
		heap_unindex(h, top);
		note_step(traced, TRACE_STEP_EXPAND, 13, top, top->size, size);
		top->size = size;
		return top;
	}
	b = (struct block_meta *)(void *)(h->regions[h->growing].end - META - size);
	b->size = size;
	heap_link_behind(h, top, b);
	note_step(traced, TRACE_STEP_APPEND, 13, b, size, 0);
	return b;
}

static __attribute__((noinline)) struct block_meta *grow(struct heap *h, size_t size)
{
	return grow_noted(h, size, false);
}

/* Placement. */

/* Change of a live block's size in place, from old bytes to what it is now. */
static void note_resized(struct heap *h, struct block_meta *b, size_t old)
{
	seal(b);
	h->stats.live_bytes += b->size - old;
	heap_note_peak(h);
}

/* Rule 12 for b, which the search found. */
HEAP_HOT void split_found(struct heap *h, struct block_meta *b, size_t size, bool is_tracked,
			  bool traced)
{
	struct block_meta *rest;
	struct age age = {0};

	require_free(h, b);
	if (is_tracked && b->size > INDEX_EXACT_MAX)
		age = (struct age){.dirty = to_spare(b)->dirty, .epoch = to_spare(b)->epoch};
	rest = split(h, b, size, traced, 12);
	if (rest) /* everything was settled, so it has no free neighbour */
		insert_free(h, rest, &age, is_tracked);
}

/* Rules 10 and 11 as they read, each a walk of the list. */

/* There are no free neighbours but those that settle knows of: it only costs to look. */
static void look_for_neighbours(struct heap *h)
{
	for (struct block_meta *b = h->last; b; b = b->prev)
		if (b->status == STATUS_FREE && free_prev(b))
			require_free(h, b);
}

static struct block_meta *find_by_walk(struct heap *h, size_t size)
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
HEAP_HOT struct block_meta *place(struct heap *h, size_t size, bool *fresh, bool is_tracked)
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
	split_found(h, b, size, is_tracked, false);
	return b;
}

struct block_meta *heap_place_roomy(struct heap *h, size_t size, size_t room)
{
	struct block_meta *b;

	settle(h, true, false);
	h->stats.searches++;
	b = index_take(&h->index, room);
	if (b)
		split_found(h, b, size, true, false);
	return b;
}

struct block_meta *heap_place(struct heap *h, size_t size, bool *fresh)
{
	return place(h, size, fresh, !h->uses_brk);
}

HEAP_HOT void release(struct heap *h, struct block_meta *b)
{
	heap_note_freed(h, b);
	b->status = STATUS_FREE;
	index_defer(&h->index, b);
}

void heap_release(struct heap *h, struct block_meta *b)
{
	release(h, b);
}

/* Rule 17a to 17c. */
HEAP_HOT enum growth resize_in_place(struct heap *h, struct block_meta *b, size_t size, bool traced)
{
	size_t old = b->size;
	struct block_meta *next, *rest;
	enum growth growth;

	if (size > old && b == h->top) {
		growth = heap_extend_region(h, size - old);
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

enum growth heap_resize_in_place(struct heap *h, struct block_meta *b, size_t size)
{
	return resize_in_place(h, b, size, false);
}

__attribute__((constructor(101))) static void guard_forks(void)
{
	pthread_atfork(heap_fork_prepare, heap_fork_parent, heap_fork_child);
}
