// SPDX-License-Identifier: BSD-3-Clause

/*
 * Buffers of any size that come and go at random, such as pictures, tables and video frames: of
 * LIVE blocks a random one is freed and another allocated, and each of its pages is written.
 *
 *	uniform [BLOCKS [THREADS [LEAST MOST [LIVE]]]]
 *
 * Sizes are uniform between LEAST and MOST bytes. Each thread has LIVE blocks of its own. Prints
 * the most memory that was in use over the most bytes that lived at once, in percent; the program's
 * own memory, as it was before, does not count, and of several threads each one's most is added.
 */

#include "load.h"
#include "resident.h"

#define PAGE 4096

struct block {
	unsigned char *p;
	size_t size;
};

static size_t count, least, most, live;
static size_t peaks[LOAD_MAX_THREADS];

static void replace(struct block *block, size_t size)
{
	free(block->p);
	block->p = load_block(size);
	block->size = size;
	for (size_t i = 0; i < size; i += PAGE)
		block->p[i] = 1;
}

static void work(unsigned int index)
{
	uint64_t seed = load_seed(index);
	struct block *blocks = load_checked(calloc(live, sizeof(*blocks)));
	size_t bytes = 0;

	for (size_t i = 0; i < count; i++) {
		struct block *block = &blocks[load_below(&seed, live)];

		bytes -= block->size;
		replace(block, load_between(&seed, least, most));
		bytes += block->size;
		if (bytes > peaks[index])
			peaks[index] = bytes;
	}
	for (size_t i = 0; i < live; i++)
		free(blocks[i].p);
	free(blocks);
}

int main(int argc, char **argv)
{
	size_t threads = load_argument(argc, argv, 2, 1);
	size_t base = resident_kib(), peak = 0;

	count = load_argument(argc, argv, 1, 30000) / threads;
	least = load_argument(argc, argv, 3, 33000);
	most = load_argument(argc, argv, 4, 400000);
	live = load_argument(argc, argv, 5, 200);
	load_threads(threads, work);
	for (size_t i = 0; i < threads; i++)
		peak += peaks[i];
	printf("%.1f\n", 100.0 * 1024 * (double)(peak_resident_kib() - base) / (double)peak);
	return 0;
}
