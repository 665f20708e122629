// SPDX-License-Identifier: BSD-3-Clause

/*
 * os_malloc, os_calloc, os_realloc and os_free: a heap at the program break, and mappings.
 *
 * The heap is a doubly linked list of blocks in address order. A block is a 32-byte header
 * (block_meta.h) and a payload of at least 8 bytes. No call walks the list. Two structures hold the
 * free blocks:
 *
 *	index     blocks that an earlier search has coalesced, by size and address (index.h)
 *	pending   blocks that were freed or split off since the last search (pending.h)
 *
 * A search coalesces the pending blocks with their neighbours, moves them to the index, and takes
 * the best fit from it. If nothing fits, the heap grows. A search costs O(log n) for n free blocks,
 * everything else O(1) amortised.
 *
 * The rules of placement are numbered, and drawn, in tests/model/RULES.md:
 *
 *	1 to 4     the list; block_core.h has the layout, block_regions.c moves the break
 *	7          mapped blocks
 *	9 to 13    placement in the heap: each rule has a function, place() calls them
 *	5, 6, 8    os_malloc and os_calloc
 *	14         os_free
 *	15 to 18   os_realloc
 */

#include "osmem.h"

#include <errno.h>
#include <string.h>

#include "block/block_core.h"
#include "trace/calls.h"

#define FIRST_RAISE (128 * KIB)

/* ---- Rules 1 to 3: the list ---- */

/* Insert b behind a. It lies between the end of a and the block that follows. */
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

/* The next block if it is free and adjacent to b, or NULL. */
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

/* Remove b from the pending blocks or the index, before it is used or absorbed. */
HOT void remove_free(struct block_meta *b)
{
	if ((const char *)b->next != block_end(b))
		block_require_region_end(b);
	if (pending_has(b)) {
		if (!pending_is_valid(&course.pending, b))
			block_corrupted(b);
		pending_remove(&course.pending, b);
	} else if (!index_remove(&course.index, b)) {
		block_corrupted(b);
	}
}

/* Merge next, the block behind a, into a. */
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
	pending_replace_absorbed(&course.pending, next, a);
	course.stats.blocks--;
	course.stats.coalesces++;
	block_trace(TRACE_STEP_COALESCE, rule, a, (uintptr_t)next, a->size);
}

/* ---- Rule 7: mapped blocks ---- */

static struct block_meta *map(size_t size)
{
	struct block_meta *b = size <= PTRDIFF_MAX ? sys_map(META + size) : NULL;

	if (!b) {
		errno = ENOMEM;
		return NULL;
	}
	block_lock();
	block_make_secret();
	b->size = size;
	b->status = STATUS_MAPPED;
	block_set_checksum(b);
	treap_insert(&course.mapped, b, TREAP_MAPPED);
	course.stats.mmap_calls++;
	course.stats.allocs++;
	course.stats.mapped_bytes += META + size;
	block_update_peak();
	block_trace(TRACE_STEP_MAPPED, 7, b, size, 0);
	block_unlock();
	return b;
}

/* Unlocks the heap. */
static void unmap(struct block_meta *b)
{
	treap_remove(&course.mapped, b, TREAP_MAPPED);
	course.stats.munmap_calls++;
	course.stats.mapped_bytes -= META + b->size;
	block_trace(TRACE_STEP_UNMAPPED, 7, b, b->size, 0);
	block_unlock();
	sys_release(b, META + b->size);
}

/* ---- Rules 9 to 13: placement in the heap ---- */

/* Rule 9: first heap use. */
static __attribute__((noinline)) bool create_heap(void)
{
	unsigned int tries = 0;

	block_make_secret();
	return block_raise(0, FIRST_RAISE, &tries) == RAISED;
}

/* Validate b and the headers of its neighbours: a buffer overflow may have overwritten them. */
HOT void check_neighbours(struct block_meta *b)
{
	const struct block_meta *prev = b->prev;
	struct block_meta *next = b->next;

	if (b->status != STATUS_FREE || (char *)next != block_end(b) || next->prev != b ||
	    (next->status != STATUS_FREE && !block_has_checksum(next)) ||
	    !block_is_in(&block_regions[course.recent], prev) || block_end(prev) != (char *)b ||
	    prev->next != b)
		block_check_neighbours(b);
}

