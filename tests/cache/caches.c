// SPDX-License-Identifier: BSD-3-Clause
// Needs: objects

/*
 * Thread caches, magazines and depots: how they fill, what they hold at most, how cells go from one
 * thread to another, what a thread leaves behind, and tcache_check() against caches that are broken
 * on purpose, each invariant by its number.
 *
 * The program has so many keys of thread-specific data that the library's own is one for which
 * pthread_setspecific allocates.
 */

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "block.h"
#include "broken.h"
#include "harness.h"
#include "slab_core.h"
#include "tcache_core.h"

#define FIRST_LEVEL_KEYS 32 /* of glibc */

__attribute__((constructor(200))) static void use_up_keys(void)
{
	for (int i = 0; i < FIRST_LEVEL_KEYS; i++) {
		pthread_key_t key;

		if (pthread_key_create(&key, NULL))
			abort();
	}
}

static void check_all(void)
{
	const char *fault = tcache_check();

	CHECK_MSG(!fault, "%s", fault);
	fault = block_check();
	CHECK_MSG(!fault, "%s", fault);
}

static struct tcache *own_cache(void)
{
	free(malloc(1));
	CHECK(tcache_thread.own && tcache_thread.own != TCACHE_ENDED);
	return tcache_thread.own;
}

static size_t out_of(unsigned int class)
{
	return slab_class_states[class].out;
}

/* Cells that nobody uses and that are not in the store. */
static size_t cached_cells(void)
{
	struct tcache_stats stats;

	tcache_get_stats(&stats);
	return stats.cached_cells;
}

static size_t out_cells(void)
{
	struct osmem_cell_stats stats;

	slab_get_stats(&stats);
	return stats.live;
}

static void in_thread(void *(*body)(void *arg), void *arg)
{
	pthread_t thread;

	CHECK(pthread_create(&thread, NULL, body, arg) == 0);
	CHECK(pthread_join(thread, NULL) == 0);
}

#define SIZE 240 /* of which nothing but the test has cells */

static unsigned int class_in_use(void)
{
	unsigned int class = class_of_size(SIZE);

	own_cache();
	CHECK(out_of(class) == 0);
	return class;
}

static void *cells[30000];

static void alloc_cells_of(size_t size, size_t n)
{
	for (size_t i = 0; i < n; i++)
		CHECK((cells[i] = malloc(size)));
}

static void alloc_cells(size_t n)
{
	alloc_cells_of(SIZE, n);
}

static void free_cells(size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(cells[i]);
}

/* Allocate until the thread has none of class left. */
static void drain(unsigned int class)
{
	while (tcache_cached_cells(own_cache(), class))
		CHECK(malloc(SIZE));
}

/* Filling and emptying. */

TEST(refills_start_small_and_grow)
{
	unsigned int class = class_in_use();
	size_t out = 0, taken = 0, n = 0, slab = slab_classes[class].capacity;

	CHECK((cells[taken++] = malloc(SIZE)));
	CHECK(out_of(class) == ++out); /* the first one comes alone */
	while (n < magazine_capacity(class) || out % slab) {
		n = out / 4 < 512 / SIZE ? 512 / SIZE : out / 4;
		if (n > magazine_capacity(class))
			n = magazine_capacity(class);
		CHECK((cells[taken++] = malloc(SIZE)));
		out += n < slab - out % slab ? n : slab - out % slab;
		CHECK_MSG(out_of(class) == out, "%zu out, not %zu", out_of(class), out);
		while (taken < out) {
			CHECK((cells[taken++] = malloc(SIZE)));
			CHECK(out_of(class) == out);
		}
	}
	check_all();
	free_cells(taken);
	check_all();
}

TEST(one_object_of_a_class_needs_no_magazine)
{
	unsigned int class = class_in_use();
	size_t magazines = out_of(CLASS_MAGAZINE);
	void *p = malloc(SIZE);

	CHECK(p && out_of(class) == 1 && out_of(CLASS_MAGAZINE) == magazines);
	free(p);
	CHECK(out_of(class) == 1 && out_of(CLASS_MAGAZINE) == magazines + 1);
	CHECK(malloc(SIZE) == p && out_of(class) == 1);
	check_all();
}

