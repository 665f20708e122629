// SPDX-License-Identifier: BSD-3-Clause

/*
 * Windows, sets of segments, and where segments are mapped:
 *
 * 1. A segment is mapped below the last one, like the kernel does, else above it. The place has to
 *    be in an existing window, and outside of the range for the main stack.
 * 2. If both places are taken, the kernel chooses one. The next attempts start there.
 * 3. If memory for a window is refused, the segment fails, too.
 * 4. The first segment is some distance below what is mapped already: behind the part of it that is
 *    mapped, the place stays free.
 */

#include "window.h"

#include <errno.h>
#include <string.h>

#include "slab_core.h"
#include "tunables.h"

#define SLOTS_IN(bytes) ((bytes) >> SLAB_SHIFT)

/* The mapping of a window that reaches over bytes of addresses: sets, struct window, bins. */
#define SETS_SIZE(bytes) ((bytes) / GROUP_SIZE * sizeof(struct segment_bits))
#define MEMORY_SIZE(bytes)                                                                         \
	(SETS_SIZE(bytes) + sizeof(struct window) + SLOTS_IN(bytes) * sizeof(uint16_t))

_Static_assert(WINDOW_FIRST % GROUP_SIZE == 0, "the first window has whole groups");
_Static_assert(SETS_SIZE(GROUP_SIZE) % _Alignof(struct window) == 0, "a window is aligned");

struct store slab_store;
uintptr_t slab_window;
char slab_first_memory[MEMORY_SIZE(WINDOW_FIRST)] APART SLAB_HIDDEN
	__attribute__((aligned(_Alignof(struct segment_bits))));
_Atomic(struct page_map *) slab_page_map =
	(struct page_map *)(void *)(slab_first_memory + SETS_SIZE(WINDOW_FIRST) +
				    offsetof(struct window, map));
_Atomic(struct page_map *) slab_far_page_maps[WINDOWS] APART;

/* Sets: S7. */

#define NO_SEGMENT SIZE_MAX

static size_t index_in(const struct window *w, const void *p)
{
	return ((uintptr_t)p - w->map.start) / SEGMENT_SIZE;
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

/* The lowest element of set in w from index from on, or NO_SEGMENT. */
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
	for (; group < window_groups(w); group = (group / 64 + 1) * 64) {
		bits = w->summaries[set][group / 64] & ~(uint64_t)0 << group % 64;
		if (!bits)
			continue;
		group = group / 64 * 64 + (size_t)__builtin_ctzll(bits);
		return group * 64 + (size_t)__builtin_ctzll(w->bits[group].words[set]);
	}
	return NO_SEGMENT;
}

struct segment *segment_next(enum segment_set set, const struct segment *after)
{
	const struct window *w = after ? window_of(after) : window_first();
	size_t i = after ? index_in(w, after) + 1 : 0;

	for (; w; w = w->next, i = 0) {
		i = next_in(w, set, i);
		if (i != NO_SEGMENT)
			return (struct segment *)(w->map.start + i * SEGMENT_SIZE);
	}
	return NULL;
}

/* Windows. */

/* Make a window in zeroed memory. */
static struct window *make_window(char *memory, uintptr_t start, size_t size)
{
	struct window *w = (struct window *)(void *)(memory + SETS_SIZE(size));

	w->bits = (struct segment_bits *)(void *)memory;
	w->map.start = start;
	w->map.slots = SLOTS_IN(size);
	return w;
}

/* The first segment is at p. */
static void choose_window(const char *p)
{
	uintptr_t below = WINDOW_SIZE - WINDOW_ABOVE, first = WINDOW_FIRST - WINDOW_FIRST_ABOVE;

	slab_store.secret = sys_secret() * HASH_FACTOR2;
	slab_store.stack = sys_stack_room();
	slab_window = (uintptr_t)p > below ? (uintptr_t)p - below : 0;
	first = (uintptr_t)p - slab_window > first ? (uintptr_t)p - slab_window - first : 0;
	make_window(slab_first_memory, slab_window + (first & ~(GROUP_SIZE - 1)), WINDOW_FIRST);
}

/* Map a window of the full size; NULL when memory is exhausted. */
static struct window *map_window(uintptr_t start)
{
	char *memory = sys_map(MEMORY_SIZE(WINDOW_SIZE));

	return memory ? make_window(memory, start, WINDOW_SIZE) : NULL;
}

static void copy_group(struct window *w, size_t group, const struct segment_bits *bits)
{
	w->bits[group] = *bits;
	for (unsigned int set = 0; set < SET_COUNT; set++)
		w->summaries[set][group / 64] |= (uint64_t)(bits->words[set] != 0) << group % 64;
}

