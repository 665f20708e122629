// SPDX-License-Identifier: BSD-3-Clause
// Needs: objects

/* When slabs, pages and segments are purged or unmapped. */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "broken.h"
#include "harness.h"
#include "slab/slab_core.h"
#include "slabs.h"

#define PERIOD_MS 200 /* the period of scavenges, and a little more */

/* Segments. */

/* Slabs for a little more than n segments, each with one live cell. */
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
	expect_sound(slab_check);
	CHECK(slab_store.segments == 1 && slab_dirty_bytes() == 0);
	CHECK(!slab_trim());
}

static void sweep_in_time(void)
{
	usleep(PERIOD_MS * 1000);
	CHECK(slab_begin_sweep(false));
	CHECK(!slab_begin_sweep(false));
	slab_end_sweep();
	expect_sound(slab_check);
}

/* What has been free for less than a period stays. */
TEST(sweeps_unmap_what_is_old)
{
	unsigned int n = fill_segments(3);
	size_t segments = slab_store.segments;

	sweep_in_time();
	give(cells, n);
	CHECK(!slab_begin_sweep(false));
	sweep_in_time();
	CHECK(slab_store.segments == segments && slab_dirty_bytes() > 0);
	sweep_in_time();
	CHECK(slab_store.segments == 1 && slab_dirty_bytes() == 0);
}

/* In a segment with slabs, free slots are purged. */
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
	expect_sound(slab_check);
	for (unsigned int i = 0; i < kept; i++)
		CHECK(*(char *)cells[i] == 1);
}

/* Every 32nd cell of 1 KiB is live: its page keeps its contents, and the others read as zero. */
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
	expect_sound(slab_check);
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
	expect_sound(slab_check);
}

/* Sparse slabs, and scavenges. */

/* Scavenge until one visits sparse slabs: every other one does. */
static void sweep(void)
{
	slab_sweep_period_ms = 0;
	for (int i = 0; i < 2; i++) {
		CHECK(slab_begin_sweep(false));
		slab_end_sweep();
		expect_sound(slab_check);
	}
}

static bool are_all_in(unsigned int slabs, enum fullness_group group)
{
	for (unsigned int i = 0; i < slabs; i++)
		if (slab_with(cells[i * info->capacity])->group != group)
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
	CHECK(are_all_in(SLABS, GROUP_TOUCHED));
	sweep();
	CHECK(are_all_in(SLABS, GROUP_IDLE) && slab_store.sparse_slots > others);
	CHECK(resident_pages(slab_with(cells[0])) == info->slots * SLAB_SIZE / sys_page_size());
	sweep();
	CHECK(are_all_in(SLABS, GROUP_PURGED) && slab_store.sparse_slots <= others);
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
	cell = take_one(); /* of the other one, which was touched last */
	CHECK(slab_with(cell) == slab_with(cells[0]));
	CHECK(slab_with(cells[0])->group == GROUP_TOUCHED);
	CHECK(slab_with(cells[info->capacity])->group == GROUP_IDLE);
	sweep();
	CHECK(slab_with(cells[0])->group == GROUP_IDLE);
	CHECK(slab_with(cells[info->capacity])->group == GROUP_PURGED);
	sweep();
	CHECK(are_all_in(2, GROUP_PURGED));
}

/* Resident cells are used before purged ones. */
TEST(purged_slabs_are_used_last)
{
	make_sparse(KIB, 2, 3);
	sweep();
	sweep();
	CHECK(are_all_in(2, GROUP_PURGED));
	for (unsigned int i = 0; i < 2; i++) {
		void *given = cells[(1 - i) * info->capacity];

		give_one(given);
		CHECK(slab_with(take_one()) == slab_with(given));
		slab_trim();
		CHECK(are_all_in(2, GROUP_PURGED));
	}
}

