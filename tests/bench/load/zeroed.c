// SPDX-License-Identifier: BSD-3-Clause

/*
 * calloc of many sizes, 16 bytes to 256 KiB: records, tables and buffers that must begin empty. A
 * few hundred live at a time.
 *
 *	zeroed [BLOCKS [THREADS]]
 */

#include "load.h"

#define LIVE 256

static size_t blocks;

static void work(unsigned int index)
{
	uint64_t seed = load_seed(index);
	void *window[LIVE] = {NULL};

	for (size_t i = 0; i < blocks; i++) {
		size_t slot = load_below(&seed, LIVE), size = load_power(&seed, 4, 18);

		free(window[slot]);
		window[slot] = load_touch(calloc(1, size), size);
	}
	for (size_t i = 0; i < LIVE; i++)
		free(window[i]);
}

int main(int argc, char **argv)
{
	size_t threads = load_argument(argc, argv, 2, 1);

	blocks = load_argument(argc, argv, 1, 500000) / threads;
	load_threads(threads, work);
	return 0;
}