/*
 * Grow the first window to its full size. For others that read the old one meanwhile, and for a
 * fork, the new one is complete before it is found, and the old one stays as it is.
 */
static bool grow_first(void)
{
	struct window *old = window_first(), *w = map_window(slab_window);
	size_t bytes;

	if (!w)
		return false;
	bytes = old->map.start - slab_window;
	for (size_t i = 0; i < window_groups(old); i++)
		copy_group(w, bytes / GROUP_SIZE + i, &old->bits[i]);
	memcpy(w->map.bins + SLOTS_IN(bytes), old->map.bins, old->map.slots * sizeof(uint16_t));
	w->next = old->next;
	atomic_store_explicit(&slab_page_map, &w->map, memory_order_release);
	return true;
}

/* Make the window for p, beyond the first; false when memory is exhausted. */
static bool add_window(const char *p)
{
	size_t offset = (uintptr_t)p - slab_window;
	struct window *w, *last = window_first();

	if (window_place(p) >= WINDOWS) { /* with five levels of page tables, some kernels do so */
		errno = ENOMEM;
		return false;
	}
	w = map_window(slab_window + (offset & ~(WINDOW_SIZE - 1)));
	if (!w)
		return false;
	while (last->next)
		last = last->next;
	/*
	 * For a fork: a window is initialized before it is linked, and linked before it is found.
	 */
	atomic_thread_fence(memory_order_release);
	last->next = w;
	atomic_store_explicit(&slab_far_page_maps[window_place(p)], &w->map, memory_order_release);
	return true;
}

static bool is_for_first(uintptr_t p)
{
	return p - slab_window < WINDOW_SIZE;
}

/* Make sure that a window has p; false when memory is exhausted. */
static bool require_window(const char *p)
{
	if (window_of(p))
		return true;
	return is_for_first((uintptr_t)p) ? grow_first() : add_window(p);
}

/* Mapping. */

/* Whether a segment at p needs no further window, and is outside of the main stack's range. */
static bool is_place(uintptr_t p)
{
	return (is_for_first(p) || window_of((char *)p)) &&
	       (p + SEGMENT_SIZE <= slab_store.stack.start || p >= slab_store.stack.end);
}

/*
 * Rule 1: map size bytes at *hint or a few steps on; advance *hint. NULL with errno ENOMEM or
 * EEXIST.
 */
static char *map_at_hint(uintptr_t *hint, ptrdiff_t step, size_t size)
{
	char *p = NULL;

	errno = EEXIST;
	for (int i = 0; i < HINT_TRIES && !p && errno == EEXIST && is_place(*hint); i++) {
		p = sys_map_at((char *)*hint, size);
		if (p || errno == EEXIST)
			*hint += (uintptr_t)step;
	}
	return p;
}

/* Rule 4. Without excess, which a limit might not allow. NULL with errno ENOMEM or EEXIST. */
static char *map_first(size_t size)
{
	char *p = sys_map(size), *at;

	if (!p)
		return NULL;
	sys_release(p, size);
	at = p - (uintptr_t)p % SEGMENT_SIZE - SEGMENT_DISTANCE;
	if ((uintptr_t)p > 2 * SEGMENT_DISTANCE)
		return sys_map_at(at, size);
	errno = EEXIST;
	return NULL;
}

static char *map_somewhere(size_t size)
{
	const ptrdiff_t step = SEGMENT_SIZE;
	char *p = NULL;

	errno = EEXIST;
	if (!window_first()->map.slots)
		p = map_first(size);
	else if (!(p = map_at_hint(&slab_store.below, -step, size)) && errno == EEXIST)
		p = map_at_hint(&slab_store.above, step, size);
	if (p || errno != EEXIST)
		return p;
	p = sys_map_aligned(size, SEGMENT_SIZE);
	if (p) {
		slab_store.below = (uintptr_t)p - SEGMENT_SIZE;
		slab_store.above = (uintptr_t)p + SEGMENT_SIZE;
	}
	return p;
}

void *window_map_segment(size_t size)
{
	char *p;

	slab_store.map_calls++;
	p = map_somewhere(size);
	if (!p)
		return NULL;
	if (!window_first()->map.slots) {
		choose_window(p);
		slab_store.below = (uintptr_t)p - SEGMENT_SIZE;
		slab_store.above = (uintptr_t)p + SEGMENT_SIZE;
	}
	if (require_window(p))
		return p;
	sys_release(p, size);
	return NULL;
}
