// SPDX-License-Identifier: BSD-3-Clause
// Needs: objects

/* The store of cells on its own: which cells it gives and takes back, and in which order. */

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broken.h"
#include "cache/tcache_core.h"
#include "harness.h"
#include "slab/slab_core.h"
#include "slabs.h"

/* Pseudo-random, with a fixed seed. */
static uint64_t random_state = 1;

static void shuffle(void **p, size_t n)
{
	for (size_t i = n; i > 1; i--) {
		size_t j = random_below(&random_state, i);
		void *other = p[j];

		p[j] = p[i - 1];
		p[i - 1] = other;
	}
}

static int by_address(const void *a, const void *b)
{
	uintptr_t x = (uintptr_t) * (void *const *)a, y = (uintptr_t) * (void *const *)b;

	return (x > y) - (x < y);
}

/* Taking and giving. */

static void batches(size_t size)
{
	unsigned int n, taken = 0;

	use_class(size);
	n = info->capacity * 3u + 3;
	while (taken < n) {
		unsigned int want = 1 + (unsigned int)random_below(&random_state, 60), got;

		got = take(cells + taken, want, NULL);
		CHECK(got >= 1 && got <= want);
		taken += got;
	}
	CHECK(state->out == taken && state->slabs == 4);
	for (unsigned int i = 0; i < taken; i++)
		memset(cells[i], 0xa5, size);
	qsort(cells, taken, sizeof(cells[0]), by_address);
	for (unsigned int i = 1; i < taken; i++)
		CHECK((char *)cells[i] - (char *)cells[i - 1] >= (long)size);
	for (unsigned int i = 0; i < taken; i++)
		CHECK(slab_find(cells[i]).state == CELL_LIVE && slab_find(cells[i]).class == class);
	shuffle(cells, taken);
	for (unsigned int given = 0, batch; given < taken; given += batch) {
		batch = 1 + (unsigned int)random_below(&random_state, 60);
		if (batch > taken - given)
			batch = taken - given;
		give(cells + given, batch);
	}
	CHECK(state->out == 0 && state->slabs == 0 && !slab_lists(state, 0)->carving);
}

TEST(batches_of_all_kinds_of_cells)
{
	batches(16);
	batches(640);
	batches(1152);
	batches(8192);
	batches(9216);
	batches(CELL_MAX);
}

TEST(lowest_addresses_first)
{
	unsigned int n;

	use_class(640);
	n = info->capacity;
	take_all(cells, n);
	shuffle(cells, n);
	give(cells, n / 2); /* one by one in random order */
	take_all(cells, n / 2);
	for (unsigned int i = 1; i < n / 2; i++)
		CHECK(cells[i - 1] < cells[i]);
	CHECK(state->slabs == 1);
}

TEST(fullest_first)
{
	static const unsigned int percent[] = {95, 10, 55, 30};
	unsigned int n, given[COUNT_OF(percent)];
	struct slab *last = NULL;
	size_t slabs_met = 0;

	use_class(640);
	n = info->capacity;
	take_all(cells, n * COUNT_OF(percent));
	CHECK(state->slabs == COUNT_OF(percent));
	for (unsigned int i = 0; i < COUNT_OF(percent); i++) {
		given[i] = n * percent[i] / 100;
		give(cells + i * n, given[i]);
	}
	/* Slab by slab, fullest first. */
	for (unsigned int i = 0, free_before = 0; i < given[0] + given[1] + given[2] + given[3];
	     i++) {
		struct slab *s = slab_with(take_one());

		if (s == last)
			continue;
		CHECK(s->free + 1u > free_before);
		free_before = s->free + 1u;
		last = s;
		slabs_met++;
	}
	CHECK(slabs_met == COUNT_OF(percent) && state->slabs == COUNT_OF(percent));
}

TEST(free_cells_before_new_ones)
{
	use_class(640);
	take_all(cells, 10);
	give(cells + 3, 2);
	CHECK(take(cells + 3, 10, NULL) == 10);
	CHECK(cells[3] < cells[5] && cells[4] < cells[5] && slab_with(cells[3])->carved == 18);
}

