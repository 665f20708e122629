// SPDX-License-Identifier: BSD-3-Clause
// Needs: objects

/* Thread exit: what is released, and cells that pass from exiting threads to others. */

#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "broken.h"
#include "cache/tcache_core.h"
#include "caches.h"
#include "harness.h"
#include "slab/slab_core.h"

/* Cells that are neither in use nor in the store. */
static size_t cached_cells(void)
{
	struct tcache_stats stats;

	tcache_get_stats(&stats);
	return stats.cached_cells;
}

/* Between threads. */

static pthread_barrier_t barrier;

/* Thread exit. */

static void *use_all_classes(void *arg)
{
	for (unsigned int class = 1; class < CLASS_COUNT; class += 1)
		for (unsigned int i = 0; i < 2u * magazine_capacity(class) + 1; i++)
			CHECK((cells[i] = malloc(class_size(class))));
	return arg;
}

static void *use_and_free_all_classes(void *arg)
{
	for (unsigned int class = 1; class < CLASS_COUNT; class += 1) {
		unsigned int n = 2u * magazine_capacity(class) + 1;

		for (unsigned int i = 0; i < n; i++)
			CHECK((cells[i] = malloc(class_size(class))));
		free_cells(n);
	}
	return arg;
}

static void *use_a_little(void *arg)
{
	void *p[20];

	for (size_t i = 0; i < COUNT_OF(p); i++)
		CHECK((p[i] = malloc(i * 200 + 1)));
	for (size_t i = 0; i < COUNT_OF(p); i++)
		free(p[i]);
	return arg;
}

/* Except for one-time allocations, such as stacks. */
TEST(a_thread_that_ends_leaves_nothing)
{
	size_t out, magazines, caches;

	own_cache();
	for (int i = 0; i < 3; i++) {
		in_thread(use_and_free_all_classes, NULL);
		malloc_trim(0); /* flushes this thread's cache, too */
		CHECK(cached_cells() == 0);
		if (i > 0) {
			CHECK_MSG(out_cells() == out, "%zu cells, then %zu", out, out_cells());
			CHECK(out_of(CLASS_MAGAZINE) == magazines && out_of(CLASS_CACHE) == caches);
		}
		out = out_cells();
		magazines = out_of(CLASS_MAGAZINE);
		caches = out_of(CLASS_CACHE);
		CHECK(caches == 1 && tcache_all.count == 1);
		check_all();
	}
}

/* Live cells from its magazines are freed as usual. */
TEST(a_thread_that_ends_leaves_what_is_live)
{
	size_t n = 5000;
	unsigned int class = class_in_use();

	in_thread(alloc_in_thread, &n);
	tcache_retire_vacant(true);
	CHECK(out_of(class) == n);
	for (size_t i = 0; i < n; i++)
		memset(cells[i], 0xa5, SIZE);
	free_cells(n);
	malloc_trim(0);
	CHECK(out_of(class) == 0);
	in_thread(use_all_classes, NULL);
	check_all();
}

/* Vacant caches. */

static size_t vacant_now(void)
{
	struct tcache_stats stats;
	struct tcache_thread_stats threads[4];

	tcache_get_stats(&stats);
	CHECK(stats.caches == 1 && tcache_list(threads, 4) == 1);
	check_all();
	return tcache_all.vacant_count;
}

static void *note_cache(void *arg)
{
	*(struct tcache **)arg = own_cache();
	free(malloc(SIZE));
	return NULL;
}

/*
 * The next thread gets the cells as well, so it needs no visit of the store; and polling has ended.
 */
TEST(a_thread_takes_over_the_cache_of_the_last)
{
	struct tcache *first, *second;
	unsigned int class = class_in_use();
	size_t out;

	in_thread(note_cache, &first);
	CHECK(vacant_now() == 1 && !slab_shard_users[first->shard]);
	out = out_of(class);
	tcache_request(first, REQUEST_FLUSH);
	in_thread(note_cache, &second);
	CHECK(second == first && out_of(class) == out && !first->polls && !first->request);
	CHECK(vacant_now() == 1 && out_of(CLASS_CACHE) == 2);
}

