// SPDX-License-Identifier: BSD-3-Clause

/*
 * A large table of which little is used, where a full one was before: a block is written and freed,
 * then calloc gives as large a one, and a few of its bytes are written.
 *
 *	sparse [TABLES [THREADS [MIB]]]
 *
 * Prints how many MiB of the process are in memory while the last table lives. There is one thread
 * whatever THREADS says.
 */

#include "load.h"
#include "resident.h"

#define WRITES 32

int main(int argc, char **argv)
{
	size_t tables = load_argument(argc, argv, 1, 10);
	size_t size = load_argument(argc, argv, 3, 20) << 20;
	uint64_t seed = load_seed(0);
	unsigned char *table = NULL;

	for (size_t i = 0; i < tables; i++) {
		free(table);
		table = load_block(size);
		memset(table, 1, size);
		free(table);
		table = load_checked(calloc(1, size));
		for (size_t n = 0; n < WRITES; n++)
			table[load_below(&seed, size)] = 1;
	}
	printf("%.2f\n", (double)resident_kib() / 1024);
	free(table);
	return 0;
}
