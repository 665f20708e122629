// SPDX-License-Identifier: BSD-3-Clause
// Needs: objects

/*
 * The store of cells by itself: which cells it hands out, when slabs and segments come and go, and
 * slab_check() against stores that are broken on purpose, each invariant by its number.
 */

#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "broken.h"
#include "harness.h"
#include "slab_core.h"

#define PERIOD_MS 200 /* of sweeps, and a little more */

static unsigned int class; /* of the cells in the test; no other has any of it */
static const struct class_info *info;
static struct slab_class *state;

static void use_class(size_t size)
{
	class = class_of_size(size);
	info = &slab_classes[class];
	state = &slab_class_states[class];
	slab_init();
	CHECK(state->slabs == 0 && state->out == 0);
}

static void check_store(void)
{
	const char *fault = slab_check();

	CHECK_MSG(!fault, "%s", fault);
}

static unsigned int take(void **cells, unsigned int n, bool *fresh)
{
	unsigned int taken;

	slab_enter(class);
	taken = slab_take_locked(class, 0, cells, n, fresh);
	slab_leave(class);
	check_store();
	return taken;
}

/* All n, in as many batches as it takes. */
static void take_all(void **cells, unsigned int n)
{
	for (unsigned int taken = 0; taken < n;) {
		unsigned int got = take(cells + taken, n - taken, NULL);

		CHECK(got);
		taken += got;
	}
}

static void give(void *const *cells, unsigned int n)
{
	slab_enter(class);
	slab_give_locked(class, cells, n);
	slab_leave(class);
	check_store();
}

static void *take_one(void)
{
	void *cell;

	CHECK(take(&cell, 1, NULL) == 1);
	return cell;
}

static struct slab *slab_with(const void *cell)
{
	struct segment *g = segment_of(cell);

	return &g->slabs[g->first[((uintptr_t)cell >> SLAB_SHIFT) % SEGMENT_SLOTS]];
}

static void give_one(void *cell)
{
	give(&cell, 1);
}

#define CELLS 20000

static void *cells[CELLS];

/* Random, the same in every run. */
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
	CHECK(state->out == 0 && state->slabs == 0 && !state->carving[0]);
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
	give(cells, n / 2); /* one by one in no order */
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
	/* Slab by slab, those with the fewest free cells first. */
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

/* A few cells now are better than a slab more. */
TEST(no_new_slab_for_the_rest_of_a_batch)
{
	use_class(640);
	take_all(cells, info->capacity - 3u);
	CHECK(take(cells, 60, NULL) == 3);
	CHECK(state->slabs == 1 && !state->carving[0]);
	CHECK(take(cells, 60, NULL) == 60 && state->slabs == 2);
}

TEST(slab_is_given_up_when_empty)
{
	char *start;
	size_t place;

	use_class(640);
	take_all(cells, info->capacity);
	start = slab_start(slab_with(cells[0]));
	place = ((uintptr_t)start - slab_window) >> SLAB_SHIFT;
	CHECK(slab_bins[place] == class * SLAB_BIN_SIZE);
	give(cells, info->capacity - 1u);
	CHECK(state->slabs == 1 && slab_bins[place]);
	give(cells + info->capacity - 1, 1);
	CHECK(state->slabs == 0 && !slab_bins[place]);
	CHECK(slab_find(start).state == CELL_NONE);
	CHECK(segment_of(start)->dirty >> (place % SEGMENT_SLOTS) & 1);
}

/* The same when it is not all carved. */
TEST(slab_is_given_up_while_it_is_carved)
{
	use_class(640);
	take_all(cells, 5);
	CHECK(state->carving[0]);
	give(cells, 5);
	CHECK(state->slabs == 0 && !state->carving[0]);
	take_all(cells, 5);
	CHECK(state->slabs == 1 && state->carving[0]);
}