/* Two magazines, here and there: a thread that goes up and down by one never visits the store. */
TEST(spare_and_loaded_change_places)
{
	unsigned int class = class_in_use(), capacity = magazine_capacity(class);
	struct tcache *tc = own_cache();
	struct magazine *loaded, *spare;
	size_t out;

	alloc_cells(2 * capacity);
	drain(class);
	out = out_of(class);
	free_cells(2 * capacity);
	loaded = magazine_of(tc->bins[class].top);
	spare = tc->spares[class];
	CHECK(spare && tcache_cached_cells(tc, class) == 2 * capacity);
	for (size_t i = 0; i < capacity; i++)
		CHECK((cells[i] = malloc(SIZE)));
	CHECK(tcache_cached_cells(tc, class) == capacity);
	for (int i = 0; i < 1000; i++) {
		CHECK((cells[capacity] = malloc(SIZE)));
		free(cells[capacity]);
		CHECK(out_of(class) == out);
	}
	for (size_t i = 0; i < capacity; i++)
		free(cells[i]);
	CHECK((loaded == magazine_of(tc->bins[class].top) && spare == tc->spares[class]) ||
	      (spare == magazine_of(tc->bins[class].top) && loaded == tc->spares[class]));
	check_all();
}

static void check_depot_bounds(size_t size)
{
	unsigned int class = class_of_size(size), capacity;
	struct depot *d = &magazine_shards[own_cache()->shard].depots[class];
	size_t n = 4 * MIB / size;

	capacity = magazine_capacity(class);
	n = n > COUNT_OF(cells) ? COUNT_OF(cells) : n;
	for (size_t i = 0; i < n; i++)
		CHECK((cells[i] = malloc(size)));
	CHECK(!d->full_count);
	free_cells(n);
	CHECK_MSG(d->full_count &&
			  d->full_count * capacity * size <= DEPOT_BYTES + MAGAZINE_BYTES * 4,
		  "%u magazines of cells of %zu", d->full_count, size);
	CHECK(d->full_count == depot_capacity(class));
	CHECK(out_of(class) <= (d->full_count + 2) * capacity);
	check_all();
	CHECK(malloc_trim(0));
	CHECK(!d->full_count && !d->empty && out_of(class) == 0);
	check_all();
}

TEST(depots_are_bounded)
{
	check_depot_bounds(112);
	check_depot_bounds(1008);
	check_depot_bounds(5120);
	check_depot_bounds(CELL_MAX);
}

/*
 * The sweep may come when a magazine has just been made room in, and the bin is idle in its eyes.
 */
static void sweep_at_next_visit(struct tcache *tc, unsigned int class, void **top)
{
	slab_store.last_sweep_ms = 0;
	tc->seen[class] = top;
	tc->ticks = 15;
}

TEST(sweep_while_a_cell_is_put)
{
	unsigned int class = class_in_use(), capacity = magazine_capacity(class);
	struct tcache *tc = own_cache();

	for (int kind = 0; kind < 2; kind++) {
		struct magazine *next;
		size_t out;

		alloc_cells(2 * capacity + 1);
		drain(class);
		out = out_of(class);
		free_cells(2 * capacity);
		CHECK((uintptr_t)tc->bins[class].top % MAGAZINE_SIZE == 0);
		next = magazine_new(class); /* the one that comes next */
		magazine_free(next);
		sweep_at_next_visit(tc, class, kind ? &next->cells[capacity] : tc->bins[class].top);
		free(cells[2 * capacity]);
		check_all();
		malloc_trim(0);
		CHECK(out_of(class) == out - 2 * capacity - 1);
	}
}

static void write_and_sweep(void *arg)
{
	memset(arg, 0, 1);
	slab_set_sweep_period(0);
	tcache_look(own_cache());
}

/* Not the next one to be handed out. */
TEST(sweep_meets_a_cell_that_was_written_to)
{
	char *p = malloc(112), *q = malloc(112), line[128];

	free(p);
	free(q);
	snprintf(line, sizeof(line),
		 "osmem: malloc(0x%lx): this free block was written to, or freed twice",
		 (unsigned long)(uintptr_t)p);
	EXPECT_ABORT(write_and_sweep, p, line);
}

