// SPDX-License-Identifier: BSD-3-Clause

/*
 * Random replacement: of LIVE blocks a random one is freed and another allocated, over and over, as
 * in an object store or an interpreter at work. Sizes are load_size's; each thread has its own
 * blocks.
 *
 *	replace [PAIRS [THREADS [LIVE [LARGE]]]]
 *
 * LARGE of 1000 blocks (0) are buffers of 33 to 133 KB.
 */

#include "load.h"

#define SMALLEST_BUFFER 33000
#define LARGEST_BUFFER 133000

static size_t pairs, live, large;

static void *block_of_any_size(uint64_t *seed)
{
	size_t size;

	if (large && load_below(seed, 1000) < large)
		size = load_between(seed, SMALLEST_BUFFER, LARGEST_BUFFER);
	else
		size = load_size(seed);
	return load_block(size);
}

static void work(unsigned int index)
{
	uint64_t seed = load_seed(index);
	void **blocks = load_block(live * sizeof(*blocks));

	for (size_t i = 0; i < live; i++)
		blocks[i] = block_of_any_size(&seed);
	for (size_t i = 0; i < pairs; i++) {
		void **block = &blocks[load_below(&seed, live)];

		free(*block);
		*block = block_of_any_size(&seed);
	}
	for (size_t i = 0; i < live; i++)
		free(blocks[i]);
	free(blocks);
}

int main(int argc, char **argv)
{
	size_t threads = load_argument(argc, argv, 2, 1);

	pairs = load_argument(argc, argv, 1, 10000000) / threads;
	live = load_argument(argc, argv, 3, 10000) / threads;
	large = load_argument(argc, argv, 4, 0);
	load_threads(threads, work);
	return 0;
}
