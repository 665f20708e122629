// SPDX-License-Identifier: BSD-3-Clause

/* What was absorbed in vain stays absorbed, and the block moves into the best fit. */

#include "block_meta.h"
#include "osmem.h"

#include <string.h>

int main(void)
{
	char *hole, *p, *next, *q;

	hole = os_malloc(5000);
	DIE(!hole || !os_malloc(8), "os_malloc");
	p = os_malloc(100);
	next = os_malloc(100);
	DIE(!p || !next || !os_malloc(8), "os_malloc");
	memset(p, 'a', 100);
	os_free(hole);
	os_free(next);
	q = os_realloc(p, 1000);
	DIE(q != hole || q[99] != 'a', "os_realloc");
	next = os_malloc(240); /* 104 twice, and a header */
	DIE(next != p, "os_malloc");
	q = os_realloc(q, 100000);
	DIE(!q || q[99] != 'a', "os_realloc");
	q = os_realloc(next, 120000);
	DIE(!q, "os_realloc");
	return 0;
}