/* A double free is detected by the mark in a cache, and by the bits in the store. */
TEST(cells_of_purged_slabs_are_marked_when_they_leave)
{
	struct slab *s;
	const uint16_t *bin;
	unsigned int n;

	make_sparse(160, 1, 1);
	s = slab_with(cells[0]);
	bin = segment_page_map(slab_start(s));
	sweep();
	sweep();
	CHECK(slab_is_closed(s) && !*bin);
	n = info->capacity - 1u;
	take_all(cells + 1, n / 2);
	CHECK(slab_is_closed(s) && !*bin);
	take_all(cells + 1 + n / 2, n - n / 2);
	CHECK(!slab_is_closed(s) && *bin == slab_bin_of(class));
	for (unsigned int i = 1; i <= n; i++)
		CHECK(*cell_word(cells[i]) == CELL_FREED);
}

/* The remaining cells are then marked in the store: frees into a slab in use take the fast path. */
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
	CHECK(*segment_page_map(slab_start(s)) == slab_bin_of(class));
	for (size_t i = 0; i < info->capacity; i++) {
		void *cell = slab_start(s) + i * info->size;

		CHECK(cell == cells[0] || *cell_word(cell) == CELL_FREED);
	}
	take_all(cells + info->capacity - left, left);
	CHECK(!s->free);
}

/*
 * A cell that was freed twice and is in use again looks like a purged one if its user writes zero.
 * Without a purge it is none: here, in the page of a live cell.
 */
TEST(cells_that_were_not_purged_get_no_mark)
{
	unsigned int others;

	make_sparse(160, 1, 1);
	others = info->capacity - 1u;
	sweep();
	sweep();
	CHECK(slab_is_closed(slab_with(cells[0])));
	*cell_word(cells[1]) = 0;
	CHECK(slab_take_locked(class, 0, cells + 1, others, NULL) == others);
	CHECK(!*cell_word(cells[1]));
	for (unsigned int i = 2; i <= others; i++)
		CHECK(*cell_word(cells[i]) == CELL_FREED);
}

/*
 * Nor is it one if a cell of a purged page has been in use since: then all cells there get their
 * marks.
 */
