// SPDX-License-Identifier: BSD-3-Clause

/*
 * os_malloc, os_calloc, os_realloc and os_free: a heap at the program break, and mappings.
 *
 * The heap is one list of blocks in address order, each a header (block_meta.h) and its payload.
 * The list is the truth. A call never walks it, for two things beside it know the free blocks:
 *
 *	the index     those that a search has seen, by size and address (index.h)
 *	the pending   those that were freed or split off since (pending.h)
 *
 * A search takes up what is pending: it is coalesced with its neighbours and indexed. Then it takes
 * the best fit, the lowest among equals, and splits it; or the heap grows.
 *
 * Search O(log n) in the number of free blocks; everything else, coalescing included, amortised
 * O(1). Overhead: 32 bytes a block. Smallest payload: 8 bytes.
 *
 * The numbers of rules in this file are those of the course's specification of placement.
 */

#include "osmem.h"

#include <errno.h>
#include <string.h>

#include "block_core.h"
#include "calls.h"

#define EXPORT __attribute__((visibility("default")))

#define FIRST_RAISE (128 * KIB)

/* ---- The list: rules 1 to 3 ---- */

/* Put b, between the end of a and what follows, into the list behind a. */
HOT void link_behind(struct block_meta *a, struct block_meta *b)
{
	b->prev = a;
	b->next = a->next;
	a->next = b;
	if (b->next)
		b->next->prev = b;
	else
		course.last = b;
	course.stats.blocks++;
}

/* The block behind b, if it is free and touches b. */
HOT struct block_meta *free_next(const struct block_meta *b)
{
	struct block_meta *next = b->next;

	return next && next->status == STATUS_FREE && (char *)next == block_end(b) ? next : NULL;
}

HOT struct block_meta *free_prev(const struct block_meta *b)
{
	struct block_meta *prev = b->prev;

	return prev && prev->status == STATUS_FREE && block_end(prev) == (const char *)b ? prev
											 : NULL;
}

/* Forget free block b, pending or indexed, which is about to be used or absorbed. */
static __attribute__((noinline)) void forget(struct block_meta *b)
{
	if ((const char *)b->next != block_end(b))
		block_require_region_end(b);
	if (pending_has(b)) {
		if (!pending_is_sound(&course.pending, b))
			block_corrupted(b);
		pending_remove(&course.pending, b);
	} else if (!index_remove(&course.index, b)) {
		block_corrupted(b);
	}
}

/* a absorbs the block next behind it. */
HOT void absorb(struct block_meta *a, struct block_meta *next, unsigned int rule)
{
	if (next->prev != a)
		block_corrupted(next);
	a->size += META + next->size;
	a->next = next->next;
	if (a->next)
		a->next->prev = a;
	else
		course.last = a;
	pending_note_absorbed(&course.pending, next, a);
	course.stats.blocks--;
	course.stats.coalesces++;
	block_note(TRACE_STEP_COALESCE, rule, a, (uintptr_t)next, a->size);
}

/* Rule 12: cut b down to size bytes. The rest, free, neither pending nor indexed; or NULL. */
HOT struct block_meta *split(struct block_meta *b, size_t size, unsigned int rule)
{
	struct block_meta *rest = block_at((char *)(b + 1) + size);

	if (b->size - size < META + GRAIN)
		return NULL;
	rest->size = b->size - size - META;
	rest->status = STATUS_FREE;
	link_behind(b, rest);
	b->size = size;
	course.stats.splits++;
	block_note(TRACE_STEP_SPLIT, rule, b, size, rest->size);
	return rest;
}

/* ---- Placement in the heap: rules 9 to 14 ---- */

/* b is about to be coalesced: whatever ran over its edges is met here. */
HOT void check_neighbours(struct block_meta *b)
{
	const struct block_meta *prev = b->prev;
	struct block_meta *next = b->next;

	if (b->status != STATUS_FREE || (char *)next != block_end(b) || next->prev != b ||
	    (links_mask(next->status != STATUS_FREE) &
	     block_checksum_difference(next)) || /* a toss-up */
	    !block_is_in(&block_regions[course.recent], prev) ||
	    block_end(prev) != (char *)b || prev->next != b)
		block_check_neighbours(b);
}

/* Rule 10 for b, not pending any more. The block that it has become part of. */
HOT struct block_meta *coalesce(struct block_meta *b)
{
	struct block_meta *next, *prev;

	check_neighbours(b);
	while ((next = free_next(b))) {
		forget(next);
		absorb(b, next, 10);
	}
	while ((prev = free_prev(b))) {
		forget(prev);
		absorb(prev, b, 10);
		b = prev;
		check_neighbours(b);
	}
	return b;
}

/* Rule 10: only what became free since the last search can have free neighbours. */
HOT void coalesce_pending(void)
{
	struct block_meta *b;

	while ((b = pending_pop(&course.pending)))
		index_insert(&course.index, coalesce(b));
}

