// SPDX-License-Identifier: BSD-3-Clause

/* A mapped block is never resized in place: it moves, to another mapping or into the heap. */

#include "block_meta.h"
#include "osmem.h"

#include <string.h>

int main(void)
{
	char *p;

	p = os_realloc(NULL, 200000);
	DIE(!p, "os_realloc");
	memset(p, 'a', 200000);
	p = os_realloc(p, 200000);
	DIE(!p || p[199999] != 'a', "os_realloc");
	p = os_realloc(p, 300000);
	DIE(!p || p[199999] != 'a', "os_realloc");
	p = os_realloc(p, 1000);
	DIE(!p || p[999] != 'a', "os_realloc");
	p = os_realloc(p, 131033);
	DIE(!p || p[999] != 'a', "os_realloc");
	p = os_realloc(p, 131032);
	DIE(!p || p[999] != 'a', "os_realloc");
	p = os_realloc(p, 131040); /* it has room, but not below the threshold */
	DIE(!p || p[999] != 'a', "os_realloc");
	DIE(os_realloc(p, 0), "os_realloc");
	return 0;
}