/* Whose bins tell nothing but that: the slow path has to look. Each slot has an entry. */
TEST(large_slabs_have_bins_of_their_own)
{
	size_t place;

	use_class(10240);
	take_all(cells, info->capacity);
	place = ((uintptr_t)cells[0] - slab_window) >> SLAB_SHIFT;
	CHECK(slab_bin_of(class) >= CLASS_COUNT * SLAB_BIN_SIZE);
	for (size_t i = 0; i < info->slots; i++)
		CHECK(slab_bins[place + i] == slab_bin_of(class));
	for (unsigned int i = 0; i < info->capacity; i++)
		CHECK(slab_with(cells[i]) == slab_with(cells[0]));
	give(cells, info->capacity);
	for (size_t i = 0; i < info->slots; i++)
		CHECK(slab_bins[place + i] == 0);
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

/* Fresh, as a store gives it: the mark of a free cell, and zeros. */
static bool is_fresh(const char *p, size_t size)
{
	uint64_t word;

	memcpy(&word, p, sizeof(word));
	p += sizeof(word);
	size -= sizeof(word);
	return word == CELL_FREED && !p[0] && memcmp(p, p + 1, size - 1) == 0;
}

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
	give(cells, 8); /* all: the slab is dirty slots now */
	check_fresh(false);
	give(cells, 8);
	CHECK(slab_trim());
	check_fresh(true);
	give(cells + 2, 3); /* some: from bits and from the rest */
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

/* Segments. */

/* Slabs for n segments and a bit, each with one cell out. */
static unsigned int fill_segments(unsigned int n)
{
	unsigned int count;

	use_class(8192);
	count = n * (SEGMENT_SLOTS - 1) * info->capacity + 1;
	CHECK(count <= CELLS);
	for (unsigned int taken = 0; taken < count;)
		taken += take(cells + taken, info->capacity, NULL);
	CHECK(slab_store.segments >= n);
	return count;
}

TEST(trim_unmaps_all_but_the_last_segment)
{
	unsigned int n = fill_segments(4);

	CHECK(slab_store.segments >= 5);
	give(cells, n);
	CHECK(slab_store.segments >= 5 && slab_dirty_bytes() >= 4 * 63 * SLAB_SIZE);
	CHECK(slab_trim());
	check_store();
	CHECK(slab_store.segments == 1 && slab_dirty_bytes() == 0);
	CHECK(!slab_trim());
}

static void sweep_in_time(void)
{
	usleep(PERIOD_MS * 1000);
	CHECK(slab_begin_sweep());
	CHECK(!slab_begin_sweep());
	slab_end_sweep();
	check_store();
}

/* What is free for less than a period stays. */
TEST(sweeps_unmap_what_is_old)
{
	unsigned int n = fill_segments(3);
	size_t segments = slab_store.segments;

	sweep_in_time();
	give(cells, n);
	CHECK(!slab_begin_sweep());
	sweep_in_time();
	CHECK(slab_store.segments == segments && slab_dirty_bytes() > 0);
	sweep_in_time();
	CHECK(slab_store.segments == 1 && slab_dirty_bytes() == 0);
}

/* Where a segment has slabs, its free slots are purged. */
TEST(trim_purges_between_live_slabs)
{
	unsigned int n = fill_segments(2), kept = 0;

	for (unsigned int i = 0; i < n; i++) {
		if (slab_with(cells[i])->slot % 8 == 1)
			cells[kept++] = cells[i];
		else
			give_one(cells[i]);
	}
	CHECK(slab_store.segments >= 2 && slab_dirty_bytes() > 0);
	for (unsigned int i = 0; i < kept; i++)
		memset(cells[i], 1, info->size);
	CHECK(slab_trim() && slab_dirty_bytes() == 0);
	check_store();
	for (unsigned int i = 0; i < kept; i++)
		CHECK(*(char *)cells[i] == 1);
}

static bool is_all(const unsigned char *p, size_t size, unsigned char byte)
{
	for (size_t i = 0; i < size; i++)
		if (p[i] != byte)
			return false;
	return true;
}

/* Every 32nd cell of 1 KiB lives: its page stays as it is, and the others read as zero. */
TEST(trim_purges_pages_between_live_cells)
{
	unsigned char *start;

	use_class(KIB);
	take_all(cells, info->capacity);
	start = cells[0];
	for (unsigned int i = 0; i < info->capacity; i++)
		memset(cells[i], 0xa5, KIB);
	for (unsigned int i = 0; i < info->capacity; i++)
		if (i % 32)
			give_one(cells[i]);
	CHECK(slab_trim() && !slab_trim());
	check_store();
	for (size_t at = 0; at < info->capacity * KIB; at += 32 * KIB) {
		CHECK(is_all(start + at, KIB, 0xa5));
		CHECK(is_all(start + at + sys_page_size(), 32 * KIB - sys_page_size(), 0));
	}
	take_all(cells, info->capacity - info->capacity / 32u);
	for (unsigned int i = 0; i < info->capacity - info->capacity / 32u; i++)
		memset(cells[i], 1, KIB);
	for (size_t at = 0; at < info->capacity * KIB; at += 32 * KIB)
		CHECK(is_all(start + at, KIB, 0xa5));
	give_one(cells[1]);
	CHECK(state->slabs == 1);
	check_store();
}

/* Sparse slabs, and sweeps. */

/* Up to one that looks at pages: every other one does. */
static void sweep(void)
{
	slab_set_sweep_period(0);
	for (int i = 0; i < 2; i++) {
		CHECK(slab_begin_sweep());
		slab_end_sweep();
		check_store();
	}
}

/* Take slabs full of cells, write to all, give back all but kept of each, as cells[] has them. */
static void make_sparse(size_t size, unsigned int slabs, unsigned int kept)
{
	use_class(size);
	for (unsigned int i = 0; i < slabs * info->capacity; i++)
		CHECK(slab_take_locked(class, 0, &cells[i], 1, NULL) == 1);
	for (unsigned int i = 0; i < slabs * info->capacity; i++) {
		memset(cells[i], 0xa5, size);
		if (!slab_store.is_hardened && i % info->capacity >= kept)
			*cell_word(cells[i]) = CELL_FREED; /* as free does */
	}
	for (unsigned int i = 0; i < slabs; i++)
		slab_give_locked(class, cells + i * info->capacity + kept, info->capacity - kept);
	check_store();
	CHECK(state->slabs == slabs);
}

static bool are_all_in(unsigned int slabs, enum slab_bucket bucket)
{
	for (unsigned int i = 0; i < slabs; i++)
		if (slab_with(cells[i * info->capacity])->bucket != bucket)
			return false;
	return true;
}

static size_t resident_pages(const struct slab *s)
{
	unsigned char pages[4 * SLAB_SIZE / 4096];
	size_t bytes = info->slots * SLAB_SIZE, n = 0;

	CHECK(mincore(slab_start(s), bytes, pages) == 0);
	for (size_t i = 0; i < bytes / sys_page_size(); i++)
		n += pages[i] & 1;
	return n;
}

static void sweeps_purge(size_t size, size_t pages_needed)
{
	enum {
		SLABS = 5
	};
	size_t others = slab_store.sparse_slots;

	make_sparse(size, SLABS, 1);
	CHECK(slab_store.sparse_slots == others + SLABS * info->slots);
	CHECK(are_all_in(SLABS, BUCKET_TOUCHED));
	sweep();
	CHECK(are_all_in(SLABS, BUCKET_IDLE) && slab_store.sparse_slots > others);
	CHECK(resident_pages(slab_with(cells[0])) == info->slots * SLAB_SIZE / sys_page_size());
	sweep();
	CHECK(are_all_in(SLABS, BUCKET_PURGED) && slab_store.sparse_slots <= others);
	for (unsigned int i = 0; i < SLABS; i++) {
		unsigned char *survivor = cells[i * info->capacity];

		CHECK(resident_pages(slab_with(survivor)) == pages_needed);
		CHECK(is_all(survivor, size, 0xa5));
	}
}

TEST(sweeps_leave_a_page_for_a_survivor)
{
	sweeps_purge(160, 1);
}

TEST(sweeps_leave_the_pages_of_large_survivors)
{
	sweeps_purge(8192, 2);
	sweeps_purge(16384, 4);
}

TEST(sweeps_leave_dense_slabs_alone)
{
	make_sparse(KIB, 4, 16); /* a quarter */
	for (int i = 0; i < 5; i++)
		sweep();
	CHECK(are_all_in(4, 2));
	CHECK(resident_pages(slab_with(cells[0])) == SLAB_SIZE / sys_page_size());
}

TEST(slabs_that_are_touched_stay)
{
	void *cell;

	make_sparse(KIB, 2, 2);
	sweep();
	give_one(cells[1]);
	cell = take_one(); /* of the other one: that was touched last of all */
	CHECK(slab_with(cell) == slab_with(cells[0]));
	CHECK(slab_with(cells[0])->bucket == BUCKET_TOUCHED);
	CHECK(slab_with(cells[info->capacity])->bucket == BUCKET_IDLE);
	sweep();
	CHECK(slab_with(cells[0])->bucket == BUCKET_IDLE);
	CHECK(slab_with(cells[info->capacity])->bucket == BUCKET_PURGED);
	sweep();
	CHECK(are_all_in(2, BUCKET_PURGED));
}

/* What is there is used before what would have to come back. */
TEST(purged_slabs_are_used_last)
{
	make_sparse(KIB, 2, 3);
	sweep();
	sweep();
	CHECK(are_all_in(2, BUCKET_PURGED));
	for (unsigned int i = 0; i < 2; i++) {
		void *given = cells[(1 - i) * info->capacity];

		give_one(given);
		CHECK(slab_with(take_one()) == slab_with(given));
		slab_trim();
		CHECK(are_all_in(2, BUCKET_PURGED));
	}
}

/* In a cache, their second free is seen by the mark; in the store, by the bits. */
TEST(cells_of_purged_slabs_are_marked_when_they_leave)
{
	struct slab *s;
	size_t place;
	unsigned int n;

	make_sparse(160, 1, 1);
	s = slab_with(cells[0]);
	place = ((uintptr_t)slab_start(s) - slab_window) >> SLAB_SHIFT;
	sweep();
	sweep();
	CHECK(slab_is_closed(s) && !slab_bins[place]);
	n = info->capacity - 1u;
	take_all(cells + 1, n / 2);
	CHECK(slab_is_closed(s) && !slab_bins[place]);
	take_all(cells + 1 + n / 2, n - n / 2);
	CHECK(!slab_is_closed(s) && slab_bins[place] == slab_bin_of(class));
	for (unsigned int i = 1; i <= n; i++)
		CHECK(*cell_word(cells[i]) == CELL_FREED);
}

/* What is left then is marked in the store: frees into a slab in use take the short way. */
TEST(purged_slab_that_fills_again_is_open_to_the_short_way)
{
	unsigned int left;
	struct slab *s;

	make_sparse(160, 1, 1);
	s = slab_with(cells[0]);
	sweep();
	sweep();
	CHECK(slab_is_closed(s));
	left = info->capacity / 4u;
	take_all(cells + 1, info->capacity - 1u - left);
	CHECK(!slab_is_closed(s) && s->free == left);
	CHECK(slab_bins[((uintptr_t)slab_start(s) - slab_window) >> SLAB_SHIFT] ==
	      slab_bin_of(class));
	for (size_t i = 0; i < info->capacity; i++) {
		void *cell = slab_start(s) + i * info->size;

		CHECK(cell == cells[0] || *cell_word(cell) == CELL_FREED);
	}
	take_all(cells + info->capacity - left, left);
	CHECK(!s->free);
}

TEST(hardened_cells_of_purged_slabs_stay_zero)
{
	slab_harden();
	make_sparse(160, 1, 1);
	sweep();
	sweep();
	take_all(cells + 1, info->capacity - 1u);
	for (unsigned int i = 30; i < info->capacity; i++)
		CHECK(is_all(cells[i], 160, 0));
}

/* Use slab s, which has one cell out, and leave it idle. The sweeps until it is purged again. */
static unsigned int sweeps_until_purged(struct slab *s, void **room)
{
	unsigned int n = 0;

	take_all(room, 3);
	CHECK(slab_with(room[0]) == s);
	give(room, 3);
	CHECK(s->bucket == BUCKET_TOUCHED && !s->is_purged);
	for (; s->bucket != BUCKET_PURGED; n++)
		sweep();
	return n;
}

TEST(slabs_in_use_now_and_then_are_purged_less_and_less)
{
	struct slab *s;
	unsigned int total = 0;
	size_t advised;

	make_sparse(KIB, 1, 1);
	s = slab_with(cells[0]);
	sweep();
	sweep();
	for (int i = 0; i < 5; i++)
		sweeps_until_purged(s, cells + 1);
	advised = slab_store.advise_calls;
	for (int i = 0; i < 10; i++)
		total += sweeps_until_purged(s, cells + 1);
	CHECK_MSG(total >= 9 * 16 && total <= 10 * 17 + 16, "%u sweeps", total);
	CHECK(slab_store.advise_calls == advised + 10);
	CHECK(segment_of(s)->slabs[s->slot].purges == 4);
}

/* A purged slab that only gives cells has nothing new to give back. */
TEST(purged_slabs_are_not_purged_for_what_was_taken)
{
	size_t advised;

	make_sparse(KIB, 1, 1);
	sweep();
	sweep();
	advised = slab_store.advise_calls;
	take_one();
	CHECK(are_all_in(1, BUCKET_TOUCHED) && slab_store.sparse_slots);
	sweep();
	sweep();
	CHECK(are_all_in(1, BUCKET_PURGED) && slab_store.advise_calls == advised);
}

/* A sweep of very many does a part, and the next ones the rest. */
TEST(sweeps_are_bounded)
{
	enum {
		SLABS = 600,
		A_SWEEP = 512
	};

	use_class(8192);
	for (unsigned int i = 0; i < SLABS * info->capacity; i++)
		CHECK(slab_take_locked(class, 0, &cells[i], 1, NULL) == 1);
	for (unsigned int i = 0; i < SLABS; i++)
		slab_give_locked(class, cells + i * info->capacity + 1, info->capacity - 1u);
	CHECK(slab_store.sparse_slots == SLABS);
	sweep();
	CHECK(slab_store.sparse_slots == SLABS);
	sweep();
	CHECK(slab_store.sparse_slots == SLABS - A_SWEEP);
	sweep();
	CHECK(slab_store.sparse_slots == 0 && are_all_in(SLABS, BUCKET_PURGED));
}

/* What is at work gets nothing purged: 100 of 120 slabs are touched. */
TEST(sweeps_wait_until_it_is_calm)
{
	enum {
		SLABS = 120,
		BUSY = 100
	};

	make_sparse(KIB, SLABS, 2);
	sweep();
	for (unsigned int i = 0; i < BUSY; i++)
		slab_give_locked(class, &cells[i * info->capacity + 1], 1);
	sweep();
	CHECK(slab_store.sparse_slots == SLABS && are_all_in(SLABS, BUCKET_IDLE));
	sweep();
	CHECK(are_all_in(SLABS, BUCKET_PURGED));
}

TEST(trim_files_sparse_slabs_as_purged)
{
	make_sparse(KIB, 3, 1);
	CHECK(slab_trim() && are_all_in(3, BUCKET_PURGED) && !slab_dirty_bytes());
	take_one();
	CHECK(slab_dirty_bytes() && !slab_trim() && !slab_dirty_bytes());
}

/*
 * A slab with free cells where nothing was given back since the last time is not looked at again.
 */
TEST(trim_purges_again_what_was_used_again)
{
	use_class(8192);
	take_all(cells, info->capacity);
	give(cells + 1, info->capacity - 1u);
	CHECK(slab_trim() && !slab_trim());
	take_all(cells + 1, info->capacity - 1u);
	CHECK(!slab_trim());
	give(cells + 1, info->capacity - 1u);
	CHECK(slab_trim() && !slab_trim());
}

TEST(dirty_pages_are_used_first)
{
	struct slab *low, *high;

	use_class(8192);
	take_all(cells, 4u * info->capacity);
	low = slab_with(cells[0]);
	high = slab_with(cells[2 * info->capacity]);
	give(cells, info->capacity);
	slab_trim(); /* the low slot is clean */
	give(cells + 2 * info->capacity, info->capacity);
	CHECK(low < high && slab_with(take_one()) == high);
	take_all(cells, info->capacity - 1u);
	CHECK(slab_with(take_one()) == low);
}

/* In a fork's child; forks.c has what is half done. */

static void *do_nothing(void *arg)
{
	return arg;
}

/* The locks of a store that is whole, held by a thread that the child has not got. */
TEST(child_of_a_whole_store)
{
	pthread_t thread;
	unsigned int n = 5;
	struct osmem_cell_stats before, after;

	CHECK(pthread_create(&thread, NULL, do_nothing, NULL) == 0);
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
	check_store(); /* which takes all locks */
	slab_get_stats(&after);
	CHECK(memcmp(&before, &after, sizeof(before)) == 0);
	slab_fork_child();
	CHECK(!slab_fork_was_locked(0));
	take_all(cells, n);
	give(cells, n + info->capacity);
	CHECK(state->slabs == 0 && slab_trim());
}

/* What is given back wrongly. */

static void give_arg(void *arg)
{
	give_one(arg);
}

/* A shard in use keeps its slabs from another only while that can have new ones. */
TEST(without_memory_all_shards_cells_serve)
{
	struct rlimit none = {.rlim_cur = 0, .rlim_max = 0};
	unsigned int n, half, taken = 0, got;
	void *large, **others = cells + CELLS / 2;

	use_class(1024);
	n = 4u * info->capacity;
	half = n / 2;
	slab_shard_users[0] = slab_shard_users[1] = 1;
	take_all(cells, n);
	for (unsigned int i = 0; i < n; i += 2)
		give_one(cells[i]);
	CHECK(setrlimit(RLIMIT_AS, &none) == 0);
	while (slab_take_locked(class_of_size(CELL_MAX), 0, &large, 1, NULL))
		; /* every slot that takes four */
	while (slab_take_locked(class_of_size(8192), 0, &large, 1, NULL))
		; /* and every other one */
	while ((got = slab_take_locked(class, 1, others + taken, half, NULL)))
		taken += got;
	CHECK_MSG(taken == half, "%u cells of %u", taken, half);
	check_store();
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
	expect_refused(cells[2], "this block is already free"); /* of another class by now */
}

/* Of slabs that are no more, whose headers the kernel has got back. */
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
	check_store();
}

