// SPDX-License-Identifier: BSD-3-Clause

/*
 * A long run whose live set grows and shrinks, wave by wave, with sizes that drift: a service by
 * day and by night. What stays is scattered over all memory that was in use, so this shows
 * fragmentation. Every wave frees all but a quarter of the blocks, at random, and then works on at
 * that low tide for a while.
 *
 *	waves [BLOCKS [THREADS [high|low]]]
 *
 * BLOCKS live at high tide; prints memory in use over live bytes, in percent: at the last high
 * tide, or at the last low one. It is meant for one thread; of several, the first one's levels
 * count.
 */

#include "load.h"
#include "resident.h"

#define WAVES 8

struct block {
	void *p;
	size_t size;
};

struct tide {
	size_t live, kib;
};

static size_t count;
static struct tide tides[LOAD_MAX_THREADS][2]; /* high, low */

static void replace(struct block *block, size_t size)
{
	free(block->p);
	block->p = size ? load_block(size) : NULL;
	block->size = size;
}

static void take_level(struct tide *tide, const struct block *blocks)
{
	tide->live = 0;
	for (size_t i = 0; i < count; i++)
		tide->live += blocks[i].size;
	tide->kib = resident_kib();
}

static void wave(struct block *blocks, uint64_t *seed, size_t drift, struct tide *levels)
{
	for (size_t i = 0; i < count; i++)
		if (!blocks[i].p)
			replace(&blocks[i], load_size(seed) + drift);
	take_level(&levels[0], blocks);
	for (size_t i = 0; i < count; i++)
		if (load_below(seed, 4) != 0)
			replace(&blocks[i], 0);
	for (size_t i = 0; i < count; i++) {
		struct block *block = &blocks[load_below(seed, count)];

		if (block->p)
			replace(block, load_size(seed) + drift);
	}
	take_level(&levels[1], blocks);
}

static void work(unsigned int index)
{
	uint64_t seed = load_seed(index);
	struct block *blocks = load_checked(calloc(count, sizeof(*blocks)));

	for (size_t i = 0; i < WAVES; i++)
		wave(blocks, &seed, 8 * i, tides[index]);
	for (size_t i = 0; i < count; i++)
		free(blocks[i].p);
	free(blocks);
}

int main(int argc, char **argv)
{
	size_t threads = load_argument(argc, argv, 2, 1);
	const struct tide *tide = &tides[0][argc > 3 && strcmp(argv[3], "low") == 0];

	count = load_argument(argc, argv, 1, 200000) / threads;
	load_threads(threads, work);
	printf("%.1f\n", 100.0 * 1024 * (double)tide->kib / (double)(tide->live * threads));
	return 0;
}
