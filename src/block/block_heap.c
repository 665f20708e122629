// SPDX-License-Identifier: BSD-3-Clause

/* The state of the heap, and the reports of overwritten blocks. The lowest file of this wing. */

#include "block_core.h"

struct block_heap course = {.grain = GRAIN, .pending = {.room = PENDING_ROOM}};

/* Zero-initialised, so unused pages cost nothing. */
struct region block_regions[REGIONS_MAX] APART;
struct block_meta *pending_table[PENDING_ROOM] APART;

struct links_heap links_heap;

bool block_serve_malloc(void)
{
	if (course.last)
		return false;
	course.grain = MALLOC_GRAIN;
	return true;
}

struct region *block_find_region_slow(const void *p)
{
	size_t low = 0, high = course.region_count;

	while (low < high) {
		size_t mid = (low + high) / 2;

		if ((const char *)p >= block_regions[mid].end)
			low = mid + 1;
		else
			high = mid;
	}
	if (low == course.region_count || !block_is_in(&block_regions[low], p))
		return NULL;
	course.recent = low;
	return &block_regions[low];
}

void block_corrupted(const struct block_meta *b)
{
	block_unlock();
	sys_fatal("heap", b + 1, "the header of this block, or free memory in it, is overwritten");
}

void links_corrupted(const struct block_meta *b)
{
	if (block_find_region(b))
		block_corrupted(b);
	block_unlock();
	sys_fatal("heap", b + 1, "a link in the header of a mapped block is overwritten");
}