TEST(vacant_caches_go_with_the_second_sweep_or_a_trim)
{
	unsigned int class = class_in_use();
	struct tcache *tc;

	in_thread(note_cache, &tc);
	slab_sweep_period_ms = 0;
	tcache_scavenge(own_cache());
	CHECK(vacant_now() == 1);
	tcache_scavenge(own_cache());
	CHECK(vacant_now() == 0 && out_of(class) == 0 && out_of(CLASS_CACHE) == 1);
	in_thread(note_cache, &tc);
	CHECK(vacant_now() == 1);
	malloc_trim(0);
	CHECK(vacant_now() == 0 && out_of(class) == 0);
}

/* Cache 3 KiB of each of many sizes, and more of another. */
static void *use_sizes(void *sizes)
{
	for (size_t i = 0; i < 20 * *(size_t *)sizes; i++) {
		size_t size = 16 * (i % *(size_t *)sizes + 1), n = 3 * KIB / size;

		alloc_cells_of(size, n);
		free_cells(n);
	}
	alloc_cells_of(4000, 9);
	free_cells(9);
	return NULL;
}

TEST(little_is_left_to_the_next_thread)
{
	size_t sizes = 15;

	own_cache();
	in_thread(use_sizes, &sizes);
	CHECK(vacant_now() == 1);
	CHECK(tcache_magazine_cells(tcache_all.first, class_of_size(240)) >= 12);
	CHECK(tcache_magazine_cells(tcache_all.first, class_of_size(4000)) == 0);
	tcache_retire_vacant(true);
	sizes = 64;
	in_thread(use_sizes, &sizes);
	CHECK(vacant_now() == 0);
}

static void *free_spans(void *arg)
{
	alloc_cells_of(500000, 16);
	free_cells(16);
	return arg;
}

/* Other memory that the thread has freed is scavenged. */
TEST(a_vacant_cache_leaves_dirt_to_others)
{
	CHECK(!own_cache()->polls);
	in_thread(free_spans, NULL);
	CHECK(vacant_now() == 1 && tcache_thread.own->polls > 1); /* more than a request */
}

static void *wait_for_others(void *arg)
{
	own_cache();
	pthread_barrier_wait(arg);
	return NULL;
}

TEST(few_caches_are_vacant_in_each_shard)
{
	pthread_t threads[4 * SLAB_SHARDS];
	pthread_barrier_t all_are;

	own_cache();
	pthread_barrier_init(&all_are, NULL, COUNT_OF(threads));
	for (size_t i = 0; i < COUNT_OF(threads); i++)
		CHECK(pthread_create(&threads[i], NULL, wait_for_others, &all_are) == 0);
	for (size_t i = 0; i < COUNT_OF(threads); i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
	CHECK(vacant_now() == (size_t)VACANT_MAX * SLAB_SHARDS);
	CHECK(out_of(CLASS_CACHE) == tcache_all.vacant_count + 1);
}

static pthread_key_t late_key;

/* Destructors run in the order of the keys: this one after the cache's. */
static void use_malloc_late(void *arg)
{
	void *p[100];

	CHECK(tcache_thread.own == TCACHE_ENDED);
	for (size_t i = 0; i < COUNT_OF(p); i++)
		CHECK((p[i] = malloc(i * 350 + 1)));
	for (size_t i = 0; i < COUNT_OF(p); i++) {
		p[i] = realloc(p[i], i * 300 + 2);
		CHECK(malloc_usable_size(p[i]) >= i * 300 + 2);
		free(p[i]);
	}
	free(arg);
}

static void *set_late_key(void *arg)
{
	void *p = malloc(SIZE);

	CHECK(p && pthread_setspecific(late_key, p) == 0);
	return arg;
}

TEST(late_destructors_allocate_without_a_cache)
{
	unsigned int class = class_in_use(); /* creates the library's key */

	CHECK(pthread_key_create(&late_key, use_malloc_late) == 0);
	for (int i = 0; i < 10; i++) {
		in_thread(set_late_key, NULL);
		tcache_retire_vacant(true);
		CHECK(out_of(class) == 0 && out_of(CLASS_CACHE) == 1);
	}
	check_all();
}

static void *wait_for_all(void *arg)
{
	pthread_barrier_wait(&barrier);
	return arg;
}

/*
 * The last call of such a thread, after all destructors, is a free: libc caches at most 40 MiB of
 * stacks, and frees what belongs to older ones. A cache created then would leak, and a switch of
 * modes would write to the memory of a dead thread.
 */
TEST(detached_threads_leave_no_cache)
{
	pthread_attr_t attr;
	pthread_t thread;

	own_cache();
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, 8 * MIB);
	CHECK(pthread_barrier_init(&barrier, NULL, 21) == 0);
	for (int round = 0; round < 10; round++) {
		for (int i = 0; i < 20; i++)
			CHECK(pthread_create(&thread, &attr, wait_for_all, NULL) == 0);
		pthread_barrier_wait(&barrier);
		usleep(20000);
	}
	for (int i = 0; i < 100 && tcache_all.count > 1; i++)
		usleep(10000);
	CHECK_MSG(tcache_all.count == 1 && out_of(CLASS_CACHE) == 1, "%zu caches",
		  tcache_all.count);
	tcache_set_mode(TCACHE_COUNTS, true);
	tcache_set_mode(TCACHE_COUNTS, false);
	check_all();
}

