// SPDX-License-Identifier: BSD-3-Clause

/*
 * Pairs of malloc and free for counting instructions, with as little else as a loop can have.
 *
 *	count [PAIRS [THREADS [SIZE [BATCH]]]]
 *
 * BATCH blocks are allocated, then freed in the same order; with 1, the default, each is freed
 * before the next. There is one thread whatever THREADS says.
 */

#include "load.h"

static void alternate(size_t pairs, size_t size)
{
	for (size_t i = 0; i < pairs; i++) {
		void *p = malloc(size);

		*(volatile char *)p = 1;
		free(p);
	}
}

static void fill_and_drain(size_t batches, size_t batch, size_t size)
{
	void **blocks = load_block(batch * sizeof(*blocks));

	for (size_t n = 0; n < batches; n++) {
		for (size_t i = 0; i < batch; i++) {
			blocks[i] = malloc(size);
			*(volatile char *)blocks[i] = 1;
		}
		for (size_t i = 0; i < batch; i++)
			free(blocks[i]);
	}
	free(blocks);
}

int main(int argc, char **argv)
{
	size_t pairs = load_argument(argc, argv, 1, 50000000);
	size_t size = load_argument(argc, argv, 3, 32);
	size_t batch = load_argument(argc, argv, 4, 1);

	if (batch == 1)
		alternate(pairs, size);
	else
		fill_and_drain(pairs / batch, batch, size);
	return 0;
}
