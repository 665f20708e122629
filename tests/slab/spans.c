// SPDX-License-Identifier: BSD-3-Clause
// Needs: objects

/*
 * Spans on their own: where they are placed, how they coalesce, grow and shrink, what is known to
 * be zero, when pages are purged, and which pointers are reported.
 */

#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "broken.h"
#include "cache/span_cache.h"
#include "cache/tcache_core.h"
#include "harness.h"
#include "places.h"
#include "reports.h"
#include "slab/slab_core.h"
#include "spans.h"

static uint64_t random_state = 1;
static bool fresh;

static char *take(size_t pages)
{
	char *p;

	slab_init();
	p = span_alloc(PAGES(pages), 1, &fresh);
	CHECK(p && span_size(p) >= PAGES(pages) && span_find(p).state == SPAN_LIVE);
	expect_sound(slab_check);
	return p;
}

static void give(char *p)
{
	span_free(p);
	expect_sound(slab_check);
	CHECK(span_find(p).state == SPAN_NONE);
}

static size_t dirty_pages(void)
{
	return slab_store.dirty_pages;
}

/*
 * Make free runs of the given numbers of pages, in that order, with a live page between them.
 * Stores their addresses.
 */
static void make_holes(const size_t *pages, char **holes, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		holes[i] = take(pages[i]);
		CHECK(i == 0 || holes[i] > holes[i - 1]);
		take(9);
	}
	for (size_t i = 0; i < n; i++)
		give(holes[i]);
}

/* Placement. */

TEST(best_fit)
{
	static const size_t pages[] = {64, 24, 40, 30, 24, 20};
	char *holes[COUNT_OF(pages)];

	make_holes(pages, holes, COUNT_OF(pages));
	CHECK(take(20) == holes[5]);
	CHECK(take(22) == holes[1]); /* the lowest of equal runs; two pages are left */
	CHECK(take(24) == holes[4]);
	CHECK(take(36) == holes[2]);
	CHECK(take(26) == holes[3]);
	CHECK(take(64) == holes[0]);
}

TEST(dirty_runs_first)
{
	static const size_t pages[] = {20, 128};
	char *holes[COUNT_OF(pages)];

	make_holes(pages, holes, COUNT_OF(pages));
	CHECK(slab_trim() && dirty_pages() == 0);
	give(take(128)); /* only this one is dirty */
	CHECK(dirty_pages() == 128);
	CHECK(take(20) == holes[1] && !fresh);
	CHECK(take(104) == holes[1] + PAGES(20) && !fresh);
	CHECK(take(20) == holes[0] && fresh);
}

/* A partly dirty run counts as clean if its dirty part is too small. */
TEST(runs_that_are_dirty_in_part)
{
	char *p = take(40);

	give(p);
	CHECK(take(40) == p && !fresh);
	give(p);
	CHECK(slab_trim());
	give(take(20));
	CHECK(dirty_pages() == 20);
	CHECK(take(40) == p && !fresh);
}