/* The checker. */

#define BREAK(lvalue, wrong, number) BREAK_BY(slab_check, lvalue, wrong, number)

/* Two slabs that are all carved, one with a free cell, and one that is being carved. */
static struct slab *full, *holed, *carving;

static void set_up(void)
{
	unsigned int n;

	use_class(640);
	n = info->capacity;
	take_all(cells, 2 * n + 3);
	full = slab_with(cells[0]);
	holed = slab_with(cells[n]);
	carving = slab_with(cells[2 * n]);
	give(cells + n, 2);
	give(cells + 2 * n, 1);
	CHECK(full->free == 0 && holed->free == 2 && carving->free == 1 && carving->carved == 3);
}

TEST(s1_bits)
{
	set_up();
	BREAK(holed->free, 1, "S1");
	BREAK(holed->summary, 0, "S1");
	BREAK(full->summary, 2, "S1");
	BREAK(full->bits[0], 1, "S1");
	BREAK(carving->bits[0], 1 | 1 << 5, "S1"); /* was never carved */
	BREAK(carving->bits[60], 1, "S1");
}

TEST(s2_lists)
{
	set_up();
	BREAK(state->partial[0][0], NULL, "S2");
	BREAK(state->partial[0][0], full, "S2");
	BREAK(state->partial[0][2], holed, "S2");
	BREAK(state->partial[0][0]->prev, full, "S2");
	BREAK(state->partial[0][0]->next, NULL, "S2");
	BREAK(holed->bucket, 3, "S2");
}

