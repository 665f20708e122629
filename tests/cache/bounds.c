// SPDX-License-Identifier: BSD-3-Clause
// Needs: objects

/* Caches of threads are bounded, and are flushed when their threads sleep or are idle. */

#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench/load/resident.h"
#include "broken.h"
#include "cache/tcache_core.h"
#include "caches.h"
#include "harness.h"

/* What a thread caches. */

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

/* A program that goes on using all sizes soon has all of them cached. */
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

#define MANY 64 /* threads: enough for the limit to apply */

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

/* MANY threads, lightly active or not, none of which leaves the fast path. */
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

/* The other threads, which stay on the fast path, scavenge what it has left. */
TEST(what_a_thread_has_freed_that_sleeps_goes_back)
{
	struct tcache *tc = own_cache();
	pthread_t thread;

	pthread_barrier_init(&many_are, NULL, 2);
	CHECK(pthread_create(&thread, NULL, free_much_and_sleep, &many_are) == 0);
	pthread_barrier_wait(&many_are);
	CHECK(slab_dirty_bytes() > 16 * MIB);
	for (int i = 0; i < 300 && tc->polls; i++) {
		usleep(10000);
		for (int j = 0; j < 20; j++)
			free(malloc(64));
	}
	CHECK(!tc->polls && slab_dirty_bytes() < MIB);
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
	pthread_barrier_wait(arg); /* another thread has trimmed */
	CHECK(tc->polls && tcache_thread.fast == &tcache_none);
	free(malloc(64));
	CHECK(own_bytes() < 4 * KIB && !tc->polls && tcache_thread.fast == tc);
	pthread_barrier_wait(arg);
	pthread_barrier_wait(arg); /* trimmed again */
	CHECK(!tc->polls && tcache_thread.fast == tc);
	usleep(200000);
	pthread_barrier_wait(arg);
	pthread_barrier_wait(arg); /* and later again */
	CHECK(tc->polls && tcache_thread.fast == &tcache_none);
	return NULL;
}

/* It trims with its next call, then goes on as before; frequent trims do not ask it each time. */
TEST(trims_ask_others_now_and_then)
{
	pthread_t thread;

	slab_sweep_period_ms = 1000000;
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

/* System calls that fail. */

/* All calls poll while there is dirty memory; here it cannot be purged. */
TEST(watch_ends_where_memory_is_locked)
{
	struct tcache *tc = own_cache();

	alloc_cells(COUNT_OF(cells));
	if (mlockall(MCL_CURRENT))
		test_skip("memory may not be locked");
	for (size_t i = 0; i < COUNT_OF(cells); i++)
		if (i % 2000)
			free(cells[i]);
	CHECK(tc->polls && slab_dirty_bytes() > MIB);
	for (int i = 0; i < 3000 && tc->polls; i++) {
		for (int j = 0; j < 100; j++)
			free(malloc(SIZE));
		usleep(1000);
	}
	CHECK(!tc->polls);
}

/* Leave one block of size bytes in each 64 KiB of 16 MiB. */
static void leave_survivors(size_t size)
{
	static void *blocks[16 * MIB / 48];
	size_t n = 16 * MIB / size, in_slab = 64 * KIB / size;

	for (size_t i = 0; i < n; i++)
		blocks[i] = memset(malloc(size), 1, size);
	for (size_t i = 0; i < n; i++)
		if (i % in_slab)
			free(blocks[i]);
}

/* A process that grows although it has dirty pages purges them before a period is over. */
TEST(growth_brings_sweeps_early)
{
	static const size_t sizes[] = {48, 96, 200, 400, 700, 1024, 1504, 2048};
	size_t before = resident_kib();

	test_needs_small_pages();
	slab_sweep_period_ms = 1000;
	for (size_t i = 0; i < COUNT_OF(sizes); i++)
		leave_survivors(sizes[i]);
	CHECK_MSG(resident_kib() - before < 64 * KIB, "%zu KiB", resident_kib() - before);
}
