// SPDX-License-Identifier: BSD-3-Clause

/*
 * Random replacement: of LIVE blocks, sizes uniform in 16..512, a random one is freed and another
 * allocated, over and over.
 *
 *	replace [LIVE [PAIRS]]
 *
 * Prints nanoseconds of CPU time for a pair of free and malloc, after as many pairs again as there are live
 * blocks to reach the steady state.
 */

#include "load.h"

#define SMALLEST 16
#define LARGEST 512

static uint64_t seed = 42;

static size_t random_size(void)
{
	return SMALLEST + load_below(&seed, LARGEST - SMALLEST + 1);
}

static void replace(void **blocks, size_t live, size_t pairs)
{
	for (size_t i = 0; i < pairs; i++) {
		void **block = &blocks[load_below(&seed, live)];

		LOAD_FREE(*block);
		*block = load_block(random_size());
	}
}

int main(int argc, char **argv)
{
	size_t live = argc > 1 ? strtoul(argv[1], NULL, 10) : 10000;
	size_t pairs = argc > 2 ? strtoul(argv[2], NULL, 10) : 5000000;
	void **blocks = load_block(live * sizeof(*blocks));
	double start;

	for (size_t i = 0; i < live; i++)
		blocks[i] = load_block(random_size());
	replace(blocks, live, live);
	start = load_cpu_ns();
	replace(blocks, live, pairs);
	printf("%.2f\n", (load_cpu_ns() - start) / (double)pairs);
	return 0;
}
