// SPDX-License-Identifier: BSD-3-Clause

/* The state of the heap, and the reports of overwritten blocks. The lowest file of this wing. */

#include <stdatomic.h>
#include <string.h>

#include "block_core.h"

#define REGIONS_FIRST 256

static struct block_meta *first_pending[PENDING_FIRST];
static struct region first_regions[REGIONS_FIRST];

struct block_heap course = {
	.grain = GRAIN,
	.pending = {.table = first_pending, .room = PENDING_FIRST},
};
struct region *block_regions = first_regions;

struct links_heap links_heap;

bool block_serve_malloc(void)
{
	if (course.last)
		return false;
	course.grain = MALLOC_GRAIN;
	return true;
}

/* Not again before the next search, if memory was refused. */
bool pending_grow(struct pending *p)
{
	struct block_meta **table;

	if (p->room != PENDING_FIRST || p->spilled)
		return false;
	table = sys_map(PENDING_ROOM * sizeof(*table));
	if (!table)
		return false;
	memcpy(table, p->table, p->count * sizeof(*table));
	p->table = table;
	atomic_thread_fence(memory_order_release); /* for a fork: block_fork.c */
	p->room = PENDING_ROOM;
	return true;
}

bool block_has_region_room(void)
{
	struct region *regions;

	if (block_regions != first_regions)
		return course.region_count < REGIONS_MAX;
	if (course.region_count < REGIONS_FIRST)
		return true;
	regions = sys_map(REGIONS_MAX * sizeof(*regions));
	if (!regions)
		return false;
	memcpy(regions, block_regions, sizeof(first_regions));
	atomic_thread_fence(memory_order_release); /* likewise */
	block_regions = regions;
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
