// SPDX-License-Identifier: BSD-3-Clause

/*
 * A cache that all threads share, such as a memory cache server's or a browser's: each puts new
 * entries into random slots, and frees what another thread had put there.
 *
 *	exchange [ENTRIES [THREADS [LEAST MOST]]]
 *
 * Sizes are load_size's, or between two powers of two.
 */

#include <stdatomic.h>

#include "load.h"

#define SLOTS 2000

static _Atomic(void *) slots[SLOTS];
static size_t entries, used_slots;
static unsigned int least, most;

static void work(unsigned int index)
{
	uint64_t seed = load_seed(index);

	for (size_t i = 0; i < entries; i++) {
		void *entry = load_block(most ? load_power(&seed, least, most) : load_size(&seed));

		free(atomic_exchange(&slots[load_below(&seed, used_slots)], entry));
	}
}

int main(int argc, char **argv)
{
	size_t threads = load_argument(argc, argv, 2, 2);

	entries = load_argument(argc, argv, 1, 5000000) / threads;
	least = (unsigned int)load_argument(argc, argv, 3, 0);
	most = (unsigned int)load_argument(argc, argv, 4, 0);
	used_slots = most ? SLOTS / 10 : SLOTS;
	load_threads(threads, work);
	for (size_t i = 0; i < SLOTS; i++)
		free(slots[i]);
	return 0;
}
