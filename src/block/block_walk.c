// SPDX-License-Identifier: BSD-3-Clause

/* Copies of the block list and the statistics, and the checker. */

#include "block_core.h"

static void add_block(struct item_list *list, enum osmem_kind kind, const struct block_meta *b)
{
	size_t bytes = META + b->size;

	item_list_add(list, &(struct osmem_item){.kind = kind,
						 .heap = OSMEM_COURSE,
						 .start = b,
						 .size = bytes,
						 .status = b->status,
						 .payload = b->size,
						 .mapping = kind == OSMEM_MAPPED ? bytes : 0});
}

static void add_region(struct item_list *list, const struct region *r)
{
	struct block_meta *b = block_at(r->start);

	item_list_add(list, &(struct osmem_item){.kind = OSMEM_REGION,
						 .heap = OSMEM_COURSE,
						 .start = r->start,
						 .size = (size_t)(r->end - r->start),
						 .ahead = (size_t)(r->limit - r->end)});
	for (; (char *)b < r->end && block_has_valid_size(r, b); b = block_at(block_end(b)))
		add_block(list, OSMEM_BLOCK, b);
}

/* Append the mapped blocks of the tree at b in order. */
static void add_mapped(struct item_list *list, struct block_meta *b)
{
	if (!b)
		return;
	add_mapped(list, treap_get(b, TREAP_LEFT, TREAP_MAPPED));
	add_block(list, OSMEM_MAPPED, b);
	add_mapped(list, treap_get(b, TREAP_RIGHT, TREAP_MAPPED));
}

void block_list(struct item_list *list)
{
	block_lock();
	for (size_t i = 0; i < course.region_count; i++)
		add_region(list, &block_regions[i]);
	add_mapped(list, course.mapped);
	block_unlock();
}

void block_each_lock(void (*visit)(struct lock *l, void *arg), void *arg)
{
	visit(&course.lock, arg);
}

void block_get_stats(struct osmem_heap_stats *stats)
{
	block_lock();
	*stats = course.stats;
	block_unlock();
	stats->mapped_blocks = stats->mmap_calls - stats->munmap_calls;
	stats->live_blocks = stats->allocs - stats->frees - stats->mapped_blocks;
}

/* ---- The checker of the invariants in block_core.h ---- */

struct totals {
	size_t blocks, live_blocks, live_bytes, pending, indexed, mapped;
	size_t region_bytes, ahead_bytes;
};

static const char *check_free(struct block_meta *b, struct totals *t)
{
	bool is_pending = pending_has(b);

	t->pending += is_pending;
	t->indexed += !is_pending;
	return is_pending && !pending_is_valid(&course.pending, b)
		       ? "Q1: a pending block is not in the table"
		       : NULL;
}

static const char *check_block(const struct region *r, struct block_meta *b, struct totals *t)
{
	if (!block_has_valid_size(r, b))
		return "H1: a block's size is wrong";
	if (b->status != STATUS_FREE && b->status != STATUS_ALLOC)
		return "H3: a block's status is neither free nor allocated";
	t->blocks++;
	if (b->status == STATUS_FREE)
		return check_free(b, t);
	t->live_blocks++;
	t->live_bytes += META + b->size;
	return block_has_checksum(b) ? NULL : "H3: an allocated block's header is overwritten";
}

/* Check region i. *prev is the last block of the region before it, and becomes the last of it. */
static const char *check_region(size_t i, struct block_meta **prev, struct totals *t)
{
	const struct region *r = &block_regions[i];
	const char *fault;

	if (r->end > r->limit || (i && r->start <= block_regions[i - 1].limit))
		return "H5: regions touch or are out of order";
	for (struct block_meta *b = block_at(r->start); (char *)b < r->end;
	     b = block_at(block_end(b))) {
		if (b->prev != *prev || (*prev && (*prev)->next != b))
			return "H2: the list does not lead from block to block and back";
		fault = check_block(r, b, t);
		if (fault)
			return fault;
		*prev = b;
	}
	t->region_bytes += (size_t)(r->end - r->start);
	t->ahead_bytes += (size_t)(r->limit - r->end);
	return NULL;
}

/* Recursion is bounded by the depth of a treap, O(log n). */
static const char *check_mapped(struct block_meta *b, size_t *count)
{
	struct block_meta *left, *right;
	const char *fault;

	if (!b)
		return NULL;
	++*count;
	if (b->status != STATUS_MAPPED || !block_has_checksum(b))
		return "H3: a mapped block's header is overwritten";
	left = treap_get(b, TREAP_LEFT, TREAP_MAPPED);
	right = treap_get(b, TREAP_RIGHT, TREAP_MAPPED);
	if ((left && left >= b) || (right && right <= b))
		return "T1: the mapped blocks are out of order";
	fault = check_mapped(left, count);
	return fault ? fault : check_mapped(right, count);
}

static const char *check_totals(const struct totals *t, size_t indexed)
{
	const struct osmem_heap_stats *s = &course.stats;
	size_t mapped = s->mmap_calls - s->munmap_calls;

	if (t->indexed != indexed || t->pending != course.pending.count + course.pending.spilled)
		return "H4: not exactly the free blocks are pending or indexed";
	if (t->blocks != s->blocks || t->live_blocks != s->allocs - s->frees - mapped ||
	    t->live_bytes != s->live_bytes || t->region_bytes != s->region_bytes ||
	    t->ahead_bytes != s->ahead_bytes || course.region_count != s->regions ||
	    t->mapped != mapped)
		return "H7: the figures do not agree with the list";
	return NULL;
}

static const char *check(void)
{
	struct block_meta *prev = NULL;
	struct totals t = {0};
	const char *fault = NULL;
	size_t indexed = 0;

	for (size_t i = 0; i < course.region_count && !fault; i++)
		fault = check_region(i, &prev, &t);
	if (!fault && (prev != course.last || (prev && prev->next)))
		fault = "H6: last is not the last block";
	if (!fault)
		fault = index_check(&course.index, &indexed);
	if (!fault)
		fault = check_mapped(course.mapped, &t.mapped);
	return fault ? fault : check_totals(&t, indexed);
}

const char *block_check(void)
{
	const char *fault;

	block_lock();
	fault = check();
	block_unlock();
	return fault;
}