/* A few cells at once are better than another slab. */
TEST(no_new_slab_for_the_rest_of_a_batch)
{
	use_class(640);
	take_all(cells, info->capacity - 3u);
	CHECK(take(cells, 60, NULL) == 3);
	CHECK(state->slabs == 1 && !slab_lists(state, 0)->carving);
	CHECK(take(cells, 60, NULL) == 60 && state->slabs == 2);
}

TEST(slab_is_given_up_when_empty)
{
	char *start;
	const uint16_t *bin;

	use_class(640);
	take_all(cells, info->capacity);
	start = slab_start(slab_with(cells[0]));
	bin = segment_page_map(start);
	CHECK(*bin == class * SLAB_BIN_SIZE);
	give(cells, info->capacity - 1u);
	CHECK(state->slabs == 1 && *bin);
	give(cells + info->capacity - 1, 1);
	CHECK(state->slabs == 0 && !*bin);
	CHECK(slab_find(start).state == CELL_NONE);
	CHECK(segment_of(start)->dirty >> ((uintptr_t)start >> SLAB_SHIFT) % SEGMENT_SLOTS & 1);
}

/* The same when the slab is not fully carved. */
TEST(slab_is_given_up_while_it_is_carved)
{
	use_class(640);
	take_all(cells, 5);
	CHECK(slab_lists(state, 0)->carving);
	give(cells, 5);
	CHECK(state->slabs == 0 && !slab_lists(state, 0)->carving);
	take_all(cells, 5);
	CHECK(state->slabs == 1 && slab_lists(state, 0)->carving);
}

/*
 * Cells whose page map entries say no more than that: the slow path has to search. Each slot has an
 * entry.
 */
TEST(large_slabs_have_bins_of_their_own)
{
	const uint16_t *bins;

	use_class(10240);
	take_all(cells, info->capacity);
	bins = segment_page_map(cells[0]);
	CHECK(slab_bin_of(class) >= CLASS_COUNT * SLAB_BIN_SIZE);
	for (size_t i = 0; i < info->slots; i++)
		CHECK(bins[i] == slab_bin_of(class));
	for (unsigned int i = 0; i < info->capacity; i++)
		CHECK(slab_with(cells[i]) == slab_with(cells[0]));
	give(cells, info->capacity);
	for (size_t i = 0; i < info->slots; i++)
		CHECK(bins[i] == 0);
}

TEST(what_a_pointer_is)
{
	struct cell_ref ref = {.state = CELL_NONE};
	char *p, *q;

	CHECK(slab_find(&ref).state == CELL_NONE && slab_find(NULL).state == CELL_NONE);
	use_class(640);
	take_all(cells, 3);
	p = cells[0];
	q = cells[1];
	ref = slab_find(p);
	CHECK(ref.state == CELL_LIVE && ref.class == class && ref.start == p);
	ref = slab_find(p + 639);
	CHECK(ref.state == CELL_INSIDE && ref.class == class && ref.start == p);
	CHECK(slab_find(p + 1).state == CELL_INSIDE);
	CHECK(slab_find((char *)cells[2] + 640).state == CELL_NONE); /* not carved */
	give_one(q);
	ref = slab_find(q);
	CHECK(ref.state == CELL_FREE && ref.start == q);
	CHECK(slab_find(q + 639).state == CELL_FREE);
	CHECK(slab_find(segment_of(p)).state == CELL_NONE);
	CHECK(slab_find((char *)segment_of(p) - 1).state == CELL_NONE);
	CHECK(slab_find((char *)segment_of(p) + 60 * SLAB_SIZE).state == CELL_NONE);
}

TEST(the_library_s_own_cells_are_not_found)
{
	use_class(640);
	class = CLASS_MAGAZINE;
	CHECK(slab_find(take_one()).state == CELL_NONE);
	class = CLASS_CACHE;
	CHECK(slab_find(take_one()).state == CELL_NONE);
}

/* Freshness. */

static void check_fresh(bool expected)
{
	bool fresh = !expected;
	unsigned int n = take(cells, 8, &fresh);

	CHECK(n > 0 && fresh == expected);
	for (unsigned int i = 0; i < n; i++) {
		CHECK(!fresh || is_fresh(cells[i], info->size));
		memset(cells[i], 0x5a, info->size);
	}
}

