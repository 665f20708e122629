// SPDX-License-Identifier: BSD-3-Clause

/* Vectors of blocks, freed and allocated again, from front to back and back to front. */

#include "checked.h"

#define BLOCKS 12

static void fill(void **p, size_t round)
{
	for (size_t i = 0; i < BLOCKS; i++)
		p[i] = round % 2 ? checked_calloc(round + 1, 50 + 31 * i)
				 : checked_malloc(100 + 57 * i);
}

int main(void)
{
	void *p[BLOCKS], *q[BLOCKS];

	for (size_t round = 0; round < 4; round++) {
		fill(p, round);
		fill(q, round + 1);
		for (size_t i = 0; i < BLOCKS; i++)
			os_free(p[round < 2 ? i : BLOCKS - 1 - i]);
		fill(p, round + 2);
		for (size_t i = 0; i < BLOCKS; i++)
			q[i] = checked_realloc(q[i], 60 * (i % 5) + 20 * round + 9);
		for (size_t i = 0; i < BLOCKS; i++) {
			os_free(q[i]);
			DIE(checked_realloc(q[i], 77), "os_realloc of a free block");
			os_free(p[BLOCKS - 1 - i]);
		}
	}
	return 0;
}
