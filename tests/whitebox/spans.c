// SPDX-License-Identifier: BSD-3-Clause

/*
 * Spans by themselves and in threads' caches: where they are made, how they join when they are
 * freed, grow and shrink, what is known to be zero, when pages go back, and which pointers are
 * reported. Places are compared with those that a naive search of the maps finds.
 */

#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "harness.h"
#include "large.h"
#include "slab_core.h"
#include "span_cache.h"
#include "tcache_core.h"

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))
#define PAGES(n) ((n)*PAGE_BYTES)

static void check_store(void)
{
	const char *fault = slab_check();

	CHECK_MSG(!fault, "%s", fault);
}

static size_t random_below(size_t n)
{
	static uint64_t state = 88172645463325252u;

	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (size_t)(state >> 8) % n;
}

static bool fresh;

static char *take(size_t pages)
{
	char *p;

	slab_init();
	p = span_alloc(PAGES(pages), 1, &fresh);
	CHECK(p && span_size(p) >= PAGES(pages) && span_find(p).state == SPAN_LIVE);
	check_store();
	return p;
}

static void give(char *p)
{
	span_free(p);
	check_store();
	CHECK(span_find(p).state == SPAN_NONE);
}

static size_t dirty_pages(void)
{
	return slab_store.dirty_pages;
}

/* Free runs of so many pages, in that order, with a live page between each two; where they are. */
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

/* Where. */

TEST(best_fit)
{
	static const size_t pages[] = {64, 24, 40, 30, 24, 20};
	char *holes[COUNT_OF(pages)];

	make_holes(pages, holes, COUNT_OF(pages));
	CHECK(take(20) == holes[5]);
	CHECK(take(22) == holes[1]); /* the lowest of the equals; two pages are left */
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

/* A run of which only a part is dirty is a clean one, if that part is too small. */
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
		take(9); /* what is behind stays apart */
		give(whole);
		for (size_t j = 0; j < 3; j++)
			CHECK((p[j] = take(32)) == whole + PAGES(32 * j));
		for (size_t j = 0; j < 3; j++)
			give(p[orders[i][j]]);
		CHECK(take(96) == whole);
	}
}

/* Slabs and spans have pages of one and the same segment. */
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
		check_store();
	}
	for (size_t i = 0; i < COUNT_OF(cells); i++)
		CHECK(segment_of(cells[i]) == segment_of(p) &&
		      ((char *)cells[i] >= q + PAGES(20) || (char *)cells[i] < p));
	give(p);
	slab_enter(class);
	slab_give_locked(class, cells, n);
	slab_leave(class);
	check_store();
	r = take(64); /* where slabs were */
	CHECK(r >= q + PAGES(20) && !fresh && segment_of(r) == segment_of(q));
	give(q);
	give(r);
	CHECK(slab_store.span_pages == 0);
}

/* A slot is the page map's: where a span reaches into it, free() knows. */
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
			check_store();
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
	CHECK(!span_resize(p, PAGES(21)) && span_size(p) == PAGES(20)); /* q is there */
	check_store();
	CHECK(span_resize(q, PAGES(12) - 1) && span_size(q) == PAGES(12));
	check_store();
	CHECK(dirty_pages() == 8);
	CHECK(span_resize(q, PAGES(15)) && span_size(q) == PAGES(15));
	CHECK(!span_resize(q, PAGES(21)) && span_size(q) == PAGES(15));
	CHECK(span_resize(q, PAGES(20)) && dirty_pages() == 0);
	check_store();
	for (size_t i = 0; i < PAGES(20); i++)
		CHECK(p[i] == 1 && (i >= PAGES(12) || q[i] == 2));
	give(q);
	CHECK(span_resize(p, PAGES(40)) && !span_resize(p, PAGES(41)));
	check_store();
	CHECK(span_resize(r, PAGES(512))); /* into what was never used */
	check_store();
	CHECK(!span_resize(r, SEGMENT_SIZE)); /* beyond the segment */
	CHECK(span_resize(p, 1) && span_size(p) == PAGES(1));
	check_store();
	give(p);
	give(r);
}