TEST(s2_purged)
{
	struct slab *s;

	make_sparse(KIB, 1, 1);
	CHECK(slab_trim());
	s = slab_with(cells[0]);
	BREAK(s->is_purged, false, "S2");
	BREAK(s->bucket, BUCKET_IDLE, "S2");
}

TEST(s3_empty_slab)
{
	set_up();
	BREAK(carving->carved, 1, "S3");
}

TEST(s4_carving)
{
	set_up();
	BREAK(state->carving[0], NULL, "S4");
	BREAK(state->carving[0], full, "S4");
	BREAK(full->carved, (uint16_t)(info->capacity - 1), "S4");
}

TEST(s5_slots)
{
	struct segment *g;

	set_up();
	g = segment_of(full);
	BREAK(full->class, 0, "S5");
	BREAK(full->class, CLASS_END, "S5");
	BREAK(full->carved, (uint16_t)(info->capacity + 1), "S5");
	BREAK(g->first[full->slot], 0, "S5");
	BREAK(full->slot, 62, "S5");
	BREAK(g->used, g->used & ~(uint64_t)1, "S5");
	BREAK(g->dirty, g->dirty | (uint64_t)1 << full->slot, "S5");
	BREAK(g->used, g->used | (uint64_t)1 << 50, "S5");
}

