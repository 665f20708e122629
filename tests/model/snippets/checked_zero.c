// SPDX-License-Identifier: BSD-3-Clause

/* Zeroes in memory that was filled at random and freed, of every kind: heap, mapping and both. */

#include "checked.h"

int main(void)
{
	static const size_t sizes[] = {8, 9, 500, 4056, 4064, 4065, 20000, 131000, 200000};
	size_t count = sizeof(sizes) / sizeof(sizes[0]);
	void *p[sizeof(sizes) / sizeof(sizes[0])];

	for (size_t round = 0; round < 2; round++) {
		for (size_t i = 0; i < count; i++)
			p[i] = checked_malloc(sizes[i]);
		for (size_t i = 0; i < count; i++)
			os_free(p[(i * 5 + round) % count]);
		for (size_t i = 0; i < count; i++)
			p[i] = checked_calloc(1, sizes[i]);
		for (size_t i = 0; i < count; i++)
			os_free(p[i]);
		for (size_t i = 0; i < count; i++)
			p[i] = checked_calloc(sizes[i], 1);
		for (size_t i = 0; i < count; i++)
			p[i] = checked_realloc(p[i], sizes[count - 1 - i]);
		for (size_t i = 0; i < count; i++)
			os_free(p[i]);
	}
	DIE(checked_malloc(0) || checked_calloc(0, 8) || checked_calloc(8, 0), "size 0");
	os_free(NULL);
	return 0;
}
