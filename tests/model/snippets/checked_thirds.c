// SPDX-License-Identifier: BSD-3-Clause

/*
 * Behind a first block that leaves 8 bytes too few for another: every third freed, then smaller
 * ones.
 */

#include "checked.h"

#define FIRST (128 * 1024 - sizeof(struct block_meta) - 8)
#define BLOCKS 30

int main(void)
{
	void *first = checked_malloc(FIRST), *p[BLOCKS], *q[BLOCKS / 3];

	for (size_t i = 0; i < BLOCKS; i++)
		p[i] = checked_malloc(2000 + 100 * i);
	for (size_t i = 0; i < BLOCKS; i += 3)
		os_free(p[i]);
	for (size_t i = 0; i < BLOCKS / 3; i++)
		q[i] = i % 2 ? checked_malloc(1500 + 70 * i) : checked_calloc(10, 100 + 7 * i);
	for (size_t i = 1; i < BLOCKS; i += 3)
		p[i] = checked_realloc(p[i], 1000 + 150 * i);
	for (size_t i = 0; i < BLOCKS; i++)
		if (i % 3)
			os_free(p[i]);
	for (size_t i = 0; i < BLOCKS / 3; i++)
		os_free(q[i]);
	os_free(checked_malloc(100000));
	os_free(checked_realloc(first, FIRST + 50000));
	return 0;
}
