// SPDX-License-Identifier: BSD-3-Clause

/* Free neighbours are one block to the next request, whatever the order they were freed in. */

#include "block_meta.h"
#include "osmem.h"

int main(void)
{
	void *p[8], *q;

	for (int i = 0; i < 8; i++) {
		p[i] = os_malloc(100 * (size_t)(i + 1));
		DIE(!p[i], "os_malloc");
	}
	os_free(p[3]);
	os_free(p[1]);
	os_free(p[2]);
	q = os_malloc(968); /* 200, 304 and 400, and two headers */
	DIE(q != p[1], "os_malloc");
	os_free(p[6]);
	os_free(p[5]);
	q = os_malloc(1000);
	DIE(q != p[5], "os_malloc");
	os_free(q);
	os_free(p[4]);
	os_free(p[7]);
	q = os_malloc(50000);
	DIE(q != p[4], "os_malloc");
	return 0;
}
