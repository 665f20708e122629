/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Maps with a bit for each page of a segment, and runs of equal bits in them. A page is 4 KiB here,
 * whatever the system's is: where that is larger, callers deal in multiples.
 */

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAGE_SHIFT 12
#define PAGE_BYTES ((size_t)1 << PAGE_SHIFT)
#define MAP_PAGES 1024
#define MAP_WORDS (MAP_PAGES / 64)

/* Classes of runs by their length: exact below 16 pages, then an eighth of a doubling apart. */
#define RUN_CLASSES 64

/* Pages [start, end). */
struct page_run {
	size_t start, end;
};

/* What the bits of a map are compared with: runs of ones, or of zeros. */
#define MAP_ONES ((uint64_t)0)
#define MAP_ZEROS (~(uint64_t)0)

/*
 * The first page from from on whose bit is not like flip's; MAP_PAGES: there is none, or the first
 * is behind last by more than a word.
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

/* The same, however far that is. */
static inline size_t map_next(const uint64_t *map, size_t from, uint64_t flip)
{
	return map_next_up_to(map, from, flip, MAP_PAGES);
}

/* The first page of the run that page is in, or page + 1 if its bit is not like flip's. */
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
 * Move run, which starts as zeros, to the next run of map that starts no later than last. False:
 * there is none.
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

/* The bits of run that are in word i. */
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

/* How many pages of run have their bit set. */
static inline size_t map_count(const uint64_t *map, struct page_run run)
{
	size_t n = 0;

	for (size_t i = run.start / 64; i * 64 < run.end; i++) {
		uint64_t word = map[i] & map_mask(run, i);

		n += word ? (size_t)__builtin_popcountll(word) : 0;
	}
	return n;
}

/* The class of a run of n pages, 1 to MAP_PAGES. */
static inline unsigned int run_class(size_t n)
{
	unsigned int shift;

	if (n < 16)
		return (unsigned int)n - 1;
	shift = (unsigned int)(63 ^ __builtin_clzll(n)) - 3;
	return 15 + (shift - 1) * 8 + (unsigned int)(n >> shift) - 8;
}

/* The first class whose runs all have n pages. */
static inline unsigned int run_class_over(size_t n)
{
	return n > 1 ? run_class(n - 1) + 1 : 0;
}

/* For each of the four slots of 16 pages in a word a bit: whether any of its pages is set. */
static inline uint64_t map_word_slots(uint64_t word)
{
	uint64_t any = word | word >> 8;

	any |= any >> 4;
	any |= any >> 2;
	any = (any | any >> 1) & 0x0001000100010001u;
	return any * 0x0001000200040008u >> 48 & 0xf;
}

/* The same of slots, all 64, anew where run is. */
static inline uint64_t map_slots(const uint64_t *map, uint64_t slots, struct page_run run)
{
	for (size_t i = run.start / 64; i * 64 < run.end; i++)
		slots = (slots & ~((uint64_t)0xf << i * 4)) | map_word_slots(map[i]) << i * 4;
	return slots;
}
