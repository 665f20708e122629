// SPDX-License-Identifier: BSD-3-Clause

/*
 * The list in a forked child, if it serves malloc. Another thread may have been changing it. What
 * is true at any moment are the regions and the sizes and statuses in the headers; the child
 * rebuilds all else from them: links, checksums, the index, figures. The free blocks are pending,
 * as if they had just been freed: the next search coalesces and indexes them.
 *
 * The mapped blocks are only in their treap, which may be inconsistent as well. So it begins empty,
 * and a mapped block enters it again when it is first used: block_pointer.c.
 */

#include "block_core.h"

/* Append b to the list. */
static void append(struct block_meta *b)
{
	struct osmem_heap_stats *s = &course.stats;

	b->prev = course.last;
	b->next = NULL;
	if (course.last)
		course.last->next = b;
	course.last = b;
	s->blocks++;
	if (b->status == STATUS_FREE) {
		pending_add(&course.pending, b);
		return;
	}
	block_set_checksum(b); /* its size may have been changing */
	s->frees--;
	s->live_bytes += META + b->size;
}

/* The other thread may have extended r and not yet written a header or a size there. */
static void rebuild_region(struct region *r)
{
	struct block_meta *b = block_at(r->start);

	for (; (char *)b < r->end && block_has_valid_size(r, b); b = block_at(block_end(b)))
		append(b);
	r->end = (char *)b;
	course.stats.region_bytes += (size_t)(r->end - r->start);
	course.stats.ahead_bytes += (size_t)(r->limit - r->end);
}

static void rebuild(void)
{
	struct osmem_heap_stats *s = &course.stats;

	course.index = (struct index){0};
	course.pending = (struct pending){.room = course.pending.room};
	course.last = NULL;
	course.recent = 0;
	course.mapped = NULL;
	course.has_strays = true;
	s->blocks = s->live_bytes = s->region_bytes = s->ahead_bytes = s->mapped_bytes = 0;
	s->munmap_calls = s->mmap_calls;
	s->frees = s->allocs;
	s->regions = course.region_count;
	for (size_t i = 0; i < course.region_count; i++)
		rebuild_region(&block_regions[i]);
	block_update_bounds();
}

void block_fork_child(void)
{
	bool is_changing = lock_is_held(&course.lock);

	lock_reset(&course.lock);
	if (is_changing && course.region_count)
		rebuild();
}
