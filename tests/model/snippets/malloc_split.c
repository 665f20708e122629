// SPDX-License-Identifier: BSD-3-Clause

/* A larger free block is split if the rest has room for a header and 8 bytes. */

#include "block_meta.h"
#include "osmem.h"

int main(void)
{
	void *hole, *wall, *p, *q;

	hole = os_malloc(1000);
	wall = os_malloc(8);
	DIE(!hole || !wall, "os_malloc");
	os_free(hole);

	p = os_malloc(300);
	q = os_malloc(600); /* 664 are left: the rest, 32 more, is given too */
	DIE(p != hole || !q, "os_malloc");
	os_free(q);
	q = os_malloc(624); /* 664 again, and 40 more: split */
	hole = os_malloc(8);
	DIE(!q || !hole, "os_malloc");

	os_free(hole);
	os_free(q);
	os_free(p);
	os_free(wall);
	return 0;
}
