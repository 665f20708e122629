// SPDX-License-Identifier: BSD-3-Clause

/*
 * Random replacement: of LIVE blocks a random one is freed and another allocated, over and over, as
 * in an object store or an interpreter at work. Sizes are load_size's; each thread has its own
 * blocks.
 *
 *	replace [PAIRS [THREADS [LIVE]]]
 */

#include "load.h"

static size_t pairs, live;

static void work(unsigned int index)
{
	uint64_t seed = load_seed(index);
	void **blocks = load_block(live * sizeof(*blocks));

	for (size_t i = 0; i < live; i++)
		blocks[i] = load_block(load_size(&seed));
	for (size_t i = 0; i < pairs; i++) {
		void **block = &blocks[load_below(&seed, live)];

		free(*block);
		*block = load_block(load_size(&seed));
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
	load_threads(threads, work);
	return 0;
}
