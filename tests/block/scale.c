// SPDX-License-Identifier: BSD-3-Clause
// Needs: libosmem.so

/*
 * No call walks the list: orders of allocation and freeing that are bad for one design or another,
 * each at two sizes 64 times apart. Were any call linear, a pair would take 64 times as long at the
 * larger one; caches and the logarithm together make a few times of it.
 */

#include "harness.h"
#include "osmem.h"

#include <stdint.h>
#include <time.h>

#define SMALL ((size_t)1 << 14)
#define LARGE ((size_t)1 << 20)
#define WORSE_AT_MOST 25

static void *blocks[LARGE];
static uint64_t random_state = 1;

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void allocate(size_t from, size_t n, size_t step, size_t size)
{
	for (size_t i = from; i < n; i += step) {
		blocks[i] = os_malloc(size);
		CHECK(blocks[i]);
	}
}

static void release(size_t from, size_t n, size_t step)
{
	for (size_t i = from; i < n; i += step)
		os_free(blocks[i]);
}

/* Each of these makes about n calls and leaves an empty heap behind. */

static void in_address_order(size_t n)
{
	allocate(0, n, 1, 40);
	release(0, n, 1);
}

static void in_reverse_order(size_t n)
{
	allocate(0, n, 1, 40);
	for (size_t i = n; i-- > 0;)
		os_free(blocks[i]);
}

/* Half of all blocks free and equal, taken again from the lowest up, then in other sizes. */
static void every_second(size_t n)
{
	allocate(0, n, 1, 40);
	release(0, n, 2);
	allocate(0, n, 2, 40);
	release(1, n, 2);
	allocate(1, n, 2, 48);
	release(0, n, 1);
}

static void every_second_of_eight_bytes(size_t n)
{
	allocate(0, n, 1, 8);
	release(1, n, 2);
	allocate(1, n, 2, 1);
	release(0, n, 1);
}

static void all_freed_then_one_allocation(size_t n)
{
	allocate(0, n, 1, 100);
	release(0, n, 1);
	blocks[0] = os_malloc(100);
	os_free(blocks[0]);
}

static void shuffled(size_t n)
{
	allocate(0, n, 1, 64);
	for (size_t i = n; i > 1; i--) {
		size_t j = random_below(&random_state, i);
		void *p = blocks[i - 1];

		blocks[i - 1] = blocks[j];
		blocks[j] = p;
	}
	release(0, n, 2);
	allocate(0, n, 2, 56);
	release(0, n, 1);
}

/* A block that grows over its freed neighbours and shrinks again, among n others. */
static void sawtooth_realloc(size_t n)
{
	allocate(0, n, 1, 40);
	release(n / 2, n / 2 + 64, 1);
	for (size_t i = 0; i < n; i++) {
		blocks[n / 2 - 1] = os_realloc(blocks[n / 2 - 1], 40 + i % 64 * 40);
		CHECK(blocks[n / 2 - 1]);
	}
	release(0, n / 2, 1);
	release(n / 2 + 64, n, 1);
}

static void large_blocks_of_all_sizes(size_t n)
{
	for (size_t i = 0; i < n; i++) {
		blocks[i] = os_malloc(1032 + random_below(&random_state, 256) * 8);
		CHECK(blocks[i]);
	}
	release(0, n, 2);
	for (size_t i = 0; i < n; i += 2)
		blocks[i] = os_malloc(1032 + random_below(&random_state, 256) * 8);
	release(0, n, 1);
}

static void check_scales(void (*run)(size_t n), size_t large)
{
	double start, small_time, large_time;

	need_break(256 * MIB);
	test_timeout(120);
	run(large); /* once for the page faults, which can cost more than everything else */
	start = seconds();
	for (size_t i = 0; i < 4; i++)
		run(SMALL);
	small_time = (seconds() - start) / (double)(4 * SMALL);
	start = seconds();
	run(large);
	large_time = (seconds() - start) / (double)large;
	CHECK_MSG(large_time < WORSE_AT_MOST * small_time, "%.0f ns a block at %zu, %.0f at %zu",
		  small_time * 1e9, SMALL, large_time * 1e9, large);
}

#define SCALES(order, large)                                                                       \
	TEST(order)                                                                                \
	{                                                                                          \
		check_scales(order, large);                                                        \
	}

SCALES(in_address_order, LARGE)
SCALES(in_reverse_order, LARGE)
SCALES(every_second, LARGE)
SCALES(every_second_of_eight_bytes, LARGE)
SCALES(all_freed_then_one_allocation, LARGE)
SCALES(shuffled, LARGE)
SCALES(sawtooth_realloc, LARGE)
SCALES(large_blocks_of_all_sizes, LARGE / 4)
