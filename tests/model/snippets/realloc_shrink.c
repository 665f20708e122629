// SPDX-License-Identifier: BSD-3-Clause

/* A shrunk block stays; what is cut off waits for the next request. */

#include "block_meta.h"
#include "osmem.h"

int main(void)
{
	char *p, *q;

	p = os_malloc(1000);
	q = os_malloc(8);
	DIE(!p || !q, "os_malloc");
	DIE(os_realloc(p, 968) != p, "os_realloc"); /* 32 less: too little to cut off */
	DIE(os_realloc(p, 1000) != p, "os_realloc");
	DIE(os_realloc(p, 500) != p, "os_realloc");
	q = os_malloc(464);
	DIE(q != p + 504 + 32, "os_malloc");
	DIE(os_realloc(p, 10) != p, "os_realloc");
	DIE(!os_malloc(455), "os_malloc");
	return 0;
}
