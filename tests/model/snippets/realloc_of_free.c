// SPDX-License-Identifier: BSD-3-Clause

/* A free block is not resized. */

#include "block_meta.h"
#include "osmem.h"

int main(void)
{
	char *p, *q;

	p = os_malloc(100);
	q = os_malloc(100);
	DIE(!p || !q, "os_malloc");
	os_free(p);
	DIE(os_realloc(p, 50), "os_realloc");
	DIE(os_realloc(p, 500), "os_realloc");
	DIE(os_realloc(p, 200000), "os_realloc");
	DIE(os_malloc(100) != p, "os_malloc");
	os_free(p);
	os_free(q);
	return 0;
}