TEST(sweep_while_a_cell_is_taken)
{
	unsigned int class = class_in_use(), capacity = magazine_capacity(class);
	struct tcache *tc = own_cache();

	for (int kind = 0; kind < 2; kind++) {
		alloc_cells(2 * capacity);
		sweep_at_next_visit(tc, class, tc->bins[class].top - kind * (int)capacity);
		while (*tc->bins[class].top != MAGAZINE_END)
			CHECK(malloc(SIZE));
		cells[2 * capacity] = malloc(SIZE);
		CHECK(slab_find(cells[2 * capacity]).state == CELL_LIVE); /* no block instead */
		free_cells(2 * capacity + 1);
		check_all();
	}
}

/* From thread to thread. */

#define ROUNDS 300
#define BATCH 1000

static pthread_barrier_t barrier;

static void *free_batches(void *arg)
{
	for (int i = 0; i < ROUNDS; i++) {
		pthread_barrier_wait(&barrier);
		free_cells(BATCH);
		pthread_barrier_wait(&barrier);
	}
	return arg;
}

static void *alloc_batches(void *arg)
{
	for (int i = 0; i < ROUNDS; i++) {
		alloc_cells(BATCH);
		pthread_barrier_wait(&barrier);
		pthread_barrier_wait(&barrier);
	}
	return arg;
}

/* This thread allocates and another one frees, or the other way round; nothing piles up. */
static void hand_over(void *(*other)(void *arg), bool allocates)
{
	unsigned int class = class_in_use();
	size_t most = 0, early = 0;
	pthread_t thread;

	CHECK(pthread_barrier_init(&barrier, NULL, 2) == 0);
	CHECK(pthread_create(&thread, NULL, other, NULL) == 0);
	for (int i = 0; i < ROUNDS; i++) {
		if (allocates)
			alloc_cells(BATCH);
		pthread_barrier_wait(&barrier);
		if (!allocates)
			free_cells(BATCH);
		if (out_of(class) > most)
			most = out_of(class);
		if (i == 20)
			early = most;
		pthread_barrier_wait(&barrier);
	}
	CHECK_MSG(most <= early + 2 * MAGAZINE_CELLS_MAX, "%zu cells at first, %zu later", early,
		  most);
	CHECK(pthread_join(thread, NULL) == 0);
	check_all();
	malloc_trim(0);
	CHECK(out_of(class) == 0);
}

TEST(cells_freed_by_another_thread_come_back)
{
	hand_over(free_batches, true);
}

TEST(cells_allocated_by_another_thread_go_back)
{
	hand_over(alloc_batches, false);
}

static void *free_in_thread(void *arg)
{
	own_cache();
	free_cells(*(size_t *)arg);
	return NULL;
}

/*
 * Cells go back to the shard that they are from: its threads get them, not new ones. Who never
 * takes any keeps no spare.
 */
TEST(cells_go_home)
{
	unsigned int class = class_in_use(), shard = own_cache()->shard;
	size_t n = 6u * magazine_capacity(class), out;

	alloc_cells(n);
	in_thread(free_in_thread, &n);
	CHECK(depot_full_count(class, shard) == 5);
	out = out_of(class);
	CHECK(out >= 5u * magazine_capacity(class) && out < 6u * magazine_capacity(class));
	alloc_cells(out);
	CHECK(depot_full_count(class, shard) == 0 && out_of(class) == out);
	free_cells(out);
	check_all();
}

static unsigned int shard_in_thread;

static void *alloc_in_thread(void *arg)
{
	shard_in_thread = own_cache()->shard;
	alloc_cells(*(size_t *)arg);
	return NULL;
}

/* What is at home where no thread is any more serves others. */
TEST(depots_of_threads_that_ended_serve_others)
{
	unsigned int class = class_in_use();
	size_t n = 6u * magazine_capacity(class), out;

	own_cache();
	in_thread(alloc_in_thread, &n);
	CHECK(shard_in_thread != own_cache()->shard && !slab_shard_users[shard_in_thread]);
	free_cells(n);
	CHECK(depot_full_count(class, shard_in_thread) == 5);
	out = out_of(class);
	CHECK(out == n);
	alloc_cells(n);
	CHECK(depot_full_count(class, shard_in_thread) == 0 && out_of(class) == out);
	free_cells(n);
	check_all();
}

/* All depots of a shard together are bounded, too. */
TEST(shards_are_bounded)
{
	struct depot_size *shard = &magazine_sizes[own_cache()->shard];

	for (size_t size = 1024; size > 1024 - 16 * 16; size -= 16) {
		alloc_cells_of(size, MIB / size);
		free_cells(MIB / size);
	}
	/* A sweep may have come between. */
	CHECK(shard->bytes && shard->bytes < SHARD_BYTES + MAGAZINE_BYTES);
	check_all();
	CHECK(malloc_trim(0));
	CHECK(shard->bytes == 0);
	check_all();
}