/* By the names: the same object stays, or has room to grow on. */
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
	check_store();
}

/* What is zero. */

static bool is_zero(const char *p, size_t size)
{
	return p[0] == 0 && memcmp(p, p + 1, size - 1) == 0;
}

TEST(fresh_is_what_was_never_used_or_purged)
{
	char *p = take(20), *q;

	CHECK(fresh);
	memset(p, 1, PAGES(20));
	q = take(20);
	CHECK(fresh && is_zero(q, PAGES(20)));
	give(p);
	CHECK(take(20) == p && !fresh);
	give(p);
	CHECK(slab_trim());
	CHECK(take(20) == p && fresh && is_zero(p, PAGES(20)));
	memset(p, 1, PAGES(20));
	CHECK(span_resize(p, PAGES(12)));
	CHECK(slab_trim());
	CHECK(span_resize(p, PAGES(20)));
	CHECK(is_zero(p + PAGES(12), PAGES(8)) && p[PAGES(12) - 1] == 1);
	give(p);
	give(q);
	CHECK(take(40) == p && !fresh);
}

TEST(calloc_is_zero)
{
	for (int i = 0; i < 2000; i++) {
		size_t size = CELL_MAX + 1 + random_below(400000);
		char *p = calloc(1, size);

		CHECK(p && is_zero(p, size));
		memset(p, 1, malloc_usable_size(p));
		if (i % 3 == 0)
			malloc_trim(0);
		free(p);
	}
}

/* Going back. */

static void sweep(void)
{
	slab_set_sweep_period(0);
	CHECK(slab_begin_sweep());
	slab_end_sweep();
	check_store();
}

/* Pages that the kernel does not take, for the program has locked them. */

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
	CHECK(slab_store.advise_calls == calls); /* no sweep tries again */
	slab_trim();
	check_store();
	CHECK(slab_store.advise_calls > calls); /* a trim does */
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
	char *p = take(20), *q = take(208), *r = take(20);
	size_t shared = (uintptr_t)q % SLAB_SIZE / PAGE_BYTES; /* pages of p near q stay as long */

	give(p);
	CHECK(dirty_pages() == 20);
	sweep(); /* it was freed since the last one */
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

/* A segment in which nothing is goes whole, but for the last one. */
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

static void free_it(void *p)
{
	free(p);
}

static void expect_report(void *p, const char *what, const char *rest)
{
	char want[200];

	snprintf(want, sizeof(want), "osmem: free(%p): %s%s", p, what, rest);
	EXPECT_ABORT(free_it, p, want);
}

TEST(pointers_into_and_past_a_span)
{
	char *p = malloc(100 * KIB), *q = malloc(100 * KIB);
	size_t size = malloc_usable_size(p);
	char rest[100];

	CHECK(p && q == p + size);
	free(q);
	malloc_trim(0); /* nothing is behind p */
	snprintf(rest, sizeof(rest), "%zu bytes at %p", size, (void *)p);
	expect_report(p + 1, "not the start of a block, but inside one of ", rest);
	expect_report(p + 16, "not the start of a block, but inside one of ", rest);
	expect_report(p + PAGES(3), "not the start of a block, but inside one of ", rest);
	expect_report(p + size - 1, "not the start of a block, but inside one of ", rest);
	expect_report(p + size, "not a block of this allocator", "");
	free(p);
}

TEST(freed_twice)
{
	char *p = malloc(100 * KIB), *q = malloc(SPAN_MAX), *r = malloc(CELL_MAX + 1);
	char rest[100];

	CHECK(p && q && r);
	snprintf(rest, sizeof(rest), "%zu bytes at %p", malloc_usable_size(p), (void *)p);
	free(p); /* kept */
	expect_report(p, "this block is already free", "");
	expect_report(p + 64, "not the start of a block, but inside a free one of ", rest);
	free(q); /* too large to be kept */
	expect_report(q, "this memory is already free", "");
	free(r);
	expect_report(r, "this block is already free", "");
	malloc_trim(0);
	CHECK(!span_is_near(q));
	expect_report(q, "not a block of this allocator", "");
}

