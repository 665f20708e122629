// SPDX-License-Identifier: BSD-3-Clause

/*
 * Windows, sets of segments, and where segments are mapped:
 *
 * 1. A segment is mapped below the last one, like the kernel does, else above it. The place has to
 *    be in an existing window, and outside of the range for the main stack.
 * 2. If both places are taken, the kernel chooses one. The next attempts start there.
 * 3. If memory for a window is refused, the segment fails, too.
 */

#include "window.h"

#include <errno.h>

#include "slab_core.h"
#include "tunables.h"

struct store slab_store;
uintptr_t slab_window;
uint16_t slab_page_map[WINDOW_SLABS] APART;
struct window slab_first_window APART;
_Atomic(uint16_t *) slab_far_page_maps[WINDOWS] APART;

/* Sets: S7. */

static size_t index_in(const struct window *w, const void *p)
{
	return ((uintptr_t)p - w->start) / SEGMENT_SIZE;
}

bool segment_is_in(const void *p, enum segment_set set)
{
	const struct window *w = window_of(p);
	size_t i = w ? index_in(w, p) : 0;
	const uint64_t *word;

	if (!w)
		return false;
	word = &w->bits[i / 64].words[set];
	return atomic_load_explicit((const _Atomic(uint64_t) *)word, memory_order_relaxed) >>
		       i % 64 &
	       1;
}

void segment_put(const struct segment *g, enum segment_set set, bool is_in)
{
	struct window *w = window_of(g);
	size_t i = index_in(w, g);
	uint64_t *at = &w->bits[i / 64].words[set], *summary;
	uint64_t bit = (uint64_t)1 << i % 64, word = is_in ? *at | bit : *at & ~bit;

	if (word == *at)
		return;
	atomic_store_explicit((_Atomic(uint64_t) *)at, word, memory_order_relaxed);
	summary = &w->summaries[set][i / 64 / 64];
	bit = (uint64_t)1 << i / 64 % 64;
	*summary = word ? *summary | bit : *summary & ~bit;
}

/* The lowest element of set in w from index from on, or WINDOW_SEGMENTS. */
static size_t next_in(const struct window *w, enum segment_set set, size_t from)
{
	size_t group = from / 64;
	uint64_t bits;

	if (from % 64) {
		bits = w->bits[group].words[set] & ~(uint64_t)0 << from % 64;
		if (bits)
			return group * 64 + (size_t)__builtin_ctzll(bits);
		group++;
	}
	for (; group < WINDOW_GROUPS; group = (group / 64 + 1) * 64) {
		bits = w->summaries[set][group / 64] & ~(uint64_t)0 << group % 64;
		if (!bits)
			continue;
		group = group / 64 * 64 + (size_t)__builtin_ctzll(bits);
		return group * 64 + (size_t)__builtin_ctzll(w->bits[group].words[set]);
	}
	return WINDOW_SEGMENTS;
}

struct segment *segment_next(enum segment_set set, const struct segment *after)
{
	const struct window *w = after ? window_of(after) : &slab_first_window;
	size_t i = after ? index_in(w, after) + 1 : 0;

	for (; w; w = w->next, i = 0) {
		i = next_in(w, set, i);
		if (i < WINDOW_SEGMENTS)
			return (struct segment *)(w->start + i * SEGMENT_SIZE);
	}
	return NULL;
}

/* Windows. */

/* The first segment is at p. For a fork: page_map is set last. */
static void choose_window(const char *p)
{
	uintptr_t below = WINDOW_SIZE - WINDOW_ABOVE;

	slab_store.secret = sys_secret() * HASH_FACTOR2;
	slab_store.stack = sys_stack_room();
	slab_window = (uintptr_t)p > below ? (uintptr_t)p - below : 0;
	slab_first_window.start = slab_window;
	atomic_thread_fence(memory_order_release);
	slab_first_window.page_map = slab_page_map;
}

/* Make the window for p; false when memory is exhausted. */
static bool add_window(const char *p)
{
	size_t offset = (uintptr_t)p - slab_window;
	struct window *w, *last = &slab_first_window;

	if (window_place(p) >= WINDOWS) { /* with five levels of page tables, some kernels do so */
		errno = ENOMEM;
		return false;
	}
	w = sys_map(sizeof(*w) + sizeof(slab_page_map));
	if (!w)
		return false;
	w->start = slab_window + (offset & ~(WINDOW_SIZE - 1));
	w->page_map = (uint16_t *)(w + 1); /* window_of relies on this */
	while (last->next)
		last = last->next;
	/*
	 * For a fork: a window is initialized before it is linked, and linked before it is found.
	 */
	atomic_thread_fence(memory_order_release);
	last->next = w;
	atomic_store_explicit(&slab_far_page_maps[window_place(p)], w->page_map,
			      memory_order_release);
	return true;
}

/* Mapping. */

/* Whether a segment at p is in a window and outside of the range for the main stack. */
static bool is_place(uintptr_t p)
{
	return window_of((char *)p) &&
	       (p + SEGMENT_SIZE <= slab_store.stack.start || p >= slab_store.stack.end);
}

/* Rule 1: try *hint and a few steps on; advance *hint. NULL with errno ENOMEM or EEXIST. */
static char *map_at_hint(uintptr_t *hint, ptrdiff_t step)
{
	char *p = NULL;

	errno = EEXIST;
	for (int i = 0; i < HINT_TRIES && !p && errno == EEXIST && is_place(*hint); i++) {
		p = sys_map_at((char *)*hint, SEGMENT_SIZE);
		if (p || errno == EEXIST)
			*hint += (uintptr_t)step;
	}
	return p;
}

void *window_map_segment(void)
{
	const ptrdiff_t step = SEGMENT_SIZE;
	char *p = NULL;

	slab_store.map_calls++;
	if (slab_first_window.page_map) {
		p = map_at_hint(&slab_store.below, -step);
		if (!p && errno == EEXIST)
			p = map_at_hint(&slab_store.above, step);
		if (p)
			return p;
	}
	p = sys_map_aligned(SEGMENT_SIZE, SEGMENT_SIZE);
	if (!p)
		return NULL;
	if (!slab_first_window.page_map)
		choose_window(p);
	if (!window_of(p) && !add_window(p)) {
		sys_release(p, SEGMENT_SIZE);
		return NULL;
	}
	slab_store.below = (uintptr_t)p - SEGMENT_SIZE;
	slab_store.above = (uintptr_t)p + SEGMENT_SIZE;
	return p;
}