TEST(s6_bins)
{
	size_t place;

	set_up();
	place = ((uintptr_t)slab_start(full) - slab_window) >> SLAB_SHIFT;
	BREAK(slab_bins[place], SLAB_BIN_SPAN, "S6");
	BREAK(slab_bins[place], SLAB_BIN_SIZE, "S6");
	BREAK(slab_bins[place - full->slot + 50], SLAB_BIN_SIZE, "S6");
}

TEST(s7_sets_of_segments)
{
	uint64_t *words, bit;
	size_t i;

	set_up();
	i = ((uintptr_t)segment_of(full) - slab_window) / SEGMENT_SIZE;
	words = slab_first_window.bits[i / 64].words;
	bit = (uint64_t)1 << i % 64;
	BREAK(words[SET_ROOMY], words[SET_ROOMY] ^ bit, "S7");
	BREAK(words[SET_WITH_QUAD], words[SET_WITH_QUAD] ^ bit, "S7");
	BREAK(words[SET_WITH_DIRTY], words[SET_WITH_DIRTY] ^ bit, "S7");
}

/* The summaries lead to the words. */
TEST(s7_summaries)
{
	size_t i;

	set_up();
	i = ((uintptr_t)segment_of(full) - slab_window) / SEGMENT_SIZE / 64;
	BREAK(slab_first_window.summaries[SET_ROOMY][i / 64], 0, "S7");
	BREAK(slab_first_window.summaries[SET_LIVE][i / 64], 0, "S7");
	BREAK(slab_first_window.summaries[SET_WITH_DIRTY][0], 1, "S7");
}

