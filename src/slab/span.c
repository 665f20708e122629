// SPDX-License-Identifier: BSD-3-Clause

/*
 * Spans, over the page heap of segment.c: best fit, dirty pages first, then lowest address. A
 * bitmap of pages needs no coalescing.
 */

#include "slab_core.h"

_Static_assert(SPAN_MAX / PAGE_BYTES <= SPAN_PAGES, "a word has room for a span's pages");
_Static_assert((SPAN_MAX + SPAN_ALIGN_MAX) / PAGE_BYTES <= MAP_PAGES - 2 * SLOT_PAGES,
	       "every aligned span fits an empty segment, a hardened one's too");

static char *page_at(const struct segment *g, size_t page)
{
	return (char *)(uintptr_t)g + page * PAGE_BYTES;
}

/* Update the page map for slots without a slab, after run was taken or freed. */
static void map_slots_of(const struct segment *g, struct page_run run)
{
	uint16_t *map = segment_page_map(g);

	for (size_t slot = run.start / SLOT_PAGES; slot * SLOT_PAGES < run.end; slot++) {
		uint16_t bin = g->used >> slot & 1 ? SLAB_BIN_SPAN : 0;

		if (map[slot] != bin) /* avoids sharing misses: other threads read it */
			map[slot] = bin;
	}
}

static void count_pages(size_t pages)
{
	slab_store.span_pages += pages;
	if (slab_store.span_pages > slab_store.span_pages_peak)
		slab_store.span_pages_peak = slab_store.span_pages;
}

/* A span of pages starts at page. */
static void set_word(struct segment *g, size_t page, size_t pages)
{
	bool is_whole = pages * PAGE_BYTES > CELL_MAX && pages * PAGE_BYTES <= SPAN_MAX &&
			span_pages_for(pages * PAGE_BYTES) == pages;

	atomic_store_explicit(&g->spans[page], (uint16_t)(pages | (is_whole ? SPAN_WHOLE : 0)),
			      memory_order_release);
}

void *span_alloc(size_t size, size_t align, bool *fresh)
{
	size_t page = sys_page_size(), pages = span_pages_for(round_up(size, page));
	struct page_run run;
	struct segment *g;

	align = align > page ? align / PAGE_BYTES : page / PAGE_BYTES;
	pages = round_up(pages, page / PAGE_BYTES);
	store_lock();
	g = segment_find_run(pages, align, &run);
	if (!g) {
		store_unlock();
		return NULL;
	}
	*fresh = segment_take_pages(g, run);
	set_word(g, run.start, pages);
	map_slots_of(g, run);
	slab_store.span_allocs++;
	count_pages(pages);
	store_unlock();
	return page_at(g, run.start);
}

static void free_pages(struct segment *g, struct page_run run)
{
	segment_give_pages(g, run);
	map_slots_of(g, run);
	slab_store.span_pages -= run.end - run.start;
}

static struct page_run pages_of(const void *p)
{
	size_t first = (uintptr_t)p % SEGMENT_SIZE >> PAGE_SHIFT;

	return (struct page_run){first, first + span_size(p) / PAGE_BYTES};
}

/* Validate the span at run: a damaged word may lead anywhere. The caller holds the lock. */
static void require_span(const struct segment *g, struct page_run run)
{
	segment_validate(g);
	if (run.start < run.end && run.end <= MAP_PAGES &&
	    !(g->spans[run.start] & ~(SPAN_CACHED | SPAN_WHOLE | SPAN_PAGES)) &&
	    map_count(g->maps.taken, run) == run.end - run.start)
		return;
	store_unlock();
	sys_fatal("heap", &g->spans[run.start], "the header of a segment is overwritten");
}

void span_free(void *p)
{
	struct segment *g = segment_of(p);
	struct page_run run = pages_of(p);

	store_lock();
	require_span(g, run);
	atomic_store_explicit(&g->spans[run.start], 0, memory_order_release);
	slab_store.span_frees++;
	free_pages(g, run);
	store_unlock();
}

/* Take the pages of more, directly behind a span, if they are free. */
static bool take_behind(struct segment *g, struct page_run more)
{
	if (more.end > MAP_PAGES)
		return false;
	segment_grow_to(g, more);
	if (map_count(g->maps.taken, more))
		return false;
	segment_take_pages(g, more);
	map_slots_of(g, more);
	count_pages(more.end - more.start);
	return true;
}

bool span_resize(void *p, size_t size)
{
	struct segment *g = segment_of(p);
	struct page_run run = pages_of(p);
	size_t pages = round_up(size, sys_page_size()) / PAGE_BYTES, end = run.start + pages;
	bool is_done = true;

	store_lock();
	require_span(g, run);
	if (end > run.end)
		is_done = take_behind(g, (struct page_run){run.end, end});
	if (is_done)
		set_word(g, run.start, pages);
	if (end < run.end)
		free_pages(g, (struct page_run){end, run.end});
	store_unlock();
	return is_done;
}

struct span_ref span_find(const void *p)
{
	size_t page = (uintptr_t)p % SEGMENT_SIZE >> PAGE_SHIFT, first = page;
	struct span_ref ref = {.state = SPAN_NONE};
	const struct segment *g;
	uint16_t word;

	if (!span_is_near(p))
		return ref;
	g = segment_of(p);
	while (!g->spans[first] && first > SLOT_PAGES)
		first--;
	word = g->spans[first];
	if (page - first >= (word & SPAN_PAGES))
		return ref;
	ref.start = page_at(g, first);
	ref.size = (word & SPAN_PAGES) * PAGE_BYTES;
	if (word & SPAN_CACHED)
		ref.state = SPAN_FREE;
	else
		ref.state = ref.start == p ? SPAN_LIVE : SPAN_INSIDE;
	return ref;
}

bool span_is_freed(const void *p)
{
	size_t page = (uintptr_t)p % SEGMENT_SIZE >> PAGE_SHIFT;
	bool is_freed;

	store_lock();
	is_freed = segment_is_in(p, SET_LIVE) &&
		   map_count(segment_of(p)->maps.dirty, (struct page_run){page, page + 1});
	store_unlock();
	return is_freed;
}

void span_get_stats(struct span_stats *stats)
{
	store_lock();
	*stats = (struct span_stats){.allocs = slab_store.span_allocs,
				     .frees = slab_store.span_frees,
				     .spans = slab_store.span_allocs - slab_store.span_frees,
				     .bytes = slab_store.span_pages * PAGE_BYTES,
				     .peak_bytes = slab_store.span_pages_peak * PAGE_BYTES};
	store_unlock();
}
