// SPDX-License-Identifier: BSD-3-Clause

/*
 * One temporary block at a time, all of one size: the loop that formats a number, joins two strings
 * or fetches a row.
 *
 *	pairs [PAIRS [THREADS [SIZE]]]
 */

#include "load.h"

static size_t pairs, size;

static void work(unsigned int index)
{
	(void)index;
	for (size_t i = 0; i < pairs; i++)
		free(load_block(size));
}

int main(int argc, char **argv)
{
	size_t threads = load_argument(argc, argv, 2, 1);

	pairs = load_argument(argc, argv, 1, 30000000) / threads;
	size = load_argument(argc, argv, 3, 32);
	load_threads(threads, work);
	return 0;
}
