// SPDX-License-Identifier: BSD-3-Clause

/*
 * Buffers that were too roomy: each is filled, then realloc makes it a little more than half as
 * large, which is what it needs.
 *
 *	shrink [BLOCKS [THREADS [SIZE]]]
 *
 * Prints memory in use over live bytes in percent when all have shrunk; the program's own memory,
 * as it was before, does not count. There is one thread whatever THREADS says.
 */

#include "load.h"
#include "resident.h"

int main(int argc, char **argv)
{
	size_t count = load_argument(argc, argv, 1, 200);
	size_t from = load_argument(argc, argv, 3, 1000000), to = from / 2 + from / 128;
	unsigned char **blocks = load_checked(calloc(count, sizeof(*blocks)));
	size_t base = resident_kib();

	for (size_t i = 0; i < count; i++) {
		blocks[i] = load_block(from);
		memset(blocks[i], 1, from);
		blocks[i] = load_touch(realloc(blocks[i], to), to);
	}
	printf("%.1f\n", 100.0 * 1024 * (double)(resident_kib() - base) / (double)(count * to));
	for (size_t i = 0; i < count; i++)
		free(blocks[i]);
	free(blocks);
	return 0;
}
