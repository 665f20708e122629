/* SPDX-License-Identifier: BSD-3-Clause */

/* Bitmaps of the pages of a segment, and runs of equal bits in them. */

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MAP_PAGES 1024
#define MAP_WORDS (MAP_PAGES / 64)

/* Classes of runs by length: exact below 16 pages, then eight in a doubling. */
#define RUN_CLASSES 64

/* Pages [start, end). */
struct page_run {
	size_t start, end;
};

/* flip: the value that bits have outside of runs. For runs of ones, or of zeros. */
#define MAP_ONES ((uint64_t)0)
#define MAP_ZEROS (~(uint64_t)0)

/*
 * The first page at or behind from whose bit differs from flip, else MAP_PAGES. The search stops at
 * the first word beyond last.
 */
static inline size_t map_next_up_to(const uint64_t *map, size_t from, uint64_t flip, size_t last)
{
	size_t i = from / 64;
	uint64_t word;

	if (from >= MAP_PAGES)
		return MAP_PAGES;
	word = (map[i] ^ flip) & ~(uint64_t)0 << from % 64;
	while (!word) {
		if (++i == MAP_WORDS || i * 64 > last)
			return MAP_PAGES;
		word = map[i] ^ flip;
	}
	return i * 64 + (size_t)__builtin_ctzll(word);
}

static inline size_t map_next(const uint64_t *map, size_t from, uint64_t flip)
{
	return map_next_up_to(map, from, flip, MAP_PAGES);
}

/* The first page of the run that contains page; page + 1 if page is in no run. */
static inline size_t map_run_start(const uint64_t *map, size_t page, uint64_t flip)
{
	size_t i = page / 64;
	uint64_t word = ~(map[i] ^ flip) & (~(uint64_t)0 >> (63 - page % 64));

	while (!word) {
		if (!i)
			return 0;
		i--;
		word = ~(map[i] ^ flip);
	}
	return i * 64 + 64 - (size_t)__builtin_clzll(word);
}

/*
 * Advance run, initially zero, to the next run of map that starts at last or before. False if there
 * is none.
 */
static inline bool map_next_run_up_to(const uint64_t *map, uint64_t flip, struct page_run *run,
				      size_t last)
{
	run->start = map_next_up_to(map, run->end, flip, last);
	if (run->start > last || run->start == MAP_PAGES)
		return false;
	run->end = map_next(map, run->start, ~flip);
	return true;
}

static inline bool map_next_run(const uint64_t *map, uint64_t flip, struct page_run *run)
{
	return map_next_run_up_to(map, flip, run, MAP_PAGES);
}

/* The bits of run in word i. */
static inline uint64_t map_mask(struct page_run run, size_t i)
{
	uint64_t mask = ~(uint64_t)0;

	if (run.start > i * 64)
		mask = run.start >= i * 64 + 64 ? 0 : mask << run.start % 64;
	if (run.end < i * 64 + 64)
		mask &= run.end <= i * 64 ? 0 : ~(~(uint64_t)0 << run.end % 64);
	return mask;
}

static inline void map_set(uint64_t *map, struct page_run run)
{
	for (size_t i = run.start / 64; i * 64 < run.end; i++)
		map[i] |= map_mask(run, i);
}

static inline void map_clear(uint64_t *map, struct page_run run)
{
	for (size_t i = run.start / 64; i * 64 < run.end; i++)
		map[i] &= ~map_mask(run, i);
}

/* Number of pages of run whose bit is set. */
static inline size_t map_count(const uint64_t *map, struct page_run run)
{
	size_t n = 0;

	for (size_t i = run.start / 64; i * 64 < run.end; i++) {
		uint64_t word = map[i] & map_mask(run, i);

		n += word ? (size_t)__builtin_popcountll(word) : 0;
	}
	return n;
}

/* The class of runs of n pages, n from 1 to MAP_PAGES. */
static inline unsigned int run_class(size_t n)
{
	unsigned int shift;

	if (n < 16)
		return (unsigned int)n - 1;
	shift = (unsigned int)(63 ^ __builtin_clzll(n)) - 3;
	return 15 + (shift - 1) * 8 + (unsigned int)(n >> shift) - 8;
}

/* The lowest class whose runs all have at least n pages. */
static inline unsigned int run_class_over(size_t n)
{
	return n > 1 ? run_class(n - 1) + 1 : 0;
}

/* One bit for each of the four slots in a word: whether any of its 16 pages is set. */
static inline uint64_t map_word_slots(uint64_t word)
{
	uint64_t any = word | word >> 8;

	any |= any >> 4;
	any |= any >> 2;
	any = (any | any >> 1) & 0x0001000100010001u;
	return any * 0x0001000200040008u >> 48 & 0xf;
}

/* Update slots, a bit for each of 64 slots, where run is. */
static inline uint64_t map_slots(const uint64_t *map, uint64_t slots, struct page_run run)
{
	for (size_t i = run.start / 64; i * 64 < run.end; i++)
		slots = (slots & ~((uint64_t)0xf << i * 4)) | map_word_slots(map[i]) << i * 4;
	return slots;
}
