// SPDX-License-Identifier: BSD-3-Clause
// Needs: objects

/*
 * Blocks that wait for the next search, in a table that is full at once: what has no room is found
 * again, whatever became of it, and every block is placed as with a table that is never full.
 */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "block/block_core.h"
#include "broken.h"
#include "harness.h"
#include "osmem.h"

#define SLOTS 300
#define CALLS 6000

static uint64_t state;

/* Where a call has put its block, from the heap's start on. */
static uint32_t place_of(const char *p)
{
	return p ? (uint32_t)(p - block_regions[0].start) : 0;
}

/* Frees come in long rows; reallocs take in what waits, or leave a rest that waits. */
static void call(char **slots, size_t i, size_t phase)
{
	size_t size = random_below(&state, 4) ? random_below(&state, 200) + 1
					      : random_below(&state, 3000) + 1;

	if (!slots[i]) {
		slots[i] = phase % 3 == 0 ? os_malloc(size) : NULL;
	} else if (phase % 3 == 1 || random_below(&state, 3) == 0) {
		os_free(slots[i]);
		slots[i] = NULL;
	} else {
		char *p = os_realloc(slots[i], phase % 3 == 0 ? size : size % 300 + 1);

		CHECK(p);
		slots[i] = p;
	}
}

static void run(uint64_t seed, size_t room, uint32_t *places)
{
	static char *slots[SLOTS];
	size_t spilled = 0, i;

	course.pending.room = room;
	state = seed;
	for (size_t n = 0; n < CALLS; n++) {
		i = random_below(&state, SLOTS);
		call(slots, i, n / 400);
		places[n] = place_of(slots[i]);
		spilled += course.pending.spilled;
		if (n % 16 == 0)
			expect_sound(block_check);
	}
	CHECK((spilled > 0) == (room < SLOTS));
}

struct trial {
	uint64_t seed;
	size_t room;
	uint32_t *places;
};

static void run_trial(void *arg)
{
	const struct trial *t = arg;

	run(t->seed, t->room, t->places);
}

static void run_in_child(uint64_t seed, size_t room, uint32_t *places)
{
	struct trial t = {seed, room, places};
	char err[256];
	int status = test_in_child(run_trial, &t, err, sizeof(err));

	CHECK_MSG(status == 0, "seed %u, room %zu: status %d, %s", (unsigned int)seed, room, status,
		  err);
}

TEST(a_full_table_places_as_an_empty_one)
{
	static const size_t rooms[] = {0, 1, 3, 40};
	size_t bytes = 2 * CALLS * sizeof(uint32_t);
	uint32_t *places =
		mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	CHECK(places != MAP_FAILED);
	for (uint64_t seed = 1; seed <= 5; seed++) {
		run_in_child(seed, PENDING_ROOM, places);
		for (size_t i = 0; i < sizeof(rooms) / sizeof(rooms[0]); i++) {
			run_in_child(seed, rooms[i], places + CALLS);
			CHECK(memcmp(places, places + CALLS, bytes / 2) == 0);
		}
	}
}

/* The lowest of those without room, and the highest, become part of the block before them. */
TEST(the_ends_of_what_is_spilled_are_absorbed)
{
	char *p[8];

	for (size_t i = 0; i < 8; i++)
		CHECK((p[i] = os_malloc(24)));
	course.pending.room = 0;
	os_free(p[1]);
	os_free(p[3]);
	os_free(p[5]);
	CHECK(os_realloc(p[0], 80) == p[0]);
	expect_sound(block_check);
	CHECK(os_realloc(p[4], 80) == p[4]);
	expect_sound(block_check);
	CHECK(course.pending.spilled == 1);
	CHECK(os_malloc(24) == p[3]);
	expect_sound(block_check);
	CHECK(course.pending.spilled == 0);
	os_free(p[2]);
	os_free(p[3]);
	CHECK(os_malloc(80) == p[2]);
	expect_sound(block_check);
}

/* Three holes of 8 bytes between live blocks. p[0], p[2] and p[4] are in front of them. */
static void leave_small_holes(char **p)
{
	for (size_t i = 0; i < 6; i += 2) {
		CHECK((p[i] = os_malloc(64)));
		CHECK((p[i + 1] = os_malloc(24)));
	}
	for (size_t i = 0; i < 6; i += 2)
		CHECK(os_realloc(p[i], 24) == p[i]);
	CHECK(os_malloc(1000));
	expect_sound(block_check);
}

