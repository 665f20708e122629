// SPDX-License-Identifier: BSD-3-Clause

/*
 * Faults, and the checker of the whole heap. Both may walk the list: a fault is the end of the
 * process, and the checker is for tests.
 */

#include "block_core.h"

bool (*block_is_others)(const void *p);

/* Faults. From here on the heap may be damaged: find out what can be said, say it, abort. */

void block_corrupted(struct block_heap *h, const struct block_meta *b)
{
	block_leave(h);
	sys_fatal("heap", b + 1, "the header of this block, or free memory in it, is overwritten");
}

/* Whether b, somewhere in r, could be a block by its own header. */
static bool is_sane(const struct block_heap *h, const struct region *r, struct block_meta *b)
{
	size_t room = (size_t)(r->end - (char *)b) - META;

	if (b->status != STATUS_FREE && (b->status != STATUS_ALLOC || !has_seal(b)))
		return false;
	return b->size % h->grain == 0 && b->size >= h->min_size && b->size <= room;
}

/* Walk r to the block that has p in its header or payload; *damaged: the walk ended at an
 * overwritten header before or at it. */
static struct block_meta *find_block(struct block_heap *h, struct region *r, const char *p,
				     bool *damaged)
{
	struct block_meta *b = (struct block_meta *)(void *)r->start, *prev = b->prev;

	*damaged = false;
	while ((char *)b < r->end) {
		if (!is_sane(h, r, b) || b->prev != prev ||
		    (block_end(b) < r->end && (char *)b->next != block_end(b))) {
			*damaged = true;
			return b;
		}
		if (p < block_end(b))
			return b;
		prev = b;
		b = (struct block_meta *)(void *)block_end(b);
	}
	return NULL;
}

static __attribute__((noreturn, cold)) void bad_in_region(struct block_heap *h, struct region *r,
							  const char *call, char *p)
{
	bool damaged;
	struct block_meta *b = find_block(h, r, p < r->end ? p : p - META, &damaged);
	char *payload = (char *)(b + 1);

	block_leave(h);
	if (damaged && payload == p)
		sys_fatal(call, p, "the header of this block is overwritten");
	if (damaged)
		sys_fatal(call, p, "the header of the block at 0x%lx before it is overwritten",
			  (unsigned long)(uintptr_t)payload);
	if (payload != p)
		sys_fatal(call, p, "not the start of a block, but inside %s of %lu bytes at 0x%lx",
			  b->status == STATUS_FREE || !is_sealed(b) ? "a free one" : "one",
			  (unsigned long)b->size, (unsigned long)(uintptr_t)payload);
	if (b->status == STATUS_FREE || !is_sealed(b))
		sys_fatal(call, p, "this block is already free");
	sys_fatal(call, p, "the header of the block behind this one is overwritten");
}

bool block_is_ours(void *p)
{
	struct block_meta *b = (struct block_meta *)p - 1;

	return block_find_region(&course_heap, b) || is_mapped_block(&course_heap, b);
}

void block_bad_pointer(struct block_heap *h, const char *call, void *p)
{
	struct block_meta *b = (struct block_meta *)p - 1;
	struct region *r = block_find_region(h, b);

	if ((uintptr_t)p % h->grain == 0 && r)
		bad_in_region(h, r, call, p);
	if (is_mapped_block(h, b)) {
		block_leave(h);
		sys_fatal(call, p, "the header of this block is overwritten");
	}
	block_leave(h);
	if ((uintptr_t)p % h->grain)
		sys_fatal(call, p, "not a block: not aligned to %lu bytes",
			  (unsigned long)h->grain);
	if (block_is_others && block_is_others(p))
		sys_fatal(call, p, "a block of malloc, not of os_malloc");
	sys_fatal(call, p, "not a block of this allocator");
}

void treap_damaged(const void *link)
{
	struct region *r = block_find_region(&course_heap, link);
	bool damaged;

	if (r)
		block_corrupted(&course_heap, find_block(&course_heap, r, link, &damaged));
	block_leave(&course_heap);
	sys_fatal("heap", link, "a link in the header of a mapped block is overwritten");
}

void index_damaged(const struct block_meta *b)
{
	block_corrupted(&course_heap, b);
}

/* Blocks that the core does not find plainly in order. */

void block_require_last(struct block_heap *h, const struct block_meta *b)
{
	const struct region *r = block_find_region(h, b);

	if (b->status != STATUS_FREE || !r || block_end(b) != r->end ||
	    b->next != block_expected_next(h, r, b))
		block_corrupted(h, b);
}

void block_require_top(struct block_heap *h)
{
	if (h->top->next != block_expected_next(h, &h->regions[h->growing], h->top))
		block_corrupted(h, h->top);
}

