// SPDX-License-Identifier: BSD-3-Clause

/* Free blocks behind are absorbed one by one, and no more of them than needed. */

#include "block_meta.h"
#include "osmem.h"

int main(void)
{
	char *p[7];

	for (int i = 0; i < 7; i++) {
		p[i] = os_malloc(200);
		DIE(!p[i], "os_malloc");
	}
	for (int i = 1; i < 6; i++)
		os_free(p[i]);
	DIE(os_realloc(p[0], 400) != p[0], "os_realloc"); /* one, all of it */
	DIE(os_realloc(p[0], 500) != p[0], "os_realloc"); /* another, split */
	DIE(os_malloc(200 + 200 + 32) == p[0], "os_malloc");
	DIE(!os_malloc(600), "os_malloc");
	return 0;
}
