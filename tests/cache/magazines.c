// SPDX-License-Identifier: BSD-3-Clause
// Needs: objects

/*
 * Magazines and depots: how caches fill, their limits, and how cells pass between threads.
 * Scavenges flush them while cells come and go.
 */

#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broken.h"
#include "cache/tcache_core.h"
#include "caches.h"
#include "harness.h"
#include "slab/slab_core.h"

/* Allocate until the thread has no cells of class left. */
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
	CHECK(out_of(class) == ++out); /* the first cell comes alone */
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

/* Two magazines: a thread that alternates around a full one never visits the store. */
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
	CHECK(d->full_count == magazine_depot_size / (size * magazine_capacity(class)));
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

/* A scavenge may happen just after room was made in a magazine, when the bin appears idle. */
static void sweep_at_next_visit(struct tcache *tc, unsigned int class, void **top)
{
	slab_store.last_sweep_ms = 0;
	tc->seen[class] = top;
	tc->events = 15;
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
		next = magazine_new(class); /* the next cell */
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
	slab_sweep_period_ms = 0;
	tcache_scavenge(own_cache());
}

/* Not the next cell. */
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
		CHECK(slab_find(cells[2 * capacity]).state ==
		      CELL_LIVE); /* instead of returning a block */
		free_cells(2 * capacity + 1);
		check_all();
	}
}

/* Between threads. */

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

/* This thread allocates and another one frees, or vice versa. Nothing accumulates. */
static void produce_and_consume(void *(*other)(void *arg), bool allocates)
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
	produce_and_consume(free_batches, true);
}

TEST(cells_allocated_by_another_thread_go_back)
{
	produce_and_consume(alloc_batches, false);
}

static void *free_in_thread(void *arg)
{
	own_cache();
	free_cells(*(size_t *)arg);
	return NULL;
}

/*
 * Cells go back to their shard, whose threads get them instead of new ones. A thread that never
 * allocates has no spare.
 */
TEST(cells_go_home)
{
	unsigned int class = class_in_use(), shard = own_cache()->shard;
	size_t n = 6u * magazine_capacity(class), out;

	alloc_cells(n);
	in_thread(free_in_thread, &n);
	tcache_retire_vacant(true);
	CHECK(depot_full_count(class, shard) == 5);
	out = out_of(class);
	CHECK(out >= 5u * magazine_capacity(class) && out < 6u * magazine_capacity(class));
	alloc_cells(out);
	CHECK(depot_full_count(class, shard) == 0 && out_of(class) == out);
	free_cells(out);
	check_all();
}

/* The depots of a shard without threads serve other shards. */
TEST(depots_of_threads_that_ended_serve_others)
{
	unsigned int class = class_in_use();
	size_t n = 6u * magazine_capacity(class), out;

	own_cache();
	in_thread(alloc_in_thread, &n);
	tcache_retire_vacant(true);
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

/* The depots of a shard have a common limit, too. */
TEST(shards_are_bounded)
{
	struct depot_size *shard = &magazine_sizes[own_cache()->shard];

	for (size_t size = 1024; size > 1024 - 16 * 16; size -= 16) {
		alloc_cells_of(size, MIB / size);
		free_cells(MIB / size);
	}
	/* A scavenge may have happened in between. */
	CHECK(shard->bytes && shard->bytes < SHARD_BYTES + MAGAZINE_BYTES);
	check_all();
	CHECK(malloc_trim(0));
	CHECK(shard->bytes == 0);
	check_all();
}

/* Allocation. */

/* The library's own memory cannot be freed. */
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
	expect_foreign(slab_first_page_map());
}

/* System calls that fail. */

/* Another thread makes this one poll while this one ends its polling: see set_polls. */
TEST(a_sweep_opens_the_short_way)
{
	struct tcache *tc = own_cache();

	slab_sweep_period_ms = 0;
	malloc_trim(0);
	tcache_thread.fast = (struct tcache *)(uintptr_t)&tcache_none;
	tcache_scavenge(tc);
	CHECK(!tc->polls && tcache_thread.fast == tc);
}