static size_t mapped_bytes(void)
{
	unsigned long pages;
	FILE *f = fopen("/proc/self/statm", "r");

	CHECK(f && fscanf(f, "%lu", &pages) == 1);
	fclose(f);
	return pages * sys_page_size();
}

TEST(a_hundred_thousand_threads_in_a_row)
{
	size_t mapped = 0, out = 0;

	test_timeout(240);
	for (int i = 0; i < 100000; i++) {
		in_thread(use_a_little, NULL);
		if (i == 1000) {
			mapped = mapped_bytes();
			out = out_cells() - cached_cells();
		}
	}
	CHECK(tcache_all.vacant_count == 1);
	tcache_retire_vacant(true);
	CHECK(out_cells() - cached_cells() <= out + 10);
	CHECK_MSG(mapped_bytes() <= mapped + MIB, "%zu bytes mapped, then %zu", mapped,
		  mapped_bytes());
	CHECK(tcache_all.count == 1 && out_of(CLASS_CACHE) == 1);
	check_all();
}

/* Modes. */

TEST(counts_while_asked)
{
	struct tcache_stats before, after;

	free(malloc(SIZE));
	tcache_set_mode(TCACHE_COUNTS, true);
	tcache_get_stats(&before);
	alloc_cells(1000);
	for (size_t i = 0; i < 300; i++)
		cells[i] = realloc(cells[i], SIZE - 5);
	free_cells(1000);
	tcache_get_stats(&after);
	CHECK(after.allocs == before.allocs + 1000 && after.frees == before.frees + 1000);
	CHECK(after.reallocs == before.reallocs + 300);
	tcache_set_mode(TCACHE_COUNTS, false);
	CHECK(tcache_thread.fast == tcache_thread.own);
	alloc_cells(10);
	free_cells(10);
	tcache_get_stats(&before);
	CHECK(before.allocs == after.allocs && before.frees == after.frees);
}

TEST(counts_of_threads_that_ended_stay)
{
	struct tcache_stats before, after;

	tcache_set_mode(TCACHE_COUNTS, true);
	in_thread(use_cells, NULL);
	tcache_get_stats(&before);
	in_thread(use_cells, NULL);
	tcache_get_stats(&after);
	CHECK(after.allocs >= before.allocs + 1000 && after.allocs < before.allocs + 1100);
	CHECK(after.frees >= before.frees + 1000 && after.frees < before.frees + 1100);
}

/* Random calls on cells that are filled with patterns, and passed between threads that exit. */

#define PLACES 2000
#define GENERATIONS 60
#define STEPS 3000

/* The first word is the size; all other bytes are derived from it. */
static _Atomic(unsigned char *) places[PLACES];

static unsigned char cookie(size_t size, size_t at)
{
	return (unsigned char)((size * 31 + at) * 151 >> 3);
}

static unsigned char *make(uint64_t *state)
{
	static const size_t limits[] = {24, 64, 200, 1100, 5000, 20000, 60000};
	size_t size = 8 + random_below(state, limits[random_below(state, COUNT_OF(limits))]);
	unsigned char *p = NULL;

	switch (random_below(state, 5)) {
	case 0:
		p = calloc(1, size);
		CHECK(p && is_all(p, size, 0));
		break;
	case 1:
		p = memalign((size_t)16 << random_below(state, 9), size);
		break;
	case 2:
		p = realloc(malloc(size / 2 + 1), size);
		break;
	default:
		p = malloc(size);
	}
	CHECK(p && malloc_usable_size(p) >= size);
	memcpy(p, &size, sizeof(size));
	for (size_t i = sizeof(size); i < size; i++)
		p[i] = cookie(size, i);
	return p;
}