/* Holes that a pairing heap cannot hold wait until a request may want one. */
TEST(small_holes_are_deferred)
{
	char *p[6];

	leave_small_holes(p);
	CHECK(course.pending.deferred == 3 && course.pending.count == 3);
	CHECK(os_malloc(24) && course.pending.deferred == 3);
	CHECK(os_malloc(8) == p[0] + 24 + META);
	CHECK(course.pending.count == 0);
	expect_sound(block_check);
	CHECK(os_malloc(1) == p[2] + 24 + META);
	expect_sound(block_check);
}

/* A deferred hole leaves the table with its neighbour, whichever place it has there. */
TEST(small_holes_are_absorbed)
{
	char *p[6];

	leave_small_holes(p);
	os_free(p[2]);
	CHECK(course.pending.deferred == 3 && course.pending.count == 4);
	CHECK(os_malloc(64) == p[2]);
	CHECK(course.pending.deferred == 2 && course.pending.count == 2);
	expect_sound(block_check);
	CHECK(os_realloc(p[4], 64) == p[4]);
	CHECK(course.pending.deferred == 1);
	expect_sound(block_check);
	CHECK(os_malloc(8) == p[0] + 24 + META);
}

TEST(half_of_the_table_is_for_small_holes)
{
	char *p[6];

	course.pending.room = 4;
	leave_small_holes(p);
	CHECK(course.pending.deferred == 2 && course.pending.count == 2);
	CHECK(os_malloc(8) == p[0] + 24 + META);
	CHECK(os_malloc(8) == p[2] + 24 + META);
	CHECK(os_malloc(8) == p[4] + 24 + META);
	expect_sound(block_check);
}

/* Free a row of n blocks, in which every other block stays live. */
static void free_row(size_t n)
{
	static char *p[2 * (PENDING_ROOM + 100)];

	for (size_t i = 0; i < 2 * n; i++)
		CHECK((p[i] = os_malloc(40)));
	for (size_t i = 0; i < 2 * n; i += 2)
		os_free(p[i]);
	expect_sound(block_check);
}

TEST(the_table_spills)
{
	free_row(PENDING_ROOM + 100);
	CHECK(course.pending.count == PENDING_ROOM && course.pending.spilled == 100);
	CHECK(os_malloc(40) && !course.pending.count && !course.pending.spilled);
	expect_sound(block_check);
}

/* Regions, which other users of the break separate again and again, and which all hold blocks. */
TEST(the_table_of_regions_does_not_become_full)
{
	static char *p[20000];

	for (size_t i = 0; i < COUNT_OF(p); i++) {
		p[i] = os_malloc(16);
		CHECK_MSG(p[i], "%zu regions after %zu blocks", course.region_count, i);
		memset(p[i], (int)i, 16);
		CHECK(sbrk(64) != (void *)-1);
	}
	CHECK(course.region_count >= REGIONS_MAX / 2 && course.region_count < REGIONS_MAX);
	expect_sound(block_check);
	for (size_t i = 0; i < COUNT_OF(p); i++) {
		CHECK(p[i][0] == (char)i && p[i][15] == (char)i);
		os_free(p[i]);
	}
	expect_sound(block_check);
	CHECK(os_malloc(16));
	expect_sound(block_check);
}

/* What is spilled is overwritten: the walk for it ends at the header that is damaged. */

static char *spilled[4];

static void search_past_damage(void *next)
{
	struct block_meta *b = (struct block_meta *)(void *)spilled[1] - 1;

	course.pending.room = 0;
	os_free(spilled[0]);
	os_free(spilled[2]);
	b->next = next;
	os_malloc(24);
}

TEST(a_damaged_list_between_spilled_ones_is_reported)
{
	char line[160];

	for (size_t i = 0; i < 4; i++)
		CHECK((spilled[i] = os_malloc(24)));
	snprintf(line, sizeof(line),
		 "osmem: heap(0x%lx): the header of this block, or free memory in it, is "
		 "overwritten",
		 (unsigned long)(uintptr_t)spilled[1]);
	EXPECT_ABORT(search_past_damage, NULL, line);
	EXPECT_ABORT(search_past_damage, (void *)0x6262626262626262, line);
	EXPECT_ABORT(search_past_damage, (struct block_meta *)(void *)spilled[1] - 1, line);
}