TEST(neighbours_join_in_any_order)
{
	static const unsigned int orders[][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2},
						 {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
	char *p[3], *whole;

	for (size_t i = 0; i < COUNT_OF(orders); i++) {
		whole = take(96);
		take(9); /* what is behind is not coalesced */
		give(whole);
		for (size_t j = 0; j < 3; j++)
			CHECK((p[j] = take(32)) == whole + PAGES(32 * j));
		for (size_t j = 0; j < 3; j++)
			give(p[orders[i][j]]);
		CHECK(take(96) == whole);
	}
}

/* Slabs and spans share a segment. */
TEST(beside_slabs)
{
	unsigned int class = class_of_size(8000);
	char *p = take(20), *q = take(20), *r;
	static void *cells[100];
	unsigned int n = 0;

	while (n < COUNT_OF(cells)) {
		slab_enter(class);
		n += slab_take_locked(class, 0, cells + n, COUNT_OF(cells) - n, NULL);
		slab_leave(class);
		expect_sound(slab_check);
	}
	for (size_t i = 0; i < COUNT_OF(cells); i++)
		CHECK(segment_of(cells[i]) == segment_of(p) &&
		      ((char *)cells[i] >= q + PAGES(20) || (char *)cells[i] < p));
	give(p);
	slab_enter(class);
	slab_give_locked(class, cells, n);
	slab_leave(class);
	expect_sound(slab_check);
	r = take(64); /* where slabs were */
	CHECK(r >= q + PAGES(20) && !fresh && segment_of(r) == segment_of(q));
	give(q);
	give(r);
	CHECK(slab_store.span_pages == 0);
}

/* The page map has an entry for each slot: free() recognises a span that reaches into one. */
TEST(page_map)
{
	char *start, *p, *q;

	slab_init();
	p = span_alloc(PAGES(20), SLAB_SIZE, &fresh);
	q = span_alloc(PAGES(9), PAGE_BYTES, &fresh);
	start = (char *)segment_of(p);
	CHECK(p && q == p + PAGES(20));
	CHECK(!span_is_near(start) && !span_is_near(p - 1) && span_is_near(p));
	CHECK(span_is_near(p + PAGES(31)) && !span_is_near(p + PAGES(32)));
	CHECK(!span_is_near(start + SEGMENT_SIZE) && !span_is_near(start - 1));
	give(p);
	CHECK(!span_is_near(p) && span_is_near(q) && span_is_near(q - PAGES(4)));
	give(q);
	CHECK(!span_is_near(q));
}

TEST(every_alignment)
{
	static const size_t pages[] = {1, 2, 9, 16, 20, 52, 100, 512};
	char *p[COUNT_OF(pages)][9];

	slab_init();
	take(9);
	for (size_t i = 0; i < COUNT_OF(pages); i++)
		for (size_t align = PAGE_BYTES, j = 0; align <= SPAN_ALIGN_MAX; align *= 2, j++) {
			p[i][j] = span_alloc(PAGES(pages[i]), align, &fresh);
			CHECK(p[i][j] && (uintptr_t)p[i][j] % align == 0);
			CHECK(span_size(p[i][j]) >= PAGES(pages[i]));
			memset(p[i][j], 1, PAGES(pages[i]));
			expect_sound(slab_check);
		}
	for (size_t i = 0; i < COUNT_OF(pages); i++)
		for (size_t j = 0; j < 9; j++)
			give(p[j % 2 ? i : COUNT_OF(pages) - 1 - i][j]);
	CHECK(slab_store.span_pages == 9);
}

/* Size. */

TEST(sizes_are_an_eighth_too_large_at_most)
{
	size_t last = 0;

	for (size_t size = CELL_MAX + 1; size <= SPAN_MAX; size += 1000) {
		size_t pages = span_pages_for(size);

		CHECK(PAGES(pages) >= size && pages >= last);
		CHECK(PAGES(pages) < size + PAGE_BYTES + size / 8);
		CHECK(run_class(pages) == run_class_over(pages));
		CHECK(span_class_of(size) < SPAN_CLASSES);
		last = pages;
	}
}

TEST(growing_and_shrinking_in_place)
{
	char *p = take(20), *q = take(20), *r = take(20);

	memset(p, 1, PAGES(20));
	memset(q, 2, PAGES(20));
	CHECK(!span_resize(p, PAGES(21)) && span_size(p) == PAGES(20)); /* q is in its way */
	expect_sound(slab_check);
	CHECK(span_resize(q, PAGES(12) - 1) && span_size(q) == PAGES(12));
	expect_sound(slab_check);
	CHECK(dirty_pages() == 8);
	CHECK(span_resize(q, PAGES(15)) && span_size(q) == PAGES(15));
	CHECK(!span_resize(q, PAGES(21)) && span_size(q) == PAGES(15));
	CHECK(span_resize(q, PAGES(20)) && dirty_pages() == 0);
	expect_sound(slab_check);
	for (size_t i = 0; i < PAGES(20); i++)
		CHECK(p[i] == 1 && (i >= PAGES(12) || q[i] == 2));
	give(q);
	CHECK(span_resize(p, PAGES(40)) && !span_resize(p, PAGES(41)));
	expect_sound(slab_check);
	CHECK(span_resize(r, PAGES(512))); /* into what was never used */
	expect_sound(slab_check);
	CHECK(!span_resize(r, SEGMENT_SIZE)); /* beyond the segment */
	CHECK(span_resize(p, 1) && span_size(p) == PAGES(1));
	expect_sound(slab_check);
	give(p);
	give(r);
}

/* Through realloc: the object stays in place, or gets headroom. */
TEST(realloc_in_place)
{
	size_t moves = 0;
	char *p = malloc(40000), *q;

	for (size_t size = 40000; size < SPAN_MAX; size += 8000) {
		CHECK(q = realloc(p, size));
		moves += q != p;
		p = q;
		memset(p, 1, size);
		CHECK(malloc_usable_size(p) >= size);
	}
	CHECK_MSG(moves < 20, "%zu moves", moves);
	for (size_t size = SPAN_MAX; size > 40000; size -= 8000) {
		CHECK((p = realloc(p, size)) &&
		      malloc_usable_size(p) <= size + size / 32 * 9 + 4096);
		CHECK(p[size - 1] == 1 || size > SPAN_MAX - 8000);
	}
	free(p);
	expect_sound(slab_check);
}

/* Zeroed memory. */

TEST(fresh_is_what_was_never_used_or_purged)
{
	char *p = take(20), *q;

	CHECK(fresh);
	memset(p, 1, PAGES(20));
	q = take(20);
	CHECK(fresh && is_all(q, PAGES(20), 0));
	give(p);
	CHECK(take(20) == p && !fresh);
	give(p);
	CHECK(slab_trim());
	CHECK(take(20) == p && fresh && is_all(p, PAGES(20), 0));
	memset(p, 1, PAGES(20));
	CHECK(span_resize(p, PAGES(12)));
	CHECK(slab_trim());
	CHECK(span_resize(p, PAGES(20)));
	CHECK(is_all(p + PAGES(12), PAGES(8), 0) && p[PAGES(12) - 1] == 1);
	give(p);
	give(q);
	CHECK(take(40) == p && !fresh);
}

TEST(calloc_is_zero)
{
	for (int i = 0; i < 2000; i++) {
		size_t size = CELL_MAX + 1 + random_below(&random_state, 400000);
		char *p = calloc(1, size);

		CHECK(p && is_all(p, size, 0));
		memset(p, 1, malloc_usable_size(p));
		if (i % 3 == 0)
			malloc_trim(0);
		free(p);
	}
}

/* Pages that cannot be purged because the program has locked them. */

static bool is_stuck(const char *p)
{
	size_t page = (uintptr_t)p % SEGMENT_SIZE / PAGE_BYTES;

	return segment_of(p)->maps.stuck[page / 64] >> page % 64 & 1;
}

TEST(stuck_pages)
{
	char *p = take(64);
	size_t calls;

	memset(p, 1, PAGES(64));
	if (mlock(p + PAGES(21), PAGES(2)))
		test_skip("memory may not be locked");
	give(p);
	sweep();
	sweep();
	CHECK(dirty_pages() == 0);
	for (size_t i = 0; i < 64; i++) {
		CHECK(is_stuck(p + PAGES(i)) == (i == 21 || i == 22));
		CHECK(p[PAGES(i)] == (i == 21 || i == 22));
	}
	calls = slab_store.advise_calls;
	sweep();
	CHECK(slab_store.advise_calls == calls); /* no scavenge retries */
	slab_trim();
	expect_sound(slab_check);
	CHECK(slab_store.advise_calls > calls); /* a trim retries */
	CHECK(dirty_pages() == 0 && is_stuck(p + PAGES(21)) && is_stuck(p + PAGES(22)));
	CHECK(take(20) == p && fresh);
	CHECK(take(40) == p + PAGES(20) && !fresh && !is_stuck(p + PAGES(21)));
	give(p + PAGES(20));
	CHECK(dirty_pages() == 40);
	slab_trim();
	CHECK(dirty_pages() == 0 && is_stuck(p + PAGES(21)));
	munlock(p + PAGES(21), PAGES(2));
	slab_trim();
	CHECK(dirty_pages() == 0 && !is_stuck(p + PAGES(21)) && p[PAGES(21)] == 0);
	CHECK(take(40) == p + PAGES(20) && fresh);
}

TEST(pages_go_after_a_period)
{
	char *p, *q, *r;
	size_t shared;

	map_whole_segment();
	p = take(20), q = take(208), r = take(20);
	shared = (uintptr_t)q % SLAB_SIZE / PAGE_BYTES; /* so do pages of p near q */
	give(p);
	CHECK(dirty_pages() == 20);
	sweep(); /* it was freed after the last one */
	CHECK(dirty_pages() == 20);
	give(q);
	sweep();
	CHECK(q == p + PAGES(20) && dirty_pages() == 208 + shared);
	sweep();
	CHECK(dirty_pages() == 0);
	CHECK(take(20) == p && fresh);
	give(r);
	CHECK(dirty_pages() == 20);
}

/* An empty segment is unmapped, except for the last one. */
TEST(empty_segments_go)
{
	char *p[8];

	for (size_t i = 0; i < COUNT_OF(p); i++)
		p[i] = take(SPAN_MAX / PAGE_BYTES);
	CHECK(slab_store.segments == COUNT_OF(p));
	for (size_t i = 0; i < COUNT_OF(p); i++)
		give(p[i]);
	sweep();
	CHECK(slab_store.segments == COUNT_OF(p));
	sweep();
	CHECK(slab_store.segments == 1 && dirty_pages() == 0);
}

/* Pointers. */

TEST(pointers_into_and_past_a_span)
{
	char *p = malloc(100 * KIB), *q = malloc(100 * KIB);
	size_t size = malloc_usable_size(p);
	char rest[100];

	CHECK(p && q == p + size);
	free(q);
	malloc_trim(0); /* p is followed by free memory */
	snprintf(rest, sizeof(rest), "%zu bytes at %p", size, (void *)p);
	expect_free_report(p + 1, "not the start of a block, but inside one of ", rest);
	expect_free_report(p + 16, "not the start of a block, but inside one of ", rest);
	expect_free_report(p + PAGES(3), "not the start of a block, but inside one of ", rest);
	expect_free_report(p + size - 1, "not the start of a block, but inside one of ", rest);
	expect_free_report(p + size, "not a block of this allocator", "");
	free(p);
}

TEST(freed_twice)
{
	char *p = malloc(100 * KIB), *q = malloc(SPAN_MAX), *r = malloc(CELL_MAX + 1);
	char rest[100];

	CHECK(p && q && r);
	snprintf(rest, sizeof(rest), "%zu bytes at %p", malloc_usable_size(p), (void *)p);
	free(p); /* cached */
	expect_free_report(p, "this block is already free", "");
	expect_free_report(p + 64, "not the start of a block, but inside a free one of ", rest);
	free(q); /* too large to be cached */
	expect_free_report(q, "this memory is already free", "");
	free(r);
	expect_free_report(r, "this block is already free", "");
	malloc_trim(0);
	CHECK(!span_is_near(q));
	expect_free_report(q, "not a block of this allocator", "");
}

/* Cached spans. */

static void allocate_100k(void *arg)
{
	(void)arg;
	free(malloc(100 * KIB));
}

/*
 * Two threads that free p at once may both cache it, because its mark is written with a plain
 * store. The second to take it finds it live.
 */
TEST(freed_twice_in_the_same_moment)
{
	void *p = malloc(100 * KIB);
	char want[100];

	free(p);
	span_set_cached(p, false); /* as if the other thread had taken it */
	snprintf(want, sizeof(want), "osmem: free(%p): this block is already free", p);
	EXPECT_ABORT(allocate_100k, NULL, want);
}