static void drop(unsigned char *p)
{
	size_t size;

	if (!p)
		return;
	memcpy(&size, p, sizeof(size));
	for (size_t i = sizeof(size); i < size; i++)
		CHECK(p[i] == cookie(size, i));
	free(p);
}

static void *live_and_die(void *arg)
{
	uint64_t state = (uintptr_t)arg;

	for (int i = 0; i < STEPS; i++) {
		size_t at = random_below(&state, PLACES);

		if (random_below(&state, 2))
			drop(atomic_exchange(&places[at], make(&state)));
		else
			drop(atomic_exchange(&places[at], NULL));
		if (random_below(&state, 4000) == 0)
			malloc_trim(0);
	}
	return NULL;
}

TEST(cells_handed_across_dying_threads)
{
	size_t out;

	test_timeout(120);
	in_thread(use_a_little, NULL);
	out = out_cells() - cached_cells();
	for (uintptr_t i = 0; i < GENERATIONS; i += 3) {
		pthread_t threads[3];

		for (uintptr_t j = 0; j < COUNT_OF(threads); j++)
			CHECK(pthread_create(&threads[j], NULL, live_and_die,
					     (void *)(i + j + 1)) == 0);
		for (size_t j = 0; j < COUNT_OF(threads); j++)
			CHECK(pthread_join(threads[j], NULL) == 0);
		check_all();
	}
	for (size_t i = 0; i < PLACES; i++)
		drop(places[i]);
	CHECK(out_cells() - cached_cells() <= out + 10);
	check_all();
}

/* Live cells that hold the mark of freed ones, passed on while magazines are exchanged. */

#define MARKED_SIZE 64

static _Atomic(uint64_t *) marked[64];
static atomic_bool is_over;

static void drop_marked(uint64_t *p, bool grow)
{
	if (!p)
		return;
	CHECK(malloc_usable_size(p) == MARKED_SIZE);
	if (grow && *p == CELL_FREED) {
		p = realloc(p, 3 * MARKED_SIZE);
		CHECK(p && *p == CELL_FREED);
	}
	free(p);
}

static void *mark_and_hand_on(void *arg)
{
	uint64_t state = (uintptr_t)arg, *p[400];

	while (!is_over) {
		size_t n = 1 + random_below(&state, COUNT_OF(p));

		for (size_t i = 0; i < n; i++) {
			CHECK((p[i] = malloc(MARKED_SIZE)));
			*p[i] = 1;
		}
		for (size_t i = 0; i < n; i++) {
			if (i % 50 == 0) {
				*p[i] = CELL_FREED;
				p[i] = atomic_exchange(&marked[random_below(&state, 64)], p[i]);
			}
			drop_marked(p[i], i % 100 == 0);
		}
	}
	return NULL;
}

static void *mark_and_free(void *arg)
{
	uint64_t *p[200];

	for (int round = 0; round < 20; round++) {
		for (size_t i = 0; i < COUNT_OF(p); i++) {
			CHECK((p[i] = malloc(MARKED_SIZE)));
			*p[i] = i % 40 ? 1 : CELL_FREED;
		}
		for (size_t i = 0; i < COUNT_OF(p); i++)
			free(p[i]);
	}
	return arg;
}

TEST(live_cells_that_look_freed)
{
	pthread_t threads[6];
	uint64_t end = sys_now_ms() + 2000;

	for (uintptr_t i = 0; i < COUNT_OF(threads); i++)
		CHECK(pthread_create(&threads[i], NULL, mark_and_hand_on, (void *)(i + 1)) == 0);
	while (sys_now_ms() < end)
		in_thread(mark_and_free, NULL);
	is_over = true;
	for (size_t i = 0; i < COUNT_OF(threads); i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
	for (size_t i = 0; i < COUNT_OF(marked); i++)
		drop_marked(marked[i], false);
	check_all();
}
