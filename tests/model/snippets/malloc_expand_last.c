// SPDX-License-Identifier: BSD-3-Clause

/* A free last block is raised by what it lacks. */

#include "block_meta.h"
#include "osmem.h"

int main(void)
{
	void *first, *last;

	first = os_malloc(100000);
	DIE(!first, "os_malloc");
	last = os_malloc(50000);
	DIE(!last, "os_malloc");
	for (size_t size = 50001; size < 131000; size += 20000) {
		os_free(last);
		last = os_malloc(size);
		DIE(!last, "os_malloc");
	}
	os_free(first);
	os_free(last);
	last = os_malloc(131032);
	DIE(last != first, "os_malloc");
	return 0;
}
