// SPDX-License-Identifier: BSD-3-Clause

/* Copying the list of blocks, for those who look into a heap. */

#include "heap_core.h"
#include "item_list.h"

static enum osmem_heap name_of(const struct heap *h)
{
	return h->uses_brk ? OSMEM_COURSE : OSMEM_LIBC;
}

/* The blocks of r, up to one whose size cannot be right. */
static void add_blocks(struct item_list *list, const struct heap *h, const struct region *r)
{
	const struct block_meta *b = (const struct block_meta *)(const void *)r->start;

	while ((const char *)b < r->end && b->size <= (size_t)(r->end - (const char *)(b + 1))) {
		item_list_add(list, &(struct osmem_item){.kind = OSMEM_BLOCK,
							 .heap = name_of(h),
							 .start = b,
							 .size = META + b->size,
							 .status = b->status,
							 .payload = b->size});
		b = (const struct block_meta *)(const void *)block_end(b);
	}
}

static void add_regions(struct item_list *list, const struct heap *h)
{
	for (size_t i = 0; i < h->region_count; i++) {
		const struct region *r = &h->regions[i];

		item_list_add(list, &(struct osmem_item){.kind = OSMEM_REGION,
							 .heap = name_of(h),
							 .start = r->start,
							 .size = (size_t)(r->end - r->start),
							 .ahead = (size_t)(r->limit - r->end)});
		add_blocks(list, h, r);
	}
}

/* The mapped blocks below n, in order. */
static void add_mapped(struct item_list *list, const struct heap *h, struct treap_node *n)
{
	struct block_meta *b;

	if (!n)
		return;
	add_mapped(list, h, treap_get(&n->left, heap_secret));
	b = mapped_block(n);
	item_list_add(list, &(struct osmem_item){
				    .kind = OSMEM_MAPPED,
				    .heap = name_of(h),
				    .start = b,
				    .size = META + b->size,
				    .status = b->status,
				    .payload = b->size,
				    .mapping = (size_t)(block_end(b) -
							round_down_ptr(b, sys_page_size()))});
	add_mapped(list, h, treap_get(&n->right, heap_secret));
}

size_t heap_list(enum heap_id id, struct osmem_item *items, size_t room)
{
	struct heap *h = &heaps[id];
	struct item_list list = {.items = items, .room = room};
	bool is_locked = heap_lock_frozen(h);

	add_regions(&list, h);
	if (h->mapped) /* plain NULL, and not a sealed one, until the first */
		add_mapped(&list, h, treap_get(&h->mapped, heap_secret));
	heap_unlock_frozen(h, is_locked);
	return list.count;
}
