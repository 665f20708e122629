// SPDX-License-Identifier: BSD-3-Clause

/* The last block is raised by what it lacks, up to the threshold. */

#include "block_meta.h"
#include "osmem.h"

#include <string.h>

int main(void)
{
	char *first, *last;

	first = os_malloc(131000);
	DIE(!first, "os_malloc");
	last = os_malloc(100);
	DIE(!last, "os_malloc");
	memset(last, 'a', 100);
	for (size_t size = 101; size < 140000; size = size * 3 / 2) {
		last = os_realloc(last, size);
		DIE(!last, "os_realloc");
		DIE(last[0] != 'a' || last[99] != 'a', "contents");
	}
	os_free(last);
	os_free(first);
	return 0;
}
