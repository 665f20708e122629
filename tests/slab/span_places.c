// SPDX-License-Identifier: BSD-3-Clause
// Needs: objects

/* Random spans are placed where a naive search of the maps finds room. */

#include <stdint.h>
#include <sys/mman.h>

#include "broken.h"
#include "harness.h"
#include "slab/slab_core.h"
#include "spans.h"

static uint64_t random_state = 1;
static bool fresh;

/* Random calls against a naive search. */

struct place {
	const struct segment *g;
	size_t start, class;
};

static bool is_set(const uint64_t *map, size_t page)
{
	return map[page / 64] >> page % 64 & 1;
}

static bool is_of_kind(const struct segment *g, enum run_kind kind, size_t page)
{
	return kind == RUN_DIRTY ? is_set(g->maps.dirty, page) : !is_set(g->maps.taken, page);
}

/*
 * The size of the smallest run of g with at least n pages. place gets its start, and the lowest
 * class of runs that surely suffices.
 */
static size_t smallest_run(const struct segment *g, enum run_kind kind, size_t n,
			   struct place *place)
{
	size_t smallest = SIZE_MAX;

	place->class = SIZE_MAX;
	for (size_t page = 0, end; page < MAP_PAGES; page = end + 1) {
		for (end = page; end < MAP_PAGES && is_of_kind(g, kind, end); end++)
			;
		if (end - page < n)
			continue;
		if (run_class(end - page) >= run_class_over(n) &&
		    run_class(end - page) < place->class)
			place->class = run_class(end - page);
		if (end - page >= smallest)
			continue;
		smallest = end - page;
		place->start = page;
	}
	return smallest;
}

/* Where n pages must be placed; NULL: in a new segment. */
static char *naive_place(size_t n)
{
	for (int kind = RUN_DIRTY; kind >= RUN_FREE; kind--) {
		struct place best = {.class = SIZE_MAX}, place;

		for (place.g = NULL; (place.g = segment_next(SET_LIVE, place.g));) {
			if (place.g->is_own ||
			    smallest_run(place.g, (enum run_kind)kind, n, &place) == SIZE_MAX)
				continue;
			if (place.class < best.class)
				best = place;
		}
		if (best.class < SIZE_MAX)
			return (char *)(uintptr_t)best.g + PAGES(best.start);
	}
	return NULL;
}

#define SPANS 150
#define STEPS 100000

static struct {
	char *p;
	size_t pages;
} spans[SPANS];

static void mark(size_t i)
{
	for (size_t page = 0; page < spans[i].pages; page++)
		*(size_t *)(void *)(spans[i].p + PAGES(page)) = i + 1;
}

static void check_marks(size_t i, size_t pages)
{
	for (size_t page = 0; page < pages; page++)
		CHECK(*(size_t *)(void *)(spans[i].p + PAGES(page)) == i + 1);
}

static void make(size_t i)
{
	size_t pages = 9 + random_below(&random_state, random_below(&random_state, 8) ? 60 : 500);
	size_t align =
		random_below(&random_state, 8) ? 1 : PAGE_BYTES << random_below(&random_state, 9);
	char *place = naive_place(span_pages_for(PAGES(pages)));

	spans[i].p = span_alloc(PAGES(pages), align, &fresh);
	CHECK(spans[i].p && (uintptr_t)spans[i].p % align == 0);
	CHECK(align > PAGE_BYTES || !place || place == spans[i].p);
	spans[i].pages = span_size(spans[i].p) / PAGE_BYTES;
	for (size_t page = 0; fresh && page < spans[i].pages; page++)
		CHECK(*(size_t *)(void *)(spans[i].p + PAGES(page)) == 0);
	mark(i);
}

static void resize(size_t i)
{
	size_t pages = 1 + random_below(&random_state, 2 * spans[i].pages), old = spans[i].pages;

	if (span_resize(spans[i].p, PAGES(pages)))
		spans[i].pages = pages;
	else
		CHECK(pages > old);
	CHECK(span_size(spans[i].p) == PAGES(spans[i].pages));
	check_marks(i, old < spans[i].pages ? old : spans[i].pages);
	mark(i);
}

TEST(random_spans)
{
	slab_init();
	slab_sweep_period_ms = 0;
	test_timeout(120);
	for (size_t nr = 0; nr < STEPS; nr++) {
		size_t i = random_below(&random_state, nr % 20000 < 10000 ? SPANS : SPANS / 5);

		if (!spans[i].p) {
			make(i);
		} else if (random_below(&random_state, 3) == 0) {
			resize(i);
		} else {
			check_marks(i, spans[i].pages);
			span_free(spans[i].p);
			spans[i].p = NULL;
		}
		if (random_below(&random_state, 500) == 0)
			slab_trim();
		if (random_below(&random_state, 100) == 0)
			sweep();
		if (nr % 16 == 0)
			expect_sound(slab_check);
	}
	for (size_t i = 0; i < SPANS; i++)
		if (spans[i].p)
			span_free(spans[i].p);
	expect_sound(slab_check);
	CHECK(slab_store.span_pages == 0);
}
