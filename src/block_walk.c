// SPDX-License-Identifier: BSD-3-Clause

/* Copying the list of blocks, for those who look into a heap. */

#include "block_core.h"
#include "item_list.h"

/* The blocks of r, up to one whose size cannot be right. */
static void add_blocks(struct item_list *list, const struct region *r)
{
	const struct block_meta *b = (const struct block_meta *)(const void *)r->start;

	while ((const char *)b < r->end && b->size <= (size_t)(r->end - (const char *)(b + 1))) {
		item_list_add(list, &(struct osmem_item){.kind = OSMEM_BLOCK,
							 .heap = OSMEM_COURSE,
							 .start = b,
							 .size = META + b->size,
							 .status = b->status,
							 .payload = b->size});
		b = (const struct block_meta *)(const void *)block_end(b);
	}
}

static void add_regions(struct item_list *list, const struct block_heap *h)
{
	for (size_t i = 0; i < h->region_count; i++) {
		const struct region *r = &h->regions[i];

		item_list_add(list, &(struct osmem_item){.kind = OSMEM_REGION,
							 .heap = OSMEM_COURSE,
							 .start = r->start,
							 .size = (size_t)(r->end - r->start),
							 .ahead = (size_t)(r->limit - r->end)});
		add_blocks(list, r);
	}
}

/* The mapped blocks below n, in order. */
static void add_mapped(struct item_list *list, struct treap_node *n)
{
	struct block_meta *b;

	if (!n)
		return;
	add_mapped(list, treap_get(&n->left, block_secret));
	b = mapped_block(n);
	item_list_add(list, &(struct osmem_item){
				    .kind = OSMEM_MAPPED,
				    .heap = OSMEM_COURSE,
				    .start = b,
				    .size = META + b->size,
				    .status = b->status,
				    .payload = b->size,
				    .mapping = (size_t)(block_end(b) -
							round_down_ptr(b, sys_page_size()))});
	add_mapped(list, treap_get(&n->right, block_secret));
}

size_t block_list(struct osmem_item *items, size_t room)
{
	struct block_heap *h = &course_heap;
	struct item_list list = {.items = items, .room = room};

	block_enter(h);
	add_regions(&list, h);
	if (h->mapped) /* plain NULL, and not a sealed one, until the first */
		add_mapped(&list, treap_get(&h->mapped, block_secret));
	block_leave(h);
	return list.count;
}

void block_get_stats(struct block_stats *stats)
{
	block_enter(&course_heap);
	*stats = course_heap.stats;
	block_leave(&course_heap);
}
