// SPDX-License-Identifier: BSD-3-Clause

/*
 * Regions and mapped blocks: where a heap's memory comes from and goes to. The course heap has one
 * region at the break, and another wherever the break stands when somebody else has moved it. The
 * libc heap's are mappings.
 */

#include <errno.h>
#include <string.h>

#include "block_core.h"

#ifndef COURSE_EXACT_MAX
#define COURSE_EXACT_MAX MIB /* beyond it the break is raised ahead of need */
#endif
#define COURSE_SPAN_MAX ((size_t)INDEX_ZONES << INDEX_ZONE_SHIFT)
#define AHEAD_SHIFT 3 /* by an eighth of the heap */

/* Room for one more region; the table moves into mappings when it outgrows the heap struct. */
static bool reserve_region(struct block_heap *h)
{
	size_t room = h->region_room * 2;
	struct region *table;

	if (h->region_count < h->region_room)
		return true;
	table = sys_map(room * sizeof(*table));
	h->stats.map_calls++;
	if (!table)
		return false;
	memcpy(table, h->regions, h->region_count * sizeof(*table));
	if (h->regions != h->first_regions) {
		sys_release(h->regions, h->region_room * sizeof(*table));
		h->stats.unmap_calls++;
	}
	h->regions = table;
	h->region_room = room;
	return true;
}

/*
 * Enter [start, limit) as a region of one block of size bytes, allocated or free later. Only if it
 * grows may limit be more than that.
 */
static struct block_meta *add_region(struct block_heap *h, char *start, char *limit, size_t size,
				     bool grows)
{
	struct block_meta *b = (struct block_meta *)(void *)start, *next = NULL;
	size_t i = h->region_count;

	while (i > 0 && h->regions[i - 1].start > start) {
		h->regions[i] = h->regions[i - 1];
		i--;
	}
	if (i < h->region_count)
		next = (struct block_meta *)(void *)h->regions[i + 1].start;
	b->size = size;
	b->status = STATUS_FREE;
	b->next = next;
	b->prev = next ? next->prev : h->last;
	if (next &&
	    (i ? !block_is_in(&h->regions[i - 1], b->prev) || b->prev->next != next : !!b->prev))
		block_corrupted(h, next);
	if (b->prev)
		b->prev->next = b;
	if (next)
		next->prev = b;
	else
		h->last = b;
	h->regions[i] = (struct region){.start = start, .end = block_end(b), .limit = limit};
	h->region_count++;
	h->recent = i;
	if (grows) {
		h->growing = i;
		h->top = b;
	} else if (i <= h->growing) {
		h->growing++;
	}
	h->stats.regions++;
	h->stats.blocks++;
	h->stats.region_bytes += META + size;
	h->stats.reserve_bytes += (size_t)(limit - block_end(b));
	return b;
}

/* How much to take ahead of need: nothing until the heap has passed COURSE_EXACT_MAX. */
static size_t ahead_of_need(const struct block_heap *h)
{
	size_t total = h->stats.region_bytes;

	return total > COURSE_EXACT_MAX ? round_up(total >> AHEAD_SHIFT, sys_page_size()) : 0;
}

/* Raise the break by size and, if that much can be had, by ahead more. *got says how much. */
static char *raise_break(struct block_heap *h, size_t size, size_t ahead, size_t *got)
{
	char *p = NULL;

	*got = size + ahead;
	if (ahead) {
		h->stats.brk_calls++;
		p = sys_raise_break(*got);
	}
	if (!p) {
		*got = size;
		h->stats.brk_calls++;
		p = sys_raise_break(*got);
	}
	return p;
}

/* The index's blocks are below limit. */
static void set_span(struct block_heap *h, const char *limit)
{
	h->index.span = (uintptr_t)limit - h->index.base;
}

/* Extend the growing region of the course heap by size bytes beyond its limit. */
static enum growth extend_limit(struct block_heap *h, struct region *r, size_t size)
{
	char *brk = sys_break(), *p;
	size_t got;