/* What a thread keeps. */

static size_t own_bytes(void)
{
	size_t bytes = 0;

	for (unsigned int class = 1; class < CLASS_COUNT; class += 1)
		bytes += tcache_cached_cells(tcache_thread.own, class) * class_size(class);
	return bytes;
}

static void *use_sizes_once(void *arg)
{
	for (size_t size = 16; size < 4500; size += 150)
		free(malloc(size));
	*(size_t *)arg = own_bytes();
	check_all();
	return NULL;
}

TEST(sizes_that_were_used_once_are_not_kept)
{
	size_t bytes;

	in_thread(use_sizes_once, &bytes);
	CHECK_MSG(bytes < 30 * KIB, "%zu bytes", bytes);
}

/* A program that goes on with all of them keeps them before long. */
TEST(sizes_that_are_used_again_are_kept)
{
	size_t out;

	for (int round = 0; round < 20; round++)
		for (size_t size = 16; size < 4500; size += 150)
			free(malloc(size));
	out = out_cells();
	for (size_t size = 16; size < 4500; size += 150)
		free(malloc(size));
	CHECK(out_cells() == out);
	check_all();
}

#define MANY 64 /* threads: more than may hold what they can */

static pthread_barrier_t many_are;
static atomic_bool is_over;

static void burst(void)
{
	static _Thread_local void *objects[4000];
	uint64_t noise = (uintptr_t)pthread_self();

	for (size_t i = 0; i < COUNT_OF(objects); i++)
		CHECK((objects[i] = malloc(random_below(&noise, i % 16 ? 600 : 8000))));
	for (size_t i = 0; i < COUNT_OF(objects); i++)
		free(objects[i]);
}

static void *burst_and_wait(void *arg)
{
	burst();
	pthread_barrier_wait(&many_are);
	while (!is_over) {
		usleep(10000);
		for (int i = 0; arg && i < 20; i++)
			free(malloc(64));
	}
	return NULL;
}

static size_t cached_bytes(void)
{
	struct tcache_stats stats;

	tcache_get_stats(&stats);
	return stats.cached_bytes;
}

/* MANY threads, lightly active or not, of which none takes more than the short way. */
static void start_many(pthread_t *threads, bool are_active)
{
	pthread_barrier_init(&many_are, NULL, MANY + 1);
	for (int i = 0; i < MANY; i++)
		CHECK(pthread_create(&threads[i], NULL, burst_and_wait,
				     are_active ? threads : NULL) == 0);
	pthread_barrier_wait(&many_are);
}

