// SPDX-License-Identifier: BSD-3-Clause

/*
 * Aligned blocks: vectors for SIMD, cache-line sized nodes, pages for direct I/O. Some hundreds
 * live at a time.
 *
 *	aligned [BLOCKS [THREADS [ALIGNMENT SIZE]]]
 *
 * Alignments are 32 to 4096 and sizes 32 to 2048, unless all blocks are to have the same. Prints
 * how many mappings the process has in the end, while the blocks live.
 */

#include "load.h"
#include "resident.h"

#define LIVE 500

static size_t blocks, only_alignment, only_size, mappings;

static size_t some_alignment(uint64_t *seed)
{
	if (only_alignment)
		return only_alignment;
	return (size_t)32 << (load_below(seed, 16) == 0 ? 7 : load_below(seed, 3));
}

static void work(unsigned int index)
{
	uint64_t seed = load_seed(index);
	void *window[LIVE] = {NULL};

	for (size_t i = 0; i < blocks; i++) {
		size_t slot = load_below(&seed, LIVE);
		size_t alignment = some_alignment(&seed);
		size_t size = only_size ? only_size : load_power(&seed, 5, 11);

		free(window[slot]);
		if (posix_memalign(&window[slot], alignment, size) != 0)
			window[slot] = NULL;
		load_touch(window[slot], size);
	}
	if (index == 0)
		mappings = mapping_count();
	for (size_t i = 0; i < LIVE; i++)
		free(window[i]);
}

int main(int argc, char **argv)
{
	size_t threads = load_argument(argc, argv, 2, 1);

	blocks = load_argument(argc, argv, 1, 5000000) / threads;
	only_alignment = load_argument(argc, argv, 3, 0);
	only_size = load_argument(argc, argv, 4, 0);
	load_threads(threads, work);
	printf("%zu\n", mappings);
	return 0;
}