/* Kept spans. */

static void allocate_100k(void *arg)
{
	(void)arg;
	free(malloc(100 * KIB));
}

/*
 * Two threads that free p at once may both keep it, for its mark is written with a plain store.
 * Whoever takes it second finds it live.
 */
TEST(freed_twice_in_the_same_moment)
{
	void *p = malloc(100 * KIB);
	char want[100];

	free(p);
	span_set_kept(p, false); /* as if the other one had taken it */
	snprintf(want, sizeof(want), "osmem: free(%p): this block is already free", p);
	EXPECT_ABORT(allocate_100k, NULL, want);
}

static struct span_cache *own(void)
{
	struct tcache *tc = tcache_thread.own;

	CHECK(tc && tc->spans);
	return tc->spans;
}

static void check_kept(void)
{
	const char *fault = tcache_check();

	CHECK_MSG(!fault, "%s", fault);
	CHECK(own()->bytes <= SPAN_CACHE_BYTES);
}

TEST(a_kept_span_is_the_next_of_its_size)
{
	char *p = malloc(100 * KIB), *q;
	size_t frees;

	CHECK(p);
	frees = slab_store.span_frees;
	free(p);
	CHECK(span_cache_count(own()) == 1 && own()->bytes == span_size(p));
	CHECK(span_find(p).state == SPAN_FREE && slab_store.span_frees == frees);
	q = malloc(200 * KIB);
	CHECK(q != p && span_cache_count(own()) == 1);
	CHECK(malloc(100 * KIB - 500) == p && own()->bytes == 0);
	CHECK(span_find(p).state == SPAN_LIVE);
	check_kept();
	free(q);
	free(p);
}

/* One of the next two classes is taken, before the page heap is asked. */
TEST(a_kept_span_serves_two_classes_below)
{
	char *p = malloc(112 * KIB), *q, *r;
	size_t allocs;

	CHECK(p && span_class_of(112 * KIB) == span_class_of(96 * KIB) + 2);
	free(p);
	allocs = slab_store.span_allocs;
	CHECK(q = malloc(88 * KIB)); /* three classes below */
	CHECK(q != p && slab_store.span_allocs == allocs + 1);
	CHECK((r = malloc(96 * KIB)) == p && malloc_usable_size(r) == 112 * KIB);
	CHECK(slab_store.span_allocs == allocs + 1 && span_cache_count(own()) == 0);
	free(r);
	CHECK(span_cache_count(own()) == 1 && own()->count[span_class_of(112 * KIB)] == 1);
	check_kept();
	free(q);
}

TEST(a_kept_span_serves_the_alignment_that_it_has)
{
	char *p = aligned_alloc(128 * KIB, 128 * KIB), *q = malloc(128 * KIB), *low, *high;

	CHECK(p && q);
	while ((uintptr_t)q % (128 * KIB) == 0)
		CHECK(q = malloc(128 * KIB));
	free(p);
	CHECK(aligned_alloc(128 * KIB, 128 * KIB) == p && span_cache_count(own()) == 0);
	free(q);
	CHECK(low = aligned_alloc(128 * KIB, 128 * KIB));
	CHECK((uintptr_t)low % (128 * KIB) == 0 && span_cache_count(own()) == 1);
	CHECK((high = aligned_alloc(4096, 128 * KIB)) == q);
	check_kept();
}

/* A thread that frees no span needs no memory for keeping them. */
TEST(no_cache_before_a_span_is_freed)
{
	char *p = malloc(100 * KIB);

	CHECK(p && own() == &span_cache_none);
	free(p);
	CHECK(own() != &span_cache_none && span_cache_count(&span_cache_none) == 0);
	CHECK(span_cache_count(own()) == 1);
}

