// SPDX-License-Identifier: BSD-3-Clause

/* Moved blocks, compared with where they were: in the heap, into a mapping, after an absorption. */

#include "checked.h"

int main(void)
{
	static const size_t sizes[] = {8, 16, 24, 64, 100, 1000, 1032, 5000};
	size_t count = sizeof(sizes) / sizeof(sizes[0]);
	char *p, *next;

	for (size_t i = 0; i < count; i++) {
		p = checked_malloc(sizes[i]);
		checked_malloc(16);
		p = checked_realloc(p, sizes[i] * 3 + 100);
		checked_malloc(16);
		p = checked_realloc(p, 200000);
		p = checked_realloc(p, 300000);
		p = checked_realloc(p, sizes[i]);
		os_free(p);
	}
	for (size_t i = 0; i < count; i++) {
		p = checked_malloc(sizes[i]);
		next = checked_malloc(sizes[i]);
		checked_malloc(16);
		os_free(next);
		checked_realloc(next, 10);
		p = checked_realloc(p, sizes[i] * 4 + 200);
		os_free(p);
	}
	return 0;
}
