// SPDX-License-Identifier: BSD-3-Clause

/*
 * The slow paths of malloc and free: choice between cells, large objects, hardened mode and the
 * block list.
 */

#include <string.h>

#include "replaced.h"
#include "tcache_core.h"

/* Validate and unmark cell, taken from a cache or the store, for a user. */
static inline void *hand_out(unsigned int class, void *cell)
{
	if (__builtin_expect(*cell_word(cell) != CELL_FREED, 0))
		tcache_bad_cell(class, cell);
	return cell_unmark(cell);
}

__attribute__((noinline)) void *tcache_alloc_apart(size_t size, size_t align, bool zero)
{
	struct tcache *tc = tcache_own();

	if (tcache_is_replaced())
		return replaced_alloc(size, align, zero);
	return tcache_alloc_large(tc, size, align, zero);
}

/*
 * A cell of class, else a large object. If both fail, tcache_reclaim has returned everything to the
 * store: there may be a slab for class now.
 */
static __attribute__((noinline)) void *alloc_cell(unsigned int class, size_t size, size_t align)
{
	void *cell, *p;

	tcache_own();
	if (tcache_is_replaced())
		return replaced_alloc(size, align, false);
	cell = tcache_take_cell(class, NULL);
	if (!cell) {
		p = tcache_alloc_apart(size, align, false);
		if (p || !(cell = tcache_take_cell(class, NULL)))
			return p;
	}
	hand_out(class, cell);
	if (tcache_all.perturb)
		memset(cell, (unsigned char)~tcache_all.perturb, slab_classes[class].size);
	return cell;
}

/* The same, with a fast path. */
static inline void *alloc_cell_quickly(unsigned int class, size_t size, size_t align)
{
	void *cell = bin_pop(&tcache_thread.fast_free->bins[class]);

	if (__builtin_expect(!cell, 0))
		return alloc_cell(class, size, align);
	return hand_out(class, cell);
}

struct tcache *tcache_of_thread(void)
{
	return tcache_own();
}

__attribute__((noinline)) void *tcache_alloc_slow(size_t size)
{
	void *span = NULL;

	if (size > CELL_MAX) {
		if (size <= SPAN_MAX)
			span = span_cache_take(tcache_thread.fast_free->spans, span_class_of(size),
					       1);
		return span ? span : tcache_alloc_apart(size, CELL_ALIGN, false);
	}
	if (tcache_is_replaced())
		return replaced_malloc(size);
	return alloc_cell(class_of_size(size ? size : 1), size, CELL_ALIGN);
}

static __attribute__((noinline)) void *alloc_zeroed_slow(size_t size)
{
	return tcache_is_course() ? course_alloc_zeroed(size) : tcache_alloc_slow(size);
}

void *tcache_alloc_zeroed(size_t size)
{
	unsigned int class;
	bool fresh = false;
	void *cell, *p;

	if (size > CELL_MAX)
		return tcache_alloc_apart(size, CELL_ALIGN, true);
	if (size <= CELL_FINE_MAX) {
		cell = tcache_alloc_in(true, size, alloc_zeroed_slow);
		return cell ? memset(cell, 0, size) : NULL;
	}
	tcache_own();
	if (tcache_is_replaced())
		return replaced_alloc(size, CELL_ALIGN, true);
	class = class_of_size(size);
	cell = tcache_take_cell(class, &fresh);
	if (!cell) {
		p = tcache_alloc_apart(size, CELL_ALIGN, true);
		if (p || !(cell = tcache_take_cell(class, &fresh)))
			return p;
	}
	hand_out(class, cell);
	return fresh ? cell : memset(cell, 0, size);
}

void *tcache_alloc_aligned(size_t size, size_t align)
{
	unsigned int class;

	if (align <= CELL_ALIGN)
		return tcache_alloc(size);
	class = tcache_class_of(size, align);
	if (class == CLASS_COUNT)
		return tcache_alloc_apart(size, align, false);
	return alloc_cell_quickly(class, size, align);
}

/* In a fork's child, return p to the store if its slab is closed. False if p has to be marked. */
static bool give_unwritten(unsigned int class, void *p)
{
	struct tcache *tc;

	if (tcache_all.perturb || !slab_give_unwritten(class, p))
		return false;
	tc = tcache_for_free();
	if (tc) {
		tc->frees++;
		tcache_note_visit(tc);
	}
	return true;
}

static inline bool is_next(unsigned int class, const void *p)
{
	const struct tcache *tc = tcache_thread.own;

	return (uintptr_t)tc > (uintptr_t)TCACHE_ENDED && *tc->bins[class].top == p;
}

static __attribute__((noinline)) void free_slow(const char *call, void *p)
{
	unsigned int class;

	if (!p)
		return;
	class = slab_class_of(p);
	if (tcache_all.modes & TCACHE_TOLERATES)
		class = tcache_claim(call, p);
	else if (!class || tcache_is_closed() || is_next(class, p)) /* worth the read of the cell */
		class = tcache_live_class(call, p);
	if (class == CLASS_BAD)
		return;
	if (!class) {
		tcache_free_mapping(call, p);
		return;
	}
	if (give_unwritten(class, p))
		return;
	if (tcache_all.perturb)
		memset(p, tcache_all.perturb, slab_classes[class].size);
	*cell_word(p) = CELL_FREED;
	tcache_put_cell(class, p);
}

static __attribute__((noinline)) void free_span(const char *call, void *p)
{
	struct tcache *tc = tcache_thread.fast_free;

	if (span_cache_put(tc->spans, p)) {
		if (__builtin_expect(++tc->events % POLL_EVENTS == 0, 0))
			tcache_scavenge(tc);
	} else if (tcache_is_hardened()) {
		hardened_free(call, p);
	} else {
		tcache_free_span(call, p);
	}
}

/* free while all calls take the slow path, which mostly is for polling. bin is slab_bin(p). */
static __attribute__((noinline)) void free_polled(const char *call, void *p, uint16_t bin)
{
	struct tcache *tc = tcache_thread.own;
	unsigned int class;

	if ((uintptr_t)tc > (uintptr_t)TCACHE_ENDED && !tcache_is_closed()) {
		if (tc->polls)
			tcache_poll(tc);
		class = slab_class_in(p, bin);
		if (class && tcache_push(&tc->bins[class], p))
			return;
	}
	free_slow(call, p);
}

/* free of p, of class or no cell (0), where the bin may be full. */
static __attribute__((noinline)) void free_full(const char *call, void *p, unsigned int class)
{
	struct tcache *tc = tcache_thread.own; /* another thread may have changed fast */
	bool is_cell = class && (uintptr_t)tc > (uintptr_t)TCACHE_ENDED;

	__builtin_prefetch(p, 1); /* written to at the end */
	if (!is_cell || *tc->bins[class].top == p || !tcache_make_room(tc, class) ||
	    !tcache_push(&tc->bins[class], p))
		free_slow(call, p);
}

/* Most calls are for spans, for cells that tcache_put does not know, or for full bins. */
__attribute__((noinline)) void tcache_free_slow(const char *call, void *p)
{
	struct tcache *tc = tcache_thread.fast_free;
	uint16_t bin = slab_bin(p);
	unsigned int class;

	if (bin == SLAB_BIN_SPAN) {
		free_span(call, p);
		return;
	}
	if (tc == &tcache_none) {
		if (tcache_is_replaced())
			replaced_free(call, p, bin);
		else
			free_polled(call, p, bin);
		return;
	}
	class = slab_class_in(p, bin);
	if (!class || !tcache_push(&tc->bins[class], p))
		free_full(call, p, class);
}