TEST(kept_spans_are_bounded)
{
	static void *p[200];

	for (size_t i = 0; i < COUNT_OF(p); i++)
		CHECK(p[i] = malloc(CELL_MAX + 1 + random_below(600 * KIB)));
	for (size_t i = 0; i < COUNT_OF(p); i++) {
		free(p[i]);
		check_kept();
	}
	CHECK(own()->bytes > SPAN_CACHE_BYTES / 4);
	for (size_t i = 0; i < 10; i++)
		CHECK(p[i] = malloc(40000));
	for (size_t i = 0; i < 10; i++)
		free(p[i]);
	CHECK(own()->count[span_class_of(40000)] == SPAN_CACHE_DEPTH);
	check_kept();
	free(malloc(SPAN_KEPT_MAX + 1)); /* too large */
	CHECK(own()->count[span_class_of(SPAN_KEPT_MAX + 1)] == 0);
	free(malloc(SPAN_KEPT_MAX)); /* it counts twice: all others give way */
	check_kept();
	CHECK(own()->bytes == SPAN_KEPT_MAX && span_cache_count(own()) == 1);
}

/* What was not used between two sweeps goes. */
TEST(kept_spans_shrink_at_sweeps)
{
	char *p = malloc(100 * KIB), *q = malloc(300 * KIB);

	free(p);
	free(q);
	slab_set_sweep_period(0);
	tcache_look(tcache_thread.own);
	CHECK(span_cache_count(own()) == 2);
	CHECK(malloc(100 * KIB) == p);
	free(p);
	tcache_look(tcache_thread.own);
	CHECK(span_cache_count(own()) == 1 && span_find(q).state == SPAN_NONE);
	tcache_look(tcache_thread.own);
	CHECK(span_cache_count(own()) == 0);
	check_kept();
}

static void *keep_some(void *arg)
{
	for (size_t size = 40000; size < 300000; size += 10000)
		free(malloc(size));
	CHECK(span_cache_count(own()) > 2);
	return arg;
}

TEST(a_thread_leaves_no_kept_span)
{
	pthread_t thread;
	struct span_stats spans;

	CHECK(pthread_create(&thread, NULL, keep_some, NULL) == 0);
	CHECK(pthread_join(thread, NULL) == 0);
	span_get_stats(&spans);
	CHECK(spans.spans == 0 && spans.bytes == 0);
	check_store();
}

/* A span that was cut or is of no class's size is not kept. */
TEST(odd_spans_are_not_kept)
{
	char *p = malloc(200 * KIB);

	CHECK(realloc(p, 150 * KIB + 1) == p);
	free(p);
	CHECK(span_find(p).state != SPAN_FREE ||
	      span_size(p) == PAGES(span_pages_for(span_size(p))));
	free(malloc(1));
	free(malloc(50000));
	check_kept();
}

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

/* The smallest run of g with n pages, and the largest class of its runs that is enough: place. */
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

/* Where n pages have to be; NULL: in a new segment. */
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
	size_t pages = 9 + random_below(random_below(8) ? 60 : 500);
	size_t align = random_below(8) ? 1 : PAGE_BYTES << random_below(9);
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
	size_t pages = 1 + random_below(2 * spans[i].pages), old = spans[i].pages;

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
	slab_set_sweep_period(0);
	test_timeout(120);
	for (size_t nr = 0; nr < STEPS; nr++) {
		size_t i = random_below(nr % 20000 < 10000 ? SPANS : SPANS / 5);

		if (!spans[i].p) {
			make(i);
		} else if (random_below(3) == 0) {
			resize(i);
		} else {
			check_marks(i, spans[i].pages);
			span_free(spans[i].p);
			spans[i].p = NULL;
		}
		if (random_below(500) == 0)
			slab_trim();
		if (random_below(100) == 0)
			sweep();
		if (nr % 16 == 0)
			check_store();
	}
	for (size_t i = 0; i < SPANS; i++)
		if (spans[i].p)
			span_free(spans[i].p);
	check_store();
	CHECK(slab_store.span_pages == 0);
}
