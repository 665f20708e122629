// SPDX-License-Identifier: BSD-3-Clause

/* The first small request raises the break once; the next ones come from there. */

#include "block_meta.h"
#include "osmem.h"

#include <string.h>

int main(void)
{
	char *first, *second;

	first = os_malloc(10);
	DIE(!first, "os_malloc");
	memset(first, 'a', 10);
	second = os_malloc(1000);
	DIE(!second, "os_malloc");
	memset(second, 'b', 1000);
	DIE(first[9] != 'a', "contents");
	os_free(first);
	os_free(second);
	return 0;
}
