// SPDX-License-Identifier: BSD-3-Clause

/*
 * Many blocks are made, then all are freed: the rows of a result, the tokens of a file, the objects
 * of a frame. lifo unwinds a stack, fifo drains a queue, random is a table walked in hash order.
 *
 *	batches [BLOCKS [THREADS [lifo|fifo|random [SIZE [BATCH]]]]]
 *
 * Sizes are load_size's if SIZE is 0.
 */

#include "load.h"

static size_t batches, batch, size;
static size_t *order; /* of freeing */

static void shuffle(void)
{
	uint64_t seed = load_seed(0);

	for (size_t i = batch - 1; i > 0; i--) {
		size_t other = load_below(&seed, i + 1), swap = order[i];

		order[i] = order[other];
		order[other] = swap;
	}
}

static void set_order(const char *name)
{
	order = load_block(batch * sizeof(*order));
	for (size_t i = 0; i < batch; i++)
		order[i] = strcmp(name, "lifo") == 0 ? batch - 1 - i : i;
	if (strcmp(name, "random") == 0)
		shuffle();
}

static void work(unsigned int index)
{
	uint64_t seed = load_seed(index);
	void **blocks = load_block(batch * sizeof(*blocks));

	for (size_t n = 0; n < batches; n++) {
		for (size_t i = 0; i < batch; i++)
			blocks[i] = load_block(size ? size : load_size(&seed));
		for (size_t i = 0; i < batch; i++)
			free(blocks[order[i]]);
	}
	free(blocks);
}

int main(int argc, char **argv)
{
	size_t blocks = load_argument(argc, argv, 1, 15000000);
	size_t threads = load_argument(argc, argv, 2, 1);

	size = load_argument(argc, argv, 4, 32);
	batch = load_argument(argc, argv, 5, 1000);
	if (batch > blocks / threads)
		batch = blocks / threads;
	batches = blocks / threads / batch;
	set_order(argc > 3 ? argv[3] : "fifo");
	load_threads(threads, work);
	free(order);
	return 0;
}