	if (!brk || brk < r->end ||
	    size > COURSE_SPAN_MAX - (size_t)(r->limit - h->regions[0].start)) {
		errno = ENOMEM; /* refused, or the program took our memory away */
		return REFUSED;
	}
	if (brk > r->limit)
		return DETACHED;
	if (brk < r->limit) { /* the program lowered the break into what we had ahead */
		size += (size_t)(r->limit - brk);
		h->stats.reserve_bytes -= (size_t)(r->limit - brk);
		r->limit = brk;
	}
	p = raise_break(h, size, ahead_of_need(h), &got);
	if (!p)
		return REFUSED;
	if (p != r->limit)
		return DETACHED; /* somebody moved the break this very moment */
	r->limit += got;
	h->stats.reserve_bytes += got;
	set_span(h, r->limit);
	return GROWN;
}

/* Move the end of the growing region up by size bytes, to be made part of a block by the caller. */
enum growth block_extend_region(struct block_heap *h, size_t size)
{
	struct region *r = &h->regions[h->growing];
	size_t room = (size_t)(r->limit - r->end);
	enum growth growth;

	if (size > room) {
		growth = extend_limit(h, r, size - room);
		if (growth != GROWN)
			return growth;
	}
	r->end += size;
	h->stats.region_bytes += size;
	h->stats.reserve_bytes -= size;
	return GROWN;
}

/* A course region at the break, its first block of size bytes. */
static struct block_meta *new_brk_region(struct block_heap *h, size_t size)
{
	size_t n = h->region_count, padding, got;
	char *brk, *p;

	do {
		brk = sys_break();
		if (!brk ||
		    (n && (brk < h->regions[n - 1].end ||
			   (size_t)(brk - h->regions[0].start) > COURSE_SPAN_MAX - 2 * size)))
			goto refused;
		padding = round_up((uintptr_t)brk, h->grain) - (uintptr_t)brk;
		p = raise_break(h, padding + META + size, 0, &got);
		if (!p)
			goto refused;
	} while (((uintptr_t)p + padding) % h->grain); /* the break moved at this very moment */
	if (!h->index.base)
		h->index.base = (uintptr_t)(p + padding);
	set_span(h, p + got);
	return add_region(h, p + padding, p + got, size, true);
refused:
	errno = ENOMEM;
	return NULL;
}

void block_make_secret(void)
{
	if (!atomic_load_explicit(&block_secret, memory_order_relaxed))
		atomic_store_explicit(&block_secret, sys_secret(), memory_order_relaxed);
}

struct block_meta *block_new_region(struct block_heap *h, size_t size)
{
	block_make_secret();
	h->index.secret = block_secret;
	if (!reserve_region(h))
		return NULL;
	return new_brk_region(h, size);
}

/* Mapped blocks. */

void block_register_mapped(struct block_heap *h, struct block_meta *b)
{
	treap_insert(&h->mapped, mapped_node(b), false, block_secret);
	h->stats.mapped_blocks++;
	h->stats.mapped_bytes += (size_t)(block_end(b) - round_down_ptr(b, sys_page_size()));
	block_note_peak(h);
}

void block_unregister_mapped(struct block_heap *h, struct block_meta *b)
{
	treap_remove(&h->mapped, mapped_node(b), false, block_secret);
	h->stats.mapped_blocks--;
	h->stats.mapped_bytes -= (size_t)(block_end(b) - round_down_ptr(b, sys_page_size()));
}

void block_unmap(struct block_meta *b)
{
	char *start = round_down_ptr(b, sys_page_size());

	sys_release(start, (size_t)(block_end(b) - start));
}

struct block_meta *block_make_mapped(char *at, size_t size)
{
	struct block_meta *b = (struct block_meta *)(void *)at;

	block_make_secret();
	b->size = size;
	b->status = STATUS_MAPPED;
	seal(b);
	return b;
}