TEST(pages_that_are_in_use_again_are_marked)
{
	struct slab *s;
	char *page;
	void *first;

	make_sparse(160, 1, 1);
	s = slab_with(cells[0]);
	page = slab_start(s) + sys_page_size();
	sweep();
	sweep();
	CHECK(is_all(page, sys_page_size(), 0));
	do
		first = take_one();
	while ((char *)first < page);
	CHECK(slab_is_closed(s));
	for (char *p = first; p < page + sys_page_size(); p += 160)
		CHECK(*cell_word(p) == CELL_FREED);
	give_one(first);
	CHECK(slab_is_closed(s));
	CHECK(take_one() == first && *cell_word(first) == CELL_FREED);
	*cell_word((char *)first + 160) = 0;
	expect_fault(slab_check, "S10");
	CHECK(slab_take_locked(class, 0, cells, 1, NULL) && cells[0] == (char *)first + 160);
	CHECK(!*cell_word(cells[0]));
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

static void sweep_twice(void *written)
{
	*(volatile char *)written = 1;
	sweep();
	sweep();
}

static void expect_report(char *written)
{
	char line[100];

	snprintf(line, sizeof(line), "osmem: malloc(%p): this free memory was written to",
		 (void *)((uintptr_t)written & ~(uintptr_t)15));
	EXPECT_ABORT(sweep_twice, written, line);
}

/* A purge would hide the write: of pages between cells, and of pages without. */
TEST(hardened_writes_are_reported_before_a_purge)
{
	slab_harden();
	make_sparse(160, 1, 1);
	expect_report((char *)cells[100] + 159);
	give(cells, 1);
	expect_report((char *)cells[0] + 8);
}

/*
 * Use slab s, which has one live cell, and leave it idle. Returns the number of scavenges until it
 * is purged again.
 */
static unsigned int sweeps_until_purged(struct slab *s, void **room)
{
	unsigned int n = 0;

	take_all(room, 3);
	CHECK(slab_with(room[0]) == s);
	give(room, 3);
	CHECK(s->group == GROUP_TOUCHED && !s->is_purged);
	for (; s->group != GROUP_PURGED; n++)
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

/* A purged slab that only gives cells has nothing new to purge. */
TEST(purged_slabs_are_not_purged_for_what_was_taken)
{
	size_t advised;

	make_sparse(KIB, 1, 1);
	sweep();
	sweep();
	advised = slab_store.advise_calls;
	take_one();
	CHECK(are_all_in(1, GROUP_TOUCHED) && slab_store.sparse_slots);
	sweep();
	sweep();
	CHECK(are_all_in(1, GROUP_PURGED) && slab_store.advise_calls == advised);
}

/* A scavenge visits a bounded number of sparse slabs; the next ones visit the rest. */
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
	CHECK(slab_store.sparse_slots == 0 && are_all_in(SLABS, GROUP_PURGED));
}

/* A growing process scavenges early, and visits sparse slabs each time. */
TEST(early_sweeps_purge_sparse_slabs)
{
	slab_sweep_period_ms = 10 * PERIOD_MS;
	CHECK(slab_begin_sweep(false));
	slab_end_sweep();
	make_sparse(KIB, 3, 1);
	for (int i = 0; i < 2; i++) {
		CHECK(are_all_in(3, i ? GROUP_IDLE : GROUP_TOUCHED));
		usleep(PERIOD_MS * 1000 / 4);
		CHECK(!slab_begin_sweep(false) && slab_begin_sweep(true));
		slab_end_sweep();
		expect_sound(slab_check);
	}
	CHECK(are_all_in(3, GROUP_PURGED));
}

TEST(growth_is_what_was_not_dirty)
{
	use_class(KIB);
	take_one();
	slab_sweep_period_ms = 0;
	CHECK(slab_begin_sweep(false) && !slab_grown_bytes());
	slab_end_sweep();
	take_all(cells, 3u * info->capacity);
	CHECK(slab_grown_bytes() == 3 * SLAB_SIZE);
	give(cells, 3u * info->capacity);
	take_all(cells, 3u * info->capacity);
	CHECK(slab_grown_bytes() == 3 * SLAB_SIZE);
}

/* A busy process purges nothing: 100 of 120 slabs are touched. */
TEST(sweeps_wait_until_it_is_calm)
{
	enum {
		SLABS = 120,
		BUSY = 100
	};

	make_sparse(KIB, SLABS, 2);
	sweep();
	for (unsigned int i = 0; i < BUSY; i++)
		give_one(cells[i * info->capacity + 1]);
	sweep();
	CHECK(slab_store.sparse_slots == SLABS && are_all_in(SLABS, GROUP_IDLE));
	sweep();
	CHECK(are_all_in(SLABS, GROUP_PURGED));
}

TEST(trim_files_sparse_slabs_as_purged)
{
	make_sparse(KIB, 3, 1);
	CHECK(slab_trim() && are_all_in(3, GROUP_PURGED) && !slab_dirty_bytes());
	take_one();
	CHECK(slab_dirty_bytes() && !slab_trim() && !slab_dirty_bytes());
}

/* A slab with free cells that got none back since the last time is not visited again. */
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

static void give_as_it_is(void *arg)
{
	slab_enter(class);
	slab_give_locked(class, &arg, 1);
	slab_leave(class);
}

static void trim_once(void *arg)
{
	(void)arg;
	slab_trim();
}

static void sweep_all(void *arg)
{
	(void)arg;
	slab_sweep_period_ms = 0;
	for (int i = 0; i < 2 * 2; i++)
		if (slab_begin_sweep(false))
			slab_end_sweep();
}

/* A cell without its mark may be in use: it neither enters the store nor is purged there. */
TEST(store_refuses_what_is_in_use)
{
	char line[128];
	void *cell;

	make_sparse(8192, 1, 1);
	cell = cells[info->capacity / 2];
	snprintf(line, sizeof(line),
		 "osmem: malloc(0x%lx): this free block was written to, or freed twice",
		 (unsigned long)(uintptr_t)cell);
	*cell_word(cell) = 0;
	EXPECT_ABORT(trim_once, NULL, line);
	EXPECT_ABORT(sweep_all, NULL, line);
	*cell_word(cell) = CELL_FREED;
	take_all(cells + 1, info->capacity - 1u);
	*cell_word(cell) = 0;
	EXPECT_ABORT(give_as_it_is, cell, line);
	*cell_word(cell) = CELL_FREED;
	give_as_it_is(cell);
}
