// SPDX-License-Identifier: BSD-3-Clause

/* Shell's sort. */

#include "sort.h"

#include <stdint.h>
#include <string.h>

void sort(void *elements, size_t count, size_t size, bool (*is_before)(const void *, const void *))
{
	_Alignas(uint64_t) char moved[SORT_SIZE_MAX];
	char *at = elements;
	size_t gap = 1;

	while (gap < count / 3)
		gap = 3 * gap + 1;
	for (; gap > 0; gap /= 3) {
		for (size_t i = gap; i < count; i++) {
			size_t to = i;

			memcpy(moved, at + i * size, size);
			for (; to >= gap && is_before(moved, at + (to - gap) * size); to -= gap)
				memcpy(at + to * size, at + (to - gap) * size, size);
			memcpy(at + to * size, moved, size);
		}
	}
}
