// SPDX-License-Identifier: BSD-3-Clause

/*
 * Large blocks that come and go, such as images, matrices and file buffers; a few live at a time,
 * and something is written to each of their pages.
 *
 *	large [MIB [THREADS [LEAST MOST]]]
 *
 * Sizes are between two powers of two, 20 and 25 (1 to 32 MiB) unless LEAST and MOST say otherwise.
 */

#include "load.h"

#define LIVE 6
#define PAGE 4096

static size_t bytes;
static unsigned int least, most;

static void *written_block(size_t size)
{
	unsigned char *p = load_block(size);

	for (size_t i = 0; i < size; i += PAGE)
		p[i] = 1;
	return p;
}

static void work(unsigned int index)
{
	uint64_t seed = load_seed(index);
	void *blocks[LIVE] = {NULL};

	for (size_t done = 0; done < bytes;) {
		size_t slot = load_below(&seed, LIVE), size = load_power(&seed, least, most);

		free(blocks[slot]);
		blocks[slot] = written_block(size);
		done += size;
	}
	for (size_t i = 0; i < LIVE; i++)
		free(blocks[i]);
}

int main(int argc, char **argv)
{
	size_t threads = load_argument(argc, argv, 2, 1);

	bytes = (load_argument(argc, argv, 1, 4000) << 20) / threads;
	least = (unsigned int)load_argument(argc, argv, 3, 20);
	most = (unsigned int)load_argument(argc, argv, 4, 25);
	load_threads(threads, work);
	return 0;
}
