// SPDX-License-Identifier: BSD-3-Clause

/*
 * Grow the heap of os_malloc to 1 GiB in blocks of 100 bytes and print how many brk calls it took
 * to the first MiB, where one for each growth is the rule, and how many beyond.
 */

#include <stdio.h>

#include "block/block.h"
#include "helpers.h"
#include "osmem.h"

static size_t brk_calls(void)
{
	struct osmem_heap_stats stats;

	block_get_stats(&stats);
	return stats.brk_calls;
}

/* Returns whether the heap has become size bytes large. */
static int grow_to(const char *start, size_t size)
{
	const char *p;

	do {
		p = os_malloc(100);
	} while (p && p < start + size);
	return p != NULL;
}

int main(void)
{
	const char *start = os_malloc(100);
	size_t calls;

	if (!grow_to(start, MIB))
		return 1;
	calls = brk_calls();
	if (!grow_to(start, 1024 * MIB))
		return 1;
	printf("%zu %zu\n", calls, brk_calls() - calls);
	return 0;
}