/* Rule 10 for b, which is neither pending nor in the index. Returns the merged block. */
HOT struct block_meta *coalesce(struct block_meta *b)
{
	struct block_meta *next, *prev;

	check_neighbours(b);
	while ((next = free_next(b)) && !pending_is_linked(&course.pending, next)) {
		remove_free(next);
		absorb(b, next, 10);
	}
	while ((prev = free_prev(b)) && !pending_is_linked(&course.pending, prev)) {
		remove_free(prev);
		absorb(prev, b, 10);
		b = prev;
		check_neighbours(b);
	}
	return b;
}

/* Add b, which is coalesced, to the candidates of a search for size bytes. */
HOT void add_candidate(struct block_meta *b, size_t size)
{
	if (b->size >= INDEX_PAIRING_MIN || size < INDEX_PAIRING_MIN ||
	    !pending_defer(&course.pending, b))
		index_insert(&course.index, b);
}

/* Rule 10: only a pending block can have a free neighbour. */
HOT void coalesce_pending(size_t size)
{
	struct block_meta *b;

	if (size < INDEX_PAIRING_MIN)
		pending_end_deferral(&course.pending);
	while ((b = pending_pop(&course.pending)))
		add_candidate(coalesce(b), size);
}

/* Rule 11: take the best fit out of the index. Returns the block and its *capacity, or NULL. */
HOT struct block_meta *search(size_t size, size_t *capacity, bool is_first)
{
	struct block_meta *b = index_take(&course.index, size, capacity);

	if (trace_is_on && (b || is_first))
		trace_step(TRACE_STEP_SEARCH, 11, size, (uintptr_t)b, *capacity);
	if (b && b->size != *capacity)
		block_corrupted(b);
	if (b && (b->status != STATUS_FREE || (const char *)b->next != block_end(b)))
		block_require_region_end(b);
	return b;
}

/*
 * Rule 12: split b, of capacity bytes, at size. Returns the remainder, a free block that is neither
 * pending nor in the index; or NULL if b is given whole.
 */
HOT struct block_meta *split(struct block_meta *b, size_t capacity, size_t size, unsigned int rule)
{
	struct block_meta *rest = block_at((char *)(b + 1) + size);

	if (capacity - size < META + GRAIN)
		return NULL;
	rest->size = capacity - size - META;
	rest->status = STATUS_FREE;
	link_behind(b, rest);
	block_set_size(b, size);
	course.stats.splits++;
	block_trace(TRACE_STEP_SPLIT, rule, b, size, rest->size);
	return rest;
}

/* Rule 13: the bytes by which the heap has to grow. */
static size_t shortfall(size_t size)
{
	const struct block_meta *last = course.last;

	return last->status == STATUS_FREE ? size - last->size : META + size;
}

/* Rules 13 and 17b: grow the last block to size bytes. The reserve is large enough. */
static void expand(struct block_meta *last, size_t size, unsigned int rule)
{
	block_extend(size - last->size);
	block_trace(TRACE_STEP_EXPAND, rule, last, last->size, size);
	block_set_size(last, size);
}

/* Rule 13: expand the last block or append one. NULL if the reserve is too small. */
static __attribute__((noinline)) struct block_meta *grow(size_t size)
{
	struct block_meta *last = course.last, *b;

	block_require_region_end(last);
	if (shortfall(size) > block_reserve())
		return NULL;
	if (last->status == STATUS_FREE) {
		remove_free(last);
		expand(last, size, 13);
		return last;
	}
	b = block_at(block_end(last));
	block_extend(META + size);
	b->size = size;
	link_behind(last, b);
	block_trace(TRACE_STEP_APPEND, 13, b, size, 0);
	return b;
}

/* Rules 9 to 13. block_raise unlocks the heap, so the search starts again after it. */
HOT struct block_meta *place(size_t size)
{
	struct block_meta *b, *rest;
	unsigned int tries = 0;
	size_t capacity;

	if (!course.last && !create_heap())
		return NULL;
	course.stats.searches++;
	do {
		coalesce_pending(size);
		b = search(size, &capacity, tries == 0);
		if (b) {
			rest = split(b, capacity, size, 12);
			if (rest) /* b was coalesced, so rest has no free neighbour */
				add_candidate(rest, size);
			return b;
		}
		b = grow(size);
	} while (!b && block_raise(shortfall(size), META + size, &tries) == RAISED);
	return b;
}

