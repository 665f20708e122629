// SPDX-License-Identifier: BSD-3-Clause
// Needs: objects

/* Page caches of threads. */

#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>

#include "broken.h"
#include "cache/span_cache.h"
#include "cache/tcache_core.h"
#include "harness.h"
#include "slab/slab_core.h"
#include "slab/spans.h"

static uint64_t random_state = 1;

/* Cached spans. */

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

/* A span of the next two classes is preferred to the page heap. */
TEST(a_kept_span_serves_two_classes_below)
{
	char *p = malloc(112 * KIB), *q, *r;
	size_t allocs;

	test_needs_small_pages();
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

/* A thread that frees no span has no page cache. */
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

	test_needs_small_pages();
	for (size_t i = 0; i < COUNT_OF(p); i++)
		CHECK(p[i] = malloc(CELL_MAX + 1 + random_below(&random_state, 600 * KIB)));
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
	free(malloc(SPAN_CACHED_MAX + 1)); /* too large */
	CHECK(own()->count[span_class_of(SPAN_CACHED_MAX + 1)] == 0);
	free(malloc(SPAN_CACHED_MAX)); /* it counts twice: all others are evicted */
	check_kept();
	CHECK(own()->bytes == SPAN_CACHED_MAX && span_cache_count(own()) == 1);
}

/* What was not used between two scavenges is freed. */
TEST(kept_spans_shrink_at_sweeps)
{
	char *p = malloc(100 * KIB), *q = malloc(300 * KIB);

	free(p);
	free(q);
	slab_sweep_period_ms = 0;
	tcache_scavenge(tcache_thread.own);
	CHECK(span_cache_count(own()) == 2);
	CHECK(malloc(100 * KIB) == p);
	free(p);
	tcache_scavenge(tcache_thread.own);
	CHECK(span_cache_count(own()) == 1 && span_find(q).state == SPAN_NONE);
	tcache_scavenge(tcache_thread.own);
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
	expect_sound(slab_check);
}

/* A span that was trimmed, or whose size is no class's, is not cached. */
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
