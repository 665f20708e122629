// SPDX-License-Identifier: BSD-3-Clause

/* Memory that is used again is zeroed. */

#include "block_meta.h"
#include "osmem.h"

#include <string.h>

int main(void)
{
	char *p, *q;

	p = os_malloc(2000);
	DIE(!p || !os_malloc(1), "os_malloc");
	memset(p, 'a', 2000);
	os_free(p);
	q = os_calloc(100, 10);
	DIE(q != p, "os_calloc");
	for (int i = 0; i < 1000; i++)
		DIE(q[i], "contents");
	p = os_calloc(10, 99);
	DIE(!p, "os_calloc");
	os_free(q);
	os_free(p);
	return 0;
}