/* ---- Rules 5, 6 and 8: os_malloc and os_calloc ---- */

HOT void mark_allocated(struct block_meta *b)
{
	b->status = STATUS_ALLOC;
	block_set_checksum(b);
	course.stats.allocs++;
	course.stats.live_bytes += META + b->size;
	block_update_peak();
	block_trace(TRACE_STEP_USE, 0, b, b->size, 0);
}

/* Rule 6. size is not 0. */
HOT void *allocate(size_t size, size_t threshold)
{
	size_t capacity = size <= PTRDIFF_MAX ? round_up(size, course.grain) : size;
	struct block_meta *b;

	if (capacity >= threshold - META) {
		b = map(capacity);
		return b ? b + 1 : NULL;
	}
	block_lock();
	b = place(capacity);
	if (b)
		mark_allocated(b);
	block_unlock();
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
		block_trace(TRACE_STEP_COPY, 8, NULL, (uintptr_t)p, total);
	}
	return p;
}

/* ---- Rule 14: os_free ---- */

/* p is not NULL. call is the function named in a report. */
HOT void release(const char *call, void *p)
{
	struct block_meta *b;

	block_lock();
	b = block_of(call, p, false);
	if (!b)
		return;
	course.stats.frees++;
	if (b->status == STATUS_MAPPED) { /* rule 7 */
		unmap(b);
		return;
	}
	course.stats.live_bytes -= META + b->size;
	b->status = STATUS_FREE;
	pending_add(&course.pending, b);
	block_trace(TRACE_STEP_FREE, 14, b, b->size, 0);
	block_unlock();
}

/* ---- Rules 15 to 18: os_realloc ---- */

/* Rule 17b. MOVED if b is not the last block, or if other code has moved the break. */
static enum raise expand_last(struct block_meta *b, size_t size)
{
	enum raise raised = RAISED;
	unsigned int tries = 0;

	while (raised == RAISED && b == course.last) {
		if (size - b->size <= block_reserve()) {
			expand(b, size, 17);
			return RAISED;
		}
		raised = block_raise(size - b->size, 0, &tries);
	}
	return raised == RAISED ? MOVED : raised;
}

/* Rule 17. RAISED: b has size bytes. MOVED: b is too small and has to move. */
static enum raise resize(struct block_meta *b, size_t size)
{
	size_t old = b->size;
	enum raise result = size > old ? expand_last(b, size) : RAISED; /* 17b */
	struct block_meta *next, *rest;

	if (result == REFUSED)
		return result;
	while (b->size < size && (next = free_next(b))) { /* 17c */
		remove_free(next);
		absorb(b, next, 17);
	}
	if (b->size >= size) { /* 17a, 17c */
		result = RAISED;
		rest = split(b, b->size, size, 17);
		if (rest)
			pending_add(&course.pending, rest);
	} /* else 17d */
	block_set_checksum(b);
	course.stats.live_bytes += b->size - old;
	block_update_peak();
	return result;
}

/* Rule 18. */
static void *move(const char *call, void *p, size_t old, size_t size)
{
	void *q = allocate(size, MMAP_THRESHOLD);

	if (!q)
		return NULL;
	memcpy(q, p, old < size ? old : size);
	block_trace(TRACE_STEP_COPY, 18, p, (uintptr_t)q, old < size ? old : size);
	release(call, p);
	return q;
}

/* Rules 15 to 18. may_be_free: rule 16 holds. */
static void *reallocate(const char *call, void *p, size_t size, bool may_be_free)
{
	enum raise result = MOVED;
	struct block_meta *b;
	size_t old;

	if (!p) /* rule 15 */
		return size ? allocate(size, MMAP_THRESHOLD) : NULL;
	block_lock();
	b = block_of(call, p, may_be_free);
	if (!b) {
		errno = EINVAL;
		return NULL;
	}
	old = b->size;
	course.stats.reallocs++;
	if (b->status == STATUS_FREE) { /* rule 16 */
		block_unlock();
		return NULL;
	}
	if (size && b->status == STATUS_ALLOC && size <= MMAP_THRESHOLD - META - course.grain)
		result = resize(b, round_up(size, course.grain));
	block_unlock();
	if (!size) { /* rule 15 */
		release(call, p);
		return NULL;
	}
	if (result == MOVED)
		return move(call, p, old, size);
	return result == RAISED ? p : NULL;
}