TEST(fresh_is_what_was_never_written)
{
	use_class(5120);
	check_fresh(true);
	give(cells, 8); /* all: the slab is made of dirty slots */
	check_fresh(false);
	give(cells, 8);
	CHECK(slab_trim());
	check_fresh(true);
	give(cells + 2, 3); /* some: freed cells and carved ones */
	check_fresh(false);
}

TEST(fresh_large_slabs)
{
	use_class(16384);
	check_fresh(true);
	give(cells, 8);
	check_fresh(false);
	give(cells, 8);
	slab_trim();
	check_fresh(true);
}

/* In a fork's child; fork_repair.c tests interrupted changes. */

/* From now on locks are needed, even where libc does not tell of threads. */
static void *use_a_lock(void *arg)
{
	store_lock();
	store_unlock();
	return arg;
}

/* A thread that the child does not have holds the locks of an intact store. */
TEST(child_of_a_whole_store)
{
	pthread_t thread;
	unsigned int n = 5;
	struct osmem_cell_stats before, after;

	CHECK(pthread_create(&thread, NULL, use_a_lock, NULL) == 0);
	CHECK(pthread_join(thread, NULL) == 0);
	use_class(640);
	take_all(cells, n + info->capacity);
	give(cells, n);
	slab_get_stats(&before);
	for (unsigned int c = 1; c < CLASS_END + SLAB_SHARDS; c++)
		slab_enter(c);
	store_lock();
	slab_fork_child();
	for (unsigned int shard = 0; shard < SLAB_SHARDS; shard++)
		CHECK(slab_fork_was_locked(shard));
	expect_sound(slab_check); /* takes all locks */
	slab_get_stats(&after);
	CHECK(memcmp(&before, &after, sizeof(before)) == 0);
	slab_fork_child();
	CHECK(!slab_fork_was_locked(0));
	take_all(cells, n);
	give(cells, n + info->capacity);
	CHECK(state->slabs == 0 && slab_trim());
}

/* Invalid frees. */

static void give_arg(void *arg)
{
	give_one(arg);
}

/* A shard in use keeps its slabs from another, unless that cannot get new ones. */
TEST(without_memory_all_shards_cells_serve)
{
	unsigned int n, half, taken = 0, got;
	void *large, **others = cells + CELLS / 2;

	use_class(1024);
	n = 4u * info->capacity;
	half = n / 2;
	slab_shard_users[0] = slab_shard_users[1] = 1;
	take_all(cells, n);
	for (unsigned int i = 0; i < n; i += 2)
		give_one(cells[i]);
	limit_addresses(0);
	while (slab_take_locked(class_of_size(CELL_MAX), 0, &large, 1, NULL))
		; /* fills every run of four slots */
	while (slab_take_locked(class_of_size(8192), 0, &large, 1, NULL))
		; /* fills every other slot */
	while ((got = slab_take_locked(class, 1, others + taken, half, NULL)))
		taken += got;
	CHECK_MSG(taken == half, "%u cells of %u", taken, half);
	expect_sound(slab_check);
}

static void expect_refused(void *cell, const char *why)
{
	char line[128];

	snprintf(line, sizeof(line), "osmem: free(0x%lx): %s", (unsigned long)(uintptr_t)cell, why);
	EXPECT_ABORT(give_arg, cell, line);
}

TEST(store_refuses_what_it_has)
{
	use_class(640);
	take_all(cells, 3);
	give_one(cells[1]);
	expect_refused(cells[1], "this block is already free");
	expect_refused((char *)cells[2] + 640, "not a block");
	class = class_of_size(1000);
	expect_refused(cells[2], "this block is already free"); /* now of another class */
}

/* Pointers into former slabs, whose headers have been purged. */
TEST(store_refuses_what_is_gone)
{
	unsigned int slabs = 24;

	use_class(640);
	take_all(cells, slabs * info->capacity);
	slab_give_locked(class, cells + info->capacity, (slabs - 1) * info->capacity);
	for (unsigned int i = 1; i < slabs; i++)
		expect_refused(cells[i * info->capacity], "this block is already free");
	slab_trim();
	for (unsigned int i = 1; i < slabs; i++)
		expect_refused(cells[i * info->capacity], "this block is already free");
	expect_sound(slab_check);
}
