// SPDX-License-Identifier: BSD-3-Clause

/* Two arrays that grow in turn, as programs have them, from nothing to mappings. */

#include "block_meta.h"
#include "osmem.h"

#include <string.h>

int main(void)
{
	char *p[2] = {NULL, NULL};

	for (size_t size = 16; size < 400000; size *= 2) {
		for (int i = 0; i < 2; i++) {
			p[i] = os_realloc(p[i], size);
			DIE(!p[i], "os_realloc");
			memset(p[i] + size / 2, 'a' + i, size / 2);
			DIE(size > 16 && p[i][size / 2 - 1] != 'a' + i, "contents");
		}
	}
	os_free(p[0]);
	os_free(p[1]);
	return 0;
}