/* ---- The four functions ---- */

EXPORT void *os_malloc(size_t size)
{
	void *p;

	if (calls_are_recorded)
		calls_enter(TRACE_OS_MALLOC, 0, size);
	p = size ? allocate(size, MMAP_THRESHOLD) : NULL;
	if (calls_are_recorded)
		calls_record(TRACE_OS_MALLOC, 0, size, (uintptr_t)p, size && !p);
	return p;
}

EXPORT void *os_calloc(size_t nmemb, size_t size)
{
	void *p;

	if (calls_are_recorded)
		calls_enter(TRACE_OS_CALLOC, nmemb, size);
	p = allocate_zeroed(nmemb, size);
	if (calls_are_recorded)
		calls_record(TRACE_OS_CALLOC, nmemb, size, (uintptr_t)p, nmemb && size && !p);
	return p;
}

EXPORT void *os_realloc(void *p, size_t size)
{
	void *q;

	if (calls_are_recorded) {
		sys_note_call_site(__builtin_return_address(0));
		calls_enter(TRACE_OS_REALLOC, (uintptr_t)p, size);
	}
	q = reallocate("os_realloc", p, size, true);
	if (calls_are_recorded)
		calls_record(TRACE_OS_REALLOC, (uintptr_t)p, size, (uintptr_t)q, size && !q);
	return q;
}

EXPORT void os_free(void *p)
{
	if (calls_are_recorded) {
		sys_note_call_site(__builtin_return_address(0));
		calls_enter(TRACE_OS_FREE, (uintptr_t)p, 0);
	}
	if (p)
		release("os_free", p);
	if (calls_are_recorded)
		calls_record(TRACE_OS_FREE, (uintptr_t)p, 0, 0, false);
}

/* ---- The same for malloc: block.h ---- */

/*
 * b was taken for an aligned block of size bytes. Split off what lies before the first payload that
 * is aligned, and what lies behind the block (rule 12). Both become free blocks.
 */
static struct block_meta *cut_aligned(struct block_meta *b, size_t size, size_t align)
{
	uintptr_t start = (uintptr_t)(b + 1);
	struct block_meta *front = b, *rest;

	if (start & (align - 1)) {
		b = split(b, b->size, round_up(start + META + GRAIN, align) - META - start, 12);
		pending_add(&course.pending, front);
	}
	rest = split(b, b->size, size, 12);
	if (rest)
		pending_add(&course.pending, rest);
	return b;
}

void *block_malloc(size_t size)
{
	return allocate(size ? size : 1, MMAP_THRESHOLD);
}

void *block_calloc(size_t size)
{
	return allocate_zeroed(1, size ? size : 1);
}

/* Never mapped: the list cannot cut a mapped block. */
void *block_memalign(size_t size, size_t align)
{
	size_t capacity = round_up(size ? size : 1, course.grain), total;
	struct block_meta *b;

	if (size > PTRDIFF_MAX || __builtin_add_overflow(capacity + META, align, &total) ||
	    total > PTRDIFF_MAX) {
		errno = ENOMEM;
		return NULL;
	}
	block_lock();
	b = place(total);
	if (b) {
		b = cut_aligned(b, capacity, align);
		mark_allocated(b);
	}
	block_unlock();
	return b ? b + 1 : NULL;
}

void *block_realloc(const char *call, void *p, size_t size)
{
	return reallocate(call, p, size, false);
}

void block_free(const char *call, void *p)
{
	release(call, p);
}

size_t block_capacity(const char *call, void *p)
{
	const struct block_meta *b;
	size_t size;

	block_lock();
	b = block_of(call, p, false);
	if (!b)
		return 0;
	size = b->size;
	block_unlock();
	return size;
}
