// SPDX-License-Identifier: BSD-3-Clause

/*
 * Aligned blocks: vectors for SIMD, cache-line sized nodes, pages for direct I/O. Some hundreds
 * live at a time.
 *
 *	aligned [BLOCKS [THREADS]]
 */

#include "load.h"

#define LIVE 500

static size_t blocks;

static void work(unsigned int index)
{
	uint64_t seed = load_seed(index);
	void *window[LIVE] = {NULL};

	for (size_t i = 0; i < blocks; i++) {
		size_t slot = load_below(&seed, LIVE);
		size_t alignment = (size_t)32
				   << (load_below(&seed, 16) == 0 ? 7 : load_below(&seed, 3));
		size_t size = load_power(&seed, 5, 11);

		free(window[slot]);
		if (posix_memalign(&window[slot], alignment, size) != 0)
			window[slot] = NULL;
		load_touch(window[slot], size);
	}
	for (size_t i = 0; i < LIVE; i++)
		free(window[i]);
}

int main(int argc, char **argv)
{
	size_t threads = load_argument(argc, argv, 2, 1);

	blocks = load_argument(argc, argv, 1, 5000000) / threads;
	load_threads(threads, work);
	return 0;
}