/* Rule 11, once more after the break was raised. The block is no longer indexed. */
HOT struct block_meta *search(size_t size, bool is_again)
{
	struct block_meta *b = index_take(&course.index, size);

	if (trace_is_on && (b || !is_again))
		trace_step(TRACE_STEP_SEARCH, 11, size, (uintptr_t)b, b ? b->size : 0);
	if (b && (b->status != STATUS_FREE || (const char *)b->next != block_end(b)))
		block_require_region_end(b);
	return b;
}

/* Rule 13: bytes by which the end of the heap has to move for size. */
static size_t missing(size_t size)
{
	const struct block_meta *last = course.last;

	return last->status == STATUS_FREE ? size - last->size : META + size;
}

/* Rule 13 in the room that there is: the last block expanded, or another behind it; or NULL. */
static __attribute__((noinline)) struct block_meta *grow(size_t size)
{
	struct block_meta *last = course.last, *b;
	size_t more = missing(size);

	block_require_heap_end(last);
	if (more > block_room())
		return NULL;
	if (last->status == STATUS_FREE) {
		forget(last);
		block_extend(more);
		block_note(TRACE_STEP_EXPAND, 13, last, last->size, size);
		last->size = size;
		return last;
	}
	b = block_at(block_end(last));
	block_extend(more);
	b->size = size;
	link_behind(last, b);
	block_note(TRACE_STEP_APPEND, 13, b, size, 0);
	return b;
}

/* Rule 9. */
static __attribute__((noinline)) bool begin(void)
{
	unsigned int tries = 0;

	block_make_secret();
	return block_raise(0, FIRST_RAISE, &tries) == RAISED;
}

/* Rules 9 to 13: a block of size bytes, or NULL. The heap is left while the break is raised. */
HOT struct block_meta *place(size_t size)
{
	struct block_meta *b, *rest;
	unsigned int tries = 0;
	bool is_again = false;

	if (!course.last && !begin())
		return NULL;
	course.stats.searches++;
	do {
		coalesce_pending();
		b = search(size, is_again);
		if (!b) {
			b = grow(size);
			is_again = true;
			continue;
		}
		rest = split(b, size, 12);
		if (rest) /* nothing is pending, so it has no free neighbour */
			index_insert(&course.index, rest);
	} while (!b && block_raise(missing(size), META + size, &tries) == RAISED);
	return b;
}

HOT void make_live(struct block_meta *b)
{
	b->status = STATUS_ALLOC;
	block_set_checksum(b);
	course.stats.live_blocks++;
	course.stats.live_bytes += META + b->size;
	block_note_peak();
}

/* Rule 14. */
HOT void make_free(struct block_meta *b)
{
	course.stats.live_blocks--;
	course.stats.live_bytes -= META + b->size;
	b->status = STATUS_FREE;
	pending_add(&course.pending, b);
	block_note(TRACE_STEP_FREE, 14, b, b->size, 0);
}

/* ---- Mapped blocks: rule 7 ---- */

static struct block_meta *map(size_t size)
{
	struct block_meta *b = size <= PTRDIFF_MAX ? sys_map(META + size) : NULL;

	if (!b) {
		errno = ENOMEM;
		return NULL;
	}
	block_enter();
	block_make_secret();
	b->size = size;
	b->status = STATUS_MAPPED;
	block_set_checksum(b);
	block_register_mapped(b);
	course.stats.mmap_calls++;
	course.stats.allocs++;
	block_note(TRACE_STEP_MAPPED, 7, b, size, 0);
	block_leave();
	return b;
}

/* Leaves the heap. */
static void unmap(struct block_meta *b)
{
	block_unregister_mapped(b);
	course.stats.munmap_calls++;
	block_note(TRACE_STEP_UNMAPPED, 7, b, b->size, 0);
	block_leave();
	sys_release(b, META + b->size);
}

/* ---- The calls: rules 5, 6, 8 and 15 to 18 ---- */

/* Rule 6. size is not 0. */
HOT void *allocate(size_t size, size_t threshold)
{
	size_t capacity = size <= PTRDIFF_MAX ? round_up(size, GRAIN) : size;
	struct block_meta *b;

	if (capacity >= threshold - META) {
		b = map(capacity);
		return b ? b + 1 : NULL;
	}
	block_enter();
	b = place(capacity);
	if (b) {
		make_live(b);
		course.stats.allocs++;
		block_note(TRACE_STEP_USE, 0, b, b->size, 0);
	}
	block_leave();
	return b ? b + 1 : NULL;
}

