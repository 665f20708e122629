// SPDX-License-Identifier: BSD-3-Clause

/* For those who look in: a copy of the list of blocks, and the figures. */

#include "block_core.h"

/* The blocks of r, up to one whose size cannot be right. */
static void add_blocks(struct item_list *list, const struct region *r)
{
	const struct block_meta *b = block_at(r->start);

	while ((const char *)b < r->end && b->size <= (size_t)(r->end - (const char *)(b + 1))) {
		item_list_add(list, &(struct osmem_item){.kind = OSMEM_BLOCK,
							 .heap = OSMEM_COURSE,
							 .start = b,
							 .size = META + b->size,
							 .status = b->status,
							 .payload = b->size});
		b = block_at(block_end(b));
	}
}

static void add_regions(struct item_list *list)
{
	for (size_t i = 0; i < course.region_count; i++) {
		const struct region *r = &block_regions[i];

		item_list_add(list, &(struct osmem_item){.kind = OSMEM_REGION,
							 .heap = OSMEM_COURSE,
							 .start = r->start,
							 .size = (size_t)(r->end - r->start),
							 .ahead = (size_t)(r->limit - r->end)});
		add_blocks(list, r);
	}
}

/* The mapped blocks below b, in order. */
static void add_mapped(struct item_list *list, struct block_meta *b)
{
	if (!b)
		return;
	add_mapped(list, treap_get(b, TREAP_LEFT, TREAP_MAPPED));
	item_list_add(list, &(struct osmem_item){.kind = OSMEM_MAPPED,
						 .heap = OSMEM_COURSE,
						 .start = b,
						 .size = META + b->size,
						 .status = b->status,
						 .payload = b->size,
						 .mapping = META + b->size});
	add_mapped(list, treap_get(b, TREAP_RIGHT, TREAP_MAPPED));
}

void block_list(struct item_list *list)
{
	block_enter();
	add_regions(list);
	add_mapped(list, course.mapped);
	block_leave();
}

void block_get_stats(struct osmem_heap_stats *stats)
{
	block_enter();
	*stats = course.stats;
	stats->live_blocks = stats->allocs - stats->frees - stats->mapped_blocks;
	block_leave();
}