static void end_many(pthread_t *threads)
{
	is_over = true;
	for (int i = 0; i < MANY; i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
	check_all();
}

TEST(what_many_sleeping_threads_keep_is_bounded)
{
	pthread_t threads[MANY];

	start_many(threads, false);
	CHECK_MSG(cached_bytes() < 72 * MIB, "%zu bytes", cached_bytes()); /* 32 in depots */
	end_many(threads);
}

TEST(what_many_lightly_active_threads_keep_goes_back)
{
	pthread_t threads[MANY];

	start_many(threads, true);
	for (int i = 0; i < 500 && cached_bytes() > MIB; i++)
		usleep(10000);
	CHECK_MSG(cached_bytes() <= MIB, "%zu bytes", cached_bytes());
	end_many(threads);
}

static void *free_much_and_sleep(void *arg)
{
	alloc_cells_of(4000, COUNT_OF(cells) / 2);
	free_cells(COUNT_OF(cells) / 2);
	pthread_barrier_wait(arg);
	pthread_barrier_wait(arg);
	return NULL;
}

/* The others, which take the short way only, look after what it has left. */
TEST(what_a_thread_has_freed_that_sleeps_goes_back)
{
	struct tcache *tc = own_cache();
	pthread_t thread;

	pthread_barrier_init(&many_are, NULL, 2);
	CHECK(pthread_create(&thread, NULL, free_much_and_sleep, &many_are) == 0);
	pthread_barrier_wait(&many_are);
	CHECK(slab_dirty_bytes() > 16 * MIB);
	for (int i = 0; i < 300 && tc->watch; i++) {
		usleep(10000);
		for (int j = 0; j < 20; j++)
			free(malloc(64));
	}
	CHECK(!tc->watch && slab_dirty_bytes() < MIB);
	pthread_barrier_wait(&many_are);
	CHECK(pthread_join(thread, NULL) == 0);
	check_all();
}

static void *serve_trims(void *arg)
{
	struct tcache *tc = own_cache();

	burst();
	CHECK(own_bytes() > 256 * KIB);
	pthread_barrier_wait(arg);
	pthread_barrier_wait(arg); /* trimmed meanwhile */
	CHECK(tc->watch && tcache_thread.fast == &tcache_none);
	free(malloc(64));
	CHECK(own_bytes() < 4 * KIB && !tc->watch && tcache_thread.fast == tc);
	pthread_barrier_wait(arg);
	pthread_barrier_wait(arg); /* trimmed again */
	CHECK(!tc->watch && tcache_thread.fast == tc);
	usleep(200000);
	pthread_barrier_wait(arg);
	pthread_barrier_wait(arg); /* and again, later */
	CHECK(tc->watch && tcache_thread.fast == &tcache_none);
	return NULL;
}

/* With its next call, then it goes on as before; and not with each of many trims in a row. */
TEST(trims_ask_others_now_and_then)
{
	pthread_t thread;

	slab_set_sweep_period(1000000);
	own_cache();
	pthread_barrier_init(&many_are, NULL, 2);
	CHECK(pthread_create(&thread, NULL, serve_trims, &many_are) == 0);
	for (int i = 0; i < 3; i++) {
		pthread_barrier_wait(&many_are);
		malloc_trim(0);
		pthread_barrier_wait(&many_are);
	}
	CHECK(pthread_join(thread, NULL) == 0);
	check_all();
}

/* Threads that end. */

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

/* Beside what a thread's stack and the like need for the first time. */
TEST(a_thread_that_ends_leaves_nothing)
{
	size_t out, magazines, caches;

	own_cache();
	for (int i = 0; i < 3; i++) {
		in_thread(use_and_free_all_classes, NULL);
		malloc_trim(0); /* this thread's cells go, too */
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

/* Cells out of its magazines are live still, and go the usual way. */
TEST(a_thread_that_ends_leaves_what_is_live)
{
	size_t n = 5000;
	unsigned int class = class_in_use();

	in_thread(alloc_in_thread, &n);
	CHECK(out_of(class) == n);
	for (size_t i = 0; i < n; i++)
		memset(cells[i], 0xa5, SIZE);
	free_cells(n);
	malloc_trim(0);
	CHECK(out_of(class) == 0);
	in_thread(use_all_classes, NULL);
	check_all();
}

static pthread_key_t late_key;

/* Destructors run in the order of the keys: this one when the cache has gone. */
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
	unsigned int class = class_in_use(); /* has made the library's key */

	CHECK(pthread_key_create(&late_key, use_malloc_late) == 0);
	for (int i = 0; i < 10; i++) {
		in_thread(set_late_key, NULL);
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
 * The last call of such a thread, behind all destructors, is a free: the C library keeps no more
 * than 40 MiB of stacks, and frees what belongs to older ones. A cache made then would stay, and a
 * switch of modes would write to the thread that is gone.
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

static void *use_a_little(void *arg)
{
	void *p[20];

	for (size_t i = 0; i < COUNT_OF(p); i++)
		CHECK((p[i] = malloc(i * 200 + 1)));
	for (size_t i = 0; i < COUNT_OF(p); i++)
		free(p[i]);
	return arg;
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

static void *use_cells(void *arg)
{
	alloc_cells(1000);
	free_cells(1000);
	return arg;
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

static void *switch_modes(void *arg)
{
	for (int i = 0; i < 2000; i++) {
		tcache_set_mode(TCACHE_COUNTS, i % 2 == 0);
		tcache_set_perturb(i % 3 ? 0x5a : 0);
		if (i % 64 == 0)
			usleep(100);
	}
	tcache_set_mode(TCACHE_COUNTS, false);
	tcache_set_perturb(0);
	return arg;
}

/* Switched for all, whatever they do. */
TEST(modes_switch_while_threads_run)
{
	pthread_t thread;

	own_cache();
	CHECK(pthread_create(&thread, NULL, switch_modes, NULL) == 0);
	for (int i = 0; i < 300; i++) {
		alloc_cells(1000);
		for (size_t j = 0; j < 1000; j++)
			memset(cells[j], (int)j, SIZE);
		for (size_t j = 0; j < 1000; j++)
			CHECK(((unsigned char *)cells[j])[SIZE - 1] == (unsigned char)j);
		free_cells(1000);
	}
	CHECK(pthread_join(thread, NULL) == 0);
	CHECK(tcache_all.modes == 0);
	own_cache();
	check_all();
}

static volatile struct tcache_thread *ending;
static struct tcache *fast_at_the_end;

static void note_fast(void *arg)
{
	fast_at_the_end = arg ? tcache_thread.fast : NULL;
}

static void *end_when_told(void *arg)
{
	use_cells(NULL);
	CHECK(pthread_setspecific(late_key, arg) == 0);
	ending = &tcache_thread;
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	return NULL;
}

/* What a thread has given back it does not use again, whoever switches modes while it does that. */
TEST(modes_switch_while_a_thread_ends)
{
	unsigned int class = class_in_use();
	pthread_t thread;

	CHECK(pthread_key_create(&late_key, note_fast) == 0);
	CHECK(pthread_barrier_init(&barrier, NULL, 2) == 0);
	CHECK(pthread_create(&thread, NULL, end_when_told, &barrier) == 0);
	pthread_barrier_wait(&barrier);
	slab_enter(class); /* here the thread will wait, with what it has of the class */
	pthread_barrier_wait(&barrier);
	while (ending->own != TCACHE_ENDED)
		usleep(1000);
	tcache_set_mode(TCACHE_COUNTS, true);
	tcache_set_mode(TCACHE_COUNTS, false);
	slab_leave(class);
	CHECK(pthread_join(thread, NULL) == 0);
	CHECK(fast_at_the_end == &tcache_none);
	check_all();
}

static bool is_all(const unsigned char *p, size_t size, unsigned char byte)
{
	for (size_t i = 0; i < size; i++)
		if (p[i] != byte)
			return false;
	return true;
}

TEST(perturbed_cells)
{
	tcache_set_perturb(0x5a);
	for (size_t size = 1; size <= CELL_MAX; size += size / 3 + 1) {
		unsigned char *p = malloc(size);

		CHECK(p && is_all(p, size, 0xa5));
		free(p);
		/* Behind the words that a free cell is known by. */
		CHECK(size < 32 || is_all(p + 16, size - 16, 0x5a));
		p = calloc(1, size);
		CHECK(p && is_all(p, size, 0));
		free(p);
	}
	check_all();
}

/* What is handed out. */

TEST(calloc_is_zero_after_reuse_at_all_sizes)
{
	for (size_t size = 1; size <= CELL_MAX; size += size < 2100 ? 1 : 97) {
		for (int round = 0; round < 3; round++) {
			unsigned char *p = round ? calloc(1, size) : malloc(size), *q;

			q = round ? calloc(size, 1) : malloc(size);
			CHECK(p && q && p != q);
			CHECK(!round || (is_all(p, size, 0) && is_all(q, size, 0)));
			memset(p, 0xff, malloc_usable_size(p));
			memset(q, 0xff, malloc_usable_size(q));
			free(p);
			free(q);
		}
	}
	malloc_trim(0);
	for (size_t size = 1; size <= CELL_MAX; size += 97) {
		unsigned char *p = calloc(1, size);

		CHECK(p && is_all(p, size, 0));
	}
	check_all();
}

TEST(all_alignments_and_sizes)
{
	for (size_t align = 16; align <= 256 * KIB; align *= 2) {
		for (size_t size = 1; size <= 2 * CELL_MAX; size += size / 9 + 1) {
			unsigned char *p = memalign(align, size), *q = aligned_alloc(align, size);

			CHECK(p && (uintptr_t)p % align == 0 && malloc_usable_size(p) >= size);
			CHECK(q && (uintptr_t)q % align == 0 && q != p);
			memset(p, 1, size);
			memset(q, 2, size);
			CHECK(p[size - 1] == 1 && q[size - 1] == 2);
			free(p);
			free(q);
		}
	}
	check_all();
}

/* The library's own memory is nobody's to free. */
static void free_arg(void *arg)
{
	free(arg);
}

static void expect_foreign(void *p)
{
	char line[128];

	snprintf(line, sizeof(line), "osmem: free(0x%lx): not a block of this allocator",
		 (unsigned long)(uintptr_t)p);
	EXPECT_ABORT(free_arg, p, line);
}

TEST(magazines_and_caches_are_not_freed)
{
	struct tcache *tc = own_cache();
	unsigned int class = class_of_size(1);

	expect_foreign(tc);
	expect_foreign((char *)tc + 64);
	expect_foreign(magazine_of(tc->bins[class].top));
	expect_foreign(segment_of(tc));
	expect_foreign((void *)(uintptr_t)tcache_no_cells);
	expect_foreign(slab_bins);
}

/* Random calls over cells full of cookies, handed across threads that die. */

#define PLACES 2000
#define GENERATIONS 60
#define STEPS 3000

/* First word: the size. All further bytes: made from it. */
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

/* Cells whose users write what a freed cell has, handed on while magazines change hands. */

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

/* Where the kernel does not do what it is asked for. */

static bool has_roomy_segment(void)
{
	return segment_next(SET_ROOMY, NULL);
}

/* The next magazine is the first cell of a new segment. */
static void use_up_magazines(void)
{
	struct slab_class *state = &slab_class_states[CLASS_MAGAZINE];
	void *cell;

	while (has_roomy_segment())
		CHECK(malloc(SLAB_CELL_MAX));
	while (state->partial_count || state->carving[0])
		CHECK(slab_take_locked(CLASS_MAGAZINE, 0, &cell, 1, NULL) == 1);
}

static void check_errno_of_free(void (*obstruct)(void))
{
	for (size_t i = 0; i < COUNT_OF(cells); i++)
		CHECK((cells[i] = malloc(16)));
	use_up_magazines();
	obstruct();
	for (size_t i = 0; i < COUNT_OF(cells); i++) {
		errno = 4711;
		free(cells[i]);
		CHECK_MSG(errno == 4711, "free %zu: errno %d", i, errno);
	}
}

static void refuse_memory(void)
{
	struct rlimit limit = {.rlim_cur = MIB, .rlim_max = RLIM_INFINITY};

	CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
}

/* A segment's place, unless something is there. */
static bool take_place(uintptr_t at)
{
	void *p = mmap((void *)at, SEGMENT_SIZE, PROT_NONE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);

	return p != MAP_FAILED;
}

static void take_next_places(void)
{
	size_t taken = 0;

	for (size_t i = 0; i < 20; i++) {
		taken += take_place(slab_store.below - i * SEGMENT_SIZE);
		taken += take_place(slab_store.above + i * SEGMENT_SIZE);
	}
	CHECK(taken);
}

TEST(free_preserves_errno_without_a_magazine)
{
	check_errno_of_free(refuse_memory);
}

TEST(free_preserves_errno_where_the_next_place_is_taken)
{
	check_errno_of_free(take_next_places);
}

/* All calls look at the clock while something could go to the kernel; here it never can. */
TEST(watch_ends_where_memory_is_locked)
{
	struct tcache *tc = own_cache();

	alloc_cells(COUNT_OF(cells));
	if (mlockall(MCL_CURRENT))
		test_skip("memory may not be locked");
	for (size_t i = 0; i < COUNT_OF(cells); i++)
		if (i % 2000)
			free(cells[i]);
	CHECK(tc->watch && slab_dirty_bytes() > MIB);
	for (int i = 0; i < 3000 && tc->watch; i++) {
		for (int j = 0; j < 100; j++)
			free(malloc(SIZE));
		usleep(1000);
	}
	CHECK(!tc->watch);
}

/* Another thread begins a watch of this one, which ends one in the same moment: see set_watch. */
TEST(a_sweep_opens_the_short_way)
{
	struct tcache *tc = own_cache();

	slab_set_sweep_period(0);
	malloc_trim(0);
	tcache_thread.fast = (struct tcache *)(uintptr_t)&tcache_none;
	tcache_look(tc);
	CHECK(!tc->watch && tcache_thread.fast == tc);
}

/* What says that all calls take the slow path holds at every moment: hardened, it is relied on. */

static atomic_bool are_modes_over;

static void *switch_a_mode(void *arg)
{
	for (int i = 0; i < 3000000; i++)
		tcache_set_mode(TCACHE_PERTURBS, i % 2);
	are_modes_over = true;
	return arg;
}

TEST(one_mode_is_on_while_another_is_switched)
{
	struct tcache *_Atomic *fast = (void *)&tcache_thread.fast;
	pthread_t thread;

	own_cache();
	tcache_set_mode(TCACHE_COUNTS, true);
	CHECK(pthread_create(&thread, NULL, switch_a_mode, NULL) == 0);
	while (!are_modes_over)
		CHECK(*fast == &tcache_none);
	CHECK(pthread_join(thread, NULL) == 0);
	tcache_set_mode(TCACHE_PERTURBS | TCACHE_COUNTS, false);
	CHECK(*fast == tcache_thread.own);
}

/* The checker. */

#define BREAK(lvalue, wrong, number) BREAK_BY(tcache_check, lvalue, wrong, number)

static unsigned int broken_class;
static unsigned int capacity;
static struct bin *bin; /* half full */
static struct magazine *spare; /* full */
static struct depot *depot; /* with two full ones and an empty one */

static struct tcache *cache;

static void set_up(void)
{
	broken_class = class_in_use();
	capacity = magazine_capacity(broken_class);
	cache = own_cache();
	alloc_cells(5u * capacity);
	free_cells(5u * capacity);
	CHECK((cells[0] = malloc(SIZE)));
	bin = &cache->bins[broken_class];
	spare = cache->spares[broken_class];
	depot = &magazine_shards[cache->shard].depots[broken_class];
	CHECK(spare && spare->count == capacity && depot->full_count >= 2);
	check_all();
}

TEST(m1_end_of_a_magazine)
{
	set_up();
	BREAK(magazine_of(bin->top)->cells[capacity], cells[0], "M1");
	BREAK(spare->cells[capacity], cells[0], "M1");
	BREAK(depot->full->cells[capacity], cells[0], "M1");
}

TEST(m2_full_magazines)
{
	set_up();
	BREAK(depot->full->count, capacity - 1, "M2");
	BREAK(depot->full->cells[3], MAGAZINE_END, "M2");
	BREAK(depot->full_count, depot->full_count + 1, "M2");
	BREAK(depot->empty_count, depot->empty_count + 1, "M2");
	BREAK(depot->full, depot->full->next, "M2");
	BREAK(depot->low, depot->full_count + 1, "M2");
}

TEST(m3_cells_in_magazines)
{
	set_up();
	BREAK(bin->top[0], bin->top[1], "M3");
	BREAK(bin->top[0], spare->cells[0], "M3");
	BREAK(depot->full->cells[0], depot->full->next->cells[0], "M3");
	BREAK(bin->top[0], (char *)bin->top[0] + 8, "M3");
	BREAK(bin->top[0], (void *)&cells, "M3");
	BREAK(spare->cells[5], malloc(SIZE + 100), "M3");
}

TEST(m4_marks)
{
	set_up();
	BREAK(*cell_word(bin->top[1]), 0, "M4");
	BREAK(*cell_word(spare->cells[0]), 0, "M4");
	BREAK(*cell_word(depot->full->cells[0]), 0, "M4");
}

TEST(m3_cell_in_the_store)
{
	void *cell;

	set_up();
	cell = bin->top[0];
	slab_enter(broken_class);
	slab_give_locked(broken_class, &cell, 1);
	slab_leave(broken_class);
	expect_fault(tcache_check, "M3");
}

TEST(c1_bins)
{
	set_up();
	BREAK(bin->magic, bin->magic + 1, "C1");
	BREAK(bin->top, &magazine_of(bin->top)->cells[capacity] + 1, "C1");
}

TEST(c2_spares)
{
	set_up();
	BREAK(spare->count, 1, "C2");
	BREAK(cache->spares[broken_class], magazine_of(bin->top), "C2");
}

static void *wait_for_the_end(void *arg)
{
	own_cache();
	pthread_barrier_wait(&barrier);
	pause();
	return arg;
}

TEST(c3_list_of_caches)
{
	pthread_t thread;

	set_up();
	CHECK(pthread_barrier_init(&barrier, NULL, 2) == 0);
	CHECK(pthread_create(&thread, NULL, wait_for_the_end, NULL) == 0);
	pthread_barrier_wait(&barrier);
	BREAK(tcache_all.count, 3, "C3");
	BREAK(tcache_all.first->next->prev, NULL, "C3");
	BREAK(tcache_all.first->next, NULL, "C3");
}
