// SPDX-License-Identifier: BSD-3-Clause

/* Sizes are rounded up to a multiple of 8. */

#include "block_meta.h"
#include "osmem.h"

int main(void)
{
	static const size_t sizes[] = {1, 7, 8, 9, 15, 16, 17, 100, 1021, 4096, 25000, 65537};
	void *p[sizeof(sizes) / sizeof(sizes[0])];
	size_t count = sizeof(sizes) / sizeof(sizes[0]);

	for (size_t i = 0; i < count; i++) {
		p[i] = os_malloc(sizes[i]);
		DIE(!p[i], "os_malloc");
	}
	for (size_t i = 0; i < count; i++)
		os_free(p[i]);
	return 0;
}