void block_check_neighbours(struct block_heap *h, struct block_meta *b)
{
	struct region *r = block_find_region(h, b);

	if (!r || b->status != STATUS_FREE)
		block_corrupted(h, b);
	if (!block_is_linked(h, r, b)) /* b or, if b is right about next, next */
		block_corrupted(h, b->next == block_expected_next(h, r, b) && b->next &&
						   b->next->prev != b
					   ? b->next
					   : b);
	if ((char *)b != r->start && block_end(b->prev) != (char *)b)
		block_corrupted(h, b->prev);
	if (b->next && b->next->status != STATUS_FREE && !has_seal(b->next))
		block_corrupted(h, b->next);
}

/* The whole-heap checker. */

struct totals {
	size_t blocks, live_blocks, live_bytes, free_blocks;
	size_t region_bytes, reserve_bytes;
};

static const char *check_block(struct block_heap *h, const struct region *r, struct block_meta *b,
			       struct totals *t)
{
	if (b->size % h->grain || b->size < h->min_size || block_end(b) > r->end ||
	    b->size > (size_t)(r->end - r->start))
		return "H1: a block's size is wrong";
	if (b->status != STATUS_FREE && b->status != STATUS_ALLOC)
		return "H3: a block's status is neither free nor allocated";
	t->blocks++;
	if (b->status == STATUS_FREE) {
		t->free_blocks++;
		return NULL;
	}
	if (!has_seal(b))
		return "H3: an allocated block's header is overwritten";
	t->live_blocks++;
	t->live_bytes += META + b->size;
	return NULL;
}

/* All blocks of region i; *prev is the last block of the region before it, then of this one. */
static const char *check_region(struct block_heap *h, size_t i, struct block_meta **prev,
				struct totals *t)
{
	const struct region *r = &h->regions[i];
	struct block_meta *b = (struct block_meta *)(void *)r->start;
	const char *fault;

	if (r->end > r->limit || (i && r->start <= h->regions[i - 1].limit))
		return "H5: regions touch or are out of order";
	for (; (char *)b < r->end; b = (struct block_meta *)(void *)block_end(b)) {
		if (b->prev != *prev || (*prev && (*prev)->next != b))
			return "H2: the list does not lead from block to block and back";
		fault = check_block(h, r, b, t);
		if (fault)
			return fault;
		*prev = b;
	}
	t->region_bytes += (size_t)(r->end - r->start);
	t->reserve_bytes += (size_t)(r->limit - r->end);
	if (i == h->growing && h->top != *prev)
		return "H6: top is not the last block of the growing region";
	return NULL;
}

static const char *check_mapped(struct treap_node *n, size_t *count)
{
	struct treap_node *left, *right;
	const char *fault;

	if (!n)
		return NULL;
	++*count;
	if (mapped_block(n)->status != STATUS_MAPPED || !has_seal(mapped_block(n)))
		return "H3: a mapped block's header is overwritten";
	left = treap_get(&n->left, block_secret);
	right = treap_get(&n->right, block_secret);
	if ((left && left >= n) || (right && right <= n))
		return "T1: the mapped blocks are out of order";
	fault = check_mapped(left, count);
	return fault ? fault : check_mapped(right, count);
}

static const char *check_totals(const struct block_heap *h, const struct totals *t, size_t indexed,
				size_t mapped)
{
	const struct block_stats *s = &h->stats;

	if (t->free_blocks != indexed)
		return "H4: the index does not have exactly the free blocks";
	if (t->blocks != s->blocks || t->live_blocks != s->live_blocks ||
	    t->live_bytes != s->live_bytes || t->region_bytes != s->region_bytes ||
	    t->reserve_bytes != s->reserve_bytes || h->region_count != s->regions ||
	    mapped != s->mapped_blocks)
		return "H7: the figures do not agree with the list";
	return NULL;
}

static const char *check_heap(struct block_heap *h)
{
	struct block_meta *prev = NULL;
	size_t indexed = 0, mapped = 0;
	const char *fault = NULL;
	struct totals t = {0};

	for (size_t i = 0; i < h->region_count && !fault; i++)
		fault = check_region(h, i, &prev, &t);
	if (!fault && (prev != h->last || (prev && prev->next)))
		fault = "H6: last is not the last block";
	if (!fault)
		fault = index_check(&h->index, &indexed);
	if (!fault && h->mapped)
		fault = check_mapped(treap_get(&h->mapped, block_secret), &mapped);
	return fault ? fault : check_totals(h, &t, indexed, mapped);
}

const char *block_check(void)
{
	const char *fault;

	block_enter(&course_heap);
	fault = check_heap(&course_heap);
	block_leave(&course_heap);
	return fault;
}
