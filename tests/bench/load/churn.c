// SPDX-License-Identifier: BSD-3-Clause

/*
 * Threads that live briefly, WIDTH of them at a time: one for each request or task. Each allocates
 * a little and leaves one block to whoever joins it.
 *
 *	churn [LIVES [WIDTH]]
 */

#include "load.h"

#define BLOCKS 100

static void *live(void *arg)
{
	uint64_t seed = load_seed(*(const unsigned int *)arg);
	void *blocks[BLOCKS];

	for (int i = 0; i < BLOCKS; i++)
		blocks[i] = load_block(load_size(&seed));
	for (int i = 1; i < BLOCKS; i++)
		free(blocks[i]);
	return blocks[0];
}

int main(int argc, char **argv)
{
	size_t lives = load_argument(argc, argv, 1, 15000);
	size_t width = load_argument(argc, argv, 2, 1);
	pthread_t ids[LOAD_MAX_THREADS];
	unsigned int indices[LOAD_MAX_THREADS];
	void *left;

	if (width > LOAD_MAX_THREADS)
		return 2;
	for (size_t done = 0; done < lives; done += width) {
		for (unsigned int i = 0; i < width; i++) {
			indices[i] = (unsigned int)done + i;
			if (pthread_create(&ids[i], NULL, live, &indices[i]) != 0)
				return 1;
		}
		for (unsigned int i = 0; i < width; i++) {
			pthread_join(ids[i], &left);
			free(left);
		}
	}
	return 0;
}