TEST(s8_figures)
{
	size_t wrong;

	set_up();
	BREAK(state->slabs, state->slabs + 1, "S8");
	BREAK(state->out, state->out - 1, "S8");
	BREAK(slab_class_states[CLASS_CACHE].slabs, 77, "S8");
	BREAK(slab_store.segments, slab_store.segments + 1, "S8");
	wrong = slab_store.sparse_slots + 1;
	break_bytes(slab_check, &slab_store.sparse_slots, &wrong, sizeof(wrong), "S8");
	wrong = slab_store.dirty_pages + 1;
	break_bytes(slab_check, &slab_store.dirty_pages, &wrong, sizeof(wrong), "S8");
}

TEST(s9_seals)
{
	struct segment *g;

	set_up();
	g = segment_of(full);
	BREAK(full->seal, full->seal ^ 1, "S9");
	BREAK(full->next, holed, "S9"); /* in no list */
	BREAK(full->is_fresh, !full->is_fresh, "S9");
	BREAK(g->seal, g->seal ^ 1, "S9");
}

/* Every sealed byte of a slab's header, by every call that takes the slab up; then the others. */

struct damage {
	char *at;
	void (*call)(void);
};

static void take_more(void)
{
	static void *more[3000];

	slab_take_locked(class, 0, more, COUNT_OF(more), NULL);
	slab_take_locked(class, 1, more, COUNT_OF(more), NULL);
}

