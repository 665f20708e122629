// SPDX-License-Identifier: BSD-3-Clause

/* A bit of everything. */

#include "block_meta.h"
#include "osmem.h"

#include <string.h>

#define BLOCKS 12

int main(void)
{
	char *p[BLOCKS];

	for (size_t round = 0; round < 3; round++) {
		for (size_t i = 0; i < BLOCKS; i++) {
			size_t size = (i * 7 + round * 5) % 11 * 600 + i + 1;

			p[i] = i % 3 ? os_malloc(size) : os_calloc(i + 1, size / (i + 1) + 1);
			DIE(!p[i], "allocation");
			memset(p[i], 'a', size);
		}
		for (size_t i = 0; i < BLOCKS; i += 2) {
			p[i] = os_realloc(p[i], (i * 5 + round) % 7 * 1500 + 9);
			DIE(!p[i], "os_realloc");
		}
		for (size_t i = 0; i < BLOCKS; i++)
			os_free(p[(i * 5 + round) % BLOCKS]);
	}
	return 0;
}
