// SPDX-License-Identifier: BSD-3-Clause
// Needs: libosmem.so

/*
 * The traces of bench/load/fragment.h, small: what is in memory after the last quarter of the steps
 * is no more than after the second, but for ALLOWED_PERCENT and ALLOWED_KIB of luck with threads
 * and clocks.
 */

#include "bench/load/fragment.h"
#include "bench/load/resident.h"
#include "libc_common.h"

#include <malloc.h>

#define TARGET (4 * MIB)
#define ALLOWED_PERCENT 10
#define ALLOWED_KIB ((size_t)3072)

/*
 * The most that is in memory after any step of the quarter that begins with step. What is free and
 * only waits is given back first: how much that is depends on how fast the machine is.
 */
static size_t run_quarter(const struct fragment_trace *trace, unsigned int step, uint64_t *seed)
{
	unsigned int end = step + FRAGMENT_PERIOD;
	size_t most = 0, now;

	for (; step < end; step++) {
		trace->step(step, seed);
		malloc_trim(0);
		now = resident_kib();
		most = now > most ? now : most;
	}
	return most;
}

static void check_does_not_grow(const char *name)
{
	const struct fragment_trace *trace = fragment_find(name);
	size_t base, quarters[4];
	uint64_t seed = load_seed(0);

	fragment_begin(TARGET);
	base = resident_kib();
	if (!base)
		test_skip("the kernel does not tell what is resident");
	for (unsigned int i = 0; i < COUNT_OF(quarters); i++)
		quarters[i] = run_quarter(trace, i * FRAGMENT_PERIOD, &seed) - base;
	CHECK_MSG(quarters[3] <= quarters[1] + quarters[1] * ALLOWED_PERCENT / 100 + ALLOWED_KIB,
		  "%zu, %zu, %zu, %zu KiB", quarters[0], quarters[1], quarters[2], quarters[3]);
	for (size_t i = 0; i < FRAGMENT_ROOM; i++)
		if (fragment_blocks[i].p)
			fragment_set(&fragment_blocks[i], 0);
	malloc_trim(0);
	CHECK_MSG(resident_kib() < base + 2048, "%zu KiB stay", resident_kib() - base);
}

TEST(long_among_short_lives)
{
	check_does_not_grow("lives");
}

TEST(sawtooth)
{
	check_does_not_grow("sawtooth");
}

TEST(drifting_sizes)
{
	check_does_not_grow("drift");
}

TEST(one_survivor_in_each_slab)
{
	check_does_not_grow("survivors");
}

TEST(one_survivor_in_each_page)
{
	check_does_not_grow("pages");
}

TEST(cache_whose_sizes_change)
{
	check_does_not_grow("cache");
}

TEST(generations_of_threads)
{
	check_does_not_grow("generations");
}