static void give_all(void)
{
	slab_give_locked(class, cells + info->capacity + 2, info->capacity - 2);
}

/* One that does not move its slab, which is followed only then. */
static void give_one_and_take(void)
{
	slab_give_locked(class, cells + info->capacity + 2, 1);
	take_more();
}

static void trim(void)
{
	slab_trim();
}

static void do_damage(void *arg)
{
	const struct damage *d = arg;

	*d->at ^= 0x10;
	d->call();
}

static void expect_report(char *at, void (*call)(void), const char *what)
{
	struct damage d = {.at = at, .call = call};
	char err[256];
	int status = test_in_child(do_damage, &d, err, sizeof(err));

	CHECK_MSG(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT && strstr(err, what),
		  "byte at %p: status %d, %s", (void *)at, status, err);
}

TEST(overwritten_headers_are_reported)
{
	static const char of_slab[] = "the header of a slab is overwritten";
	static const char of_segment[] = "the header of a segment is overwritten";
	struct segment *g;

	set_up();
	g = segment_of(holed);
	for (char *at = (char *)holed; at < (char *)&holed->free; at++) {
		expect_report(at, take_more, of_slab);
		expect_report(at, give_all, of_slab);
		expect_report(at, give_one_and_take, of_slab);
		expect_report(at, trim, of_slab);
	}
	for (char *at = (char *)&g->used; at < (char *)&g->fixed; at++)
		expect_report(at, take_more, of_segment);
	for (size_t i = 0; i < sizeof(holed->summary); i++)
		expect_report((char *)&holed->summary + i, take_more, of_slab);
	expect_report((char *)&holed->free, take_more, of_slab);
	expect_report((char *)&holed->free + 1, give_all, of_slab);
	expect_report((char *)&holed->bits[0], take_more, of_slab); /* not what free says */
	expect_report((char *)&g->first[holed->slot], give_all, "");
}

/* What is written past the last cell of a segment hits nothing of the next one's. */
TEST(margin_between_segments)
{
	struct segment *g;

	set_up();
	g = segment_of(full);
	memset(g, 0x5a, SEGMENT_MARGIN);
	check_store();
	take_more();
	check_store();
}
