// SPDX-License-Identifier: BSD-3-Clause

/*
 * What steps.sh measures and no workload of load/ does, for it is about os_malloc, or about one
 * function beside another. Linked with libosmem.so.
 *
 *	steps grow MIB             a heap of os_malloc that grows to so much, in blocks of 100 bytes
 *	steps pairs PAIRS [also]   os_malloc and os_free by turns; also: another thread is there
 *	steps blocks COUNT         batches of 100000 blocks of 32 bytes of os_malloc, COUNT in all
 *	steps cells COUNT          the same from malloc
 *	steps calloc COUNT         tables of 256 KiB, zero, of which an eighth of the pages is used
 *	steps memset COUNT         the same from malloc and memset
 */

#include <stdbool.h>
#include <unistd.h>

#include "load/load.h"
#include "osmem.h"

#define GROW_SIZE 100
#define PAIR_SIZE 100
#define BATCH 100000
#define BATCH_SIZE 32
#define TABLE_SIZE ((size_t)256 << 10)
#define USED_STRIDE ((size_t)32 << 10)

static void grow(size_t mib)
{
	for (size_t left = (mib << 20) / (GROW_SIZE + 32); left; left--)
		load_touch(os_malloc(GROW_SIZE), GROW_SIZE);
}

static void *wait_for_ever(void *arg)
{
	for (;;)
		pause();
	return arg;
}

static void pairs(size_t n, bool has_company)
{
	pthread_t company;

	if (has_company && pthread_create(&company, NULL, wait_for_ever, NULL) != 0)
		exit(1);
	while (n--)
		os_free(load_touch(os_malloc(PAIR_SIZE), PAIR_SIZE));
}

static void batches(size_t n, void *(*allocate)(size_t), void (*release)(void *))
{
	static void *blocks[BATCH];

	for (; n >= BATCH; n -= BATCH) {
		for (size_t i = 0; i < BATCH; i++)
			blocks[i] = load_touch(allocate(BATCH_SIZE), BATCH_SIZE);
		for (size_t i = 0; i < BATCH; i++)
			release(blocks[i]);
	}
}

static void tables(size_t n, bool knows_zero)
{
	while (n--) {
		unsigned char *p =
			load_checked(knows_zero ? calloc(1, TABLE_SIZE) : malloc(TABLE_SIZE));

		if (!knows_zero)
			memset(p, 0, TABLE_SIZE);
		for (size_t i = 0; i < TABLE_SIZE; i += USED_STRIDE)
			p[i] = 1;
	}
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	size_t n = load_argument(argc, argv, 2, 1);

	if (strcmp(what, "grow") == 0)
		grow(n);
	else if (strcmp(what, "pairs") == 0)
		pairs(n, argc > 3);
	else if (strcmp(what, "blocks") == 0)
		batches(n, os_malloc, os_free);
	else if (strcmp(what, "cells") == 0)
		batches(n, malloc, free);
	else if (strcmp(what, "calloc") == 0 || strcmp(what, "memset") == 0)
		tables(n, what[0] == 'c');
	else
		return 2;
	return 0;
}