/* Rule 8. */
static void *allocate_zeroed(size_t nmemb, size_t size)
{
	size_t total;
	void *p;

	if (__builtin_mul_overflow(nmemb, size, &total)) {
		errno = ENOMEM;
		return NULL;
	}
	if (!total)
		return NULL;
	p = allocate(total, sys_page_size());
	if (p && ((struct block_meta *)p - 1)->status == STATUS_ALLOC) {
		memset(p, 0, total);
		block_note(TRACE_STEP_COPY, 8, NULL, (uintptr_t)p, total);
	}
	return p;
}

/* Rule 14, and 7. */
HOT void release(const char *call, void *p)
{
	struct block_meta *b;

	block_enter();
	b = block_of(call, p, false);
	course.stats.frees++;
	if (b->status == STATUS_MAPPED) {
		unmap(b);
		return;
	}
	make_free(b);
	block_leave();
}

/* Rules 17b: the last block grows. MOVED: it does not. */
static enum raise expand_last(struct block_meta *b, size_t size)
{
	enum raise raised = RAISED;
	unsigned int tries = 0;

	while (raised == RAISED && b == course.last) {
		size_t more = size - b->size;

		if (more <= block_room()) {
			block_extend(more);
			block_note(TRACE_STEP_EXPAND, 17, b, b->size, size);
			b->size = size;
			return RAISED;
		}
		raised = block_raise(more, 0, &tries);
	}
	return raised == RAISED ? MOVED : raised;
}

/* Rule 17. RAISED: b has size bytes; MOVED: it must move. */
static enum raise resize(struct block_meta *b, size_t size)
{
	size_t old = b->size;
	enum raise result = size > old ? expand_last(b, size) : RAISED;
	struct block_meta *next, *rest;

	if (result == REFUSED)
		return result;
	while (b->size < size && (next = free_next(b))) { /* c */
		forget(next);
		absorb(b, next, 17);
	}
	if (b->size >= size) { /* a, c */
		result = RAISED;
		rest = split(b, size, 17);
		if (rest)
			pending_add(&course.pending, rest);
	}
	block_set_checksum(b);
	course.stats.live_bytes += b->size - old;
	block_note_peak();
	return result;
}

/* Rule 18: place anew while the old block is still there. */
static void *move(void *p, size_t old, size_t size)
{
	void *q = allocate(size, MMAP_THRESHOLD);

	if (!q)
		return NULL;
	memcpy(q, p, old < size ? old : size);
	block_note(TRACE_STEP_COPY, 18, p, (uintptr_t)q, old < size ? old : size);
	release("os_realloc", p);
	return q;
}

/* Rules 15 to 18. */
static void *reallocate(void *p, size_t size)
{
	enum raise result = MOVED;
	struct block_meta *b;
	size_t old;

	if (!p)
		return size ? allocate(size, MMAP_THRESHOLD) : NULL;
	block_enter();
	b = block_of("os_realloc", p, true);
	old = b->size;
	course.stats.reallocs++;
	if (b->status == STATUS_FREE) { /* rule 16 */
		block_leave();
		return NULL;
	}
	if (size && b->status == STATUS_ALLOC && size < MMAP_THRESHOLD - META - (GRAIN - 1))
		result = resize(b, round_up(size, GRAIN));
	block_leave();
	if (!size) {
		release("os_realloc", p);
		return NULL;
	}
	if (result == MOVED)
		return move(p, old, size);
	return result == RAISED ? p : NULL;
}

EXPORT void *os_malloc(size_t size)
{
	void *p;

	if (calls_are_noted)
		calls_enter(TRACE_OS_MALLOC, 0, size);
	p = size ? allocate(size, MMAP_THRESHOLD) : NULL;
	if (calls_are_noted)
		calls_note(TRACE_OS_MALLOC, 0, size, (uintptr_t)p, size && !p);
	return p;
}

EXPORT void *os_calloc(size_t nmemb, size_t size)
{
	void *p;

	if (calls_are_noted)
		calls_enter(TRACE_OS_CALLOC, nmemb, size);
	p = allocate_zeroed(nmemb, size);
	if (calls_are_noted)
		calls_note(TRACE_OS_CALLOC, nmemb, size, (uintptr_t)p, nmemb && size && !p);
	return p;
}

EXPORT void *os_realloc(void *p, size_t size)
{
	void *q;

	if (calls_are_noted)
		calls_enter(TRACE_OS_REALLOC, (uintptr_t)p, size);
	q = reallocate(p, size);
	if (calls_are_noted)
		calls_note(TRACE_OS_REALLOC, (uintptr_t)p, size, (uintptr_t)q, size && !q);
	return q;
}

EXPORT void os_free(void *p)
{
	if (calls_are_noted)
		calls_enter(TRACE_OS_FREE, (uintptr_t)p, 0);
	if (p)
		release("os_free", p);
	if (calls_are_noted)
		calls_note(TRACE_OS_FREE, (uintptr_t)p, 0, 0, false);
}
