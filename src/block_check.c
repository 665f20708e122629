// SPDX-License-Identifier: BSD-3-Clause

/* The checker of the whole heap, which walks everything. For tests. */

#include "block_core.h"

struct totals {
	size_t blocks, live_blocks, live_bytes, pending, indexed, mapped;
	size_t region_bytes, ahead_bytes;
};

static const char *check_free(struct block_meta *b, struct totals *t)
{
	if (!pending_has(b)) {
		t->indexed++;
		return NULL;
	}
	t->pending++;
	return pending_is_sound(&course.pending, b) ? NULL
						    : "Q1: a pending block is not in the table";
}

static const char *check_block(const struct region *r, struct block_meta *b, struct totals *t)
{
	if (b->size % GRAIN || b->size < GRAIN || block_end(b) > r->end ||
	    b->size > (size_t)(r->end - r->start))
		return "H1: a block's size is wrong";
	if (b->status != STATUS_FREE && b->status != STATUS_ALLOC)
		return "H3: a block's status is neither free nor allocated";
	t->blocks++;
	if (b->status == STATUS_FREE)
		return check_free(b, t);
	if (!block_has_checksum(b))
		return "H3: an allocated block's header is overwritten";
	t->live_blocks++;
	t->live_bytes += META + b->size;
	return NULL;
}

/* All blocks of region i; *prev is the last block of the region before it, then of this one. */
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

	if (t->indexed != indexed || t->pending != course.pending.count + course.pending.spilled)
		return "H4: not exactly the free blocks are pending or indexed";
	if (t->blocks != s->blocks || t->live_blocks != s->allocs - s->frees - s->mapped_blocks ||
	    t->live_bytes != s->live_bytes || t->region_bytes != s->region_bytes ||
	    t->ahead_bytes != s->ahead_bytes || course.region_count != s->regions ||
	    t->mapped != s->mapped_blocks)
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

	block_enter();
	fault = check();
	block_leave();
	return fault;
}
