// SPDX-License-Identifier: BSD-3-Clause

/* os_calloc maps from the page size on (these pages have 4096 bytes). */

#include "block_meta.h"
#include "osmem.h"

#include <string.h>

int main(void)
{
	static const size_t sizes[] = {4056, 4057, 4064, 4065, 4096, 131032, 131040, 262144};
	static const char zero[262144];

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		char *p = os_calloc(1, sizes[i]);

		DIE(!p, "os_calloc");
		DIE(memcmp(p, zero, sizes[i]) != 0, "contents");
		os_free(p);
	}
	return 0;
}
