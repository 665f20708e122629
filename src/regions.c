// SPDX-License-Identifier: BSD-3-Clause

/*
 * Regions and mapped blocks: where a heap's memory comes from and goes to. The course heap has one
 * region at the break, and another wherever the break stands when somebody else has moved it. The
 * libc heap's are mappings.
 */

#include <errno.h>
#include <string.h>

#include "heap_core.h"

#ifndef COURSE_EXACT_MAX
#define COURSE_EXACT_MAX MIB /* beyond it the break is raised ahead of need */
#endif
#define COURSE_SPAN_MAX ((size_t)INDEX_ZONES << INDEX_ZONE_SHIFT)
#define AHEAD_SHIFT 3 /* by an eighth of the heap */
#define LIBC_FIRST_REGION MIB
#define LIBC_REGION_BLOCKS 4 /* a region has room for that many: neighbours can coalesce */
#define ADOPTED_MAX 16 /* regions, above which mappings are not made regions */
#define LIBC_AHEAD_SHIFT 2 /* fewer regions: a pointer's is looked up */

/* Room for one more region; the table moves into mappings when it outgrows the heap struct. */
static bool reserve_region(struct heap *h)
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
static struct block_meta *add_region(struct heap *h, char *start, char *limit, size_t size,
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
	    (i ? !heap_is_in(&h->regions[i - 1], b->prev) || b->prev->next != next : !!b->prev))
		heap_corrupted(h, next);
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
static size_t ahead_of_need(const struct heap *h)
{
	size_t total = h->stats.region_bytes;

	return total > COURSE_EXACT_MAX ? round_up(total >> AHEAD_SHIFT, sys_page_size()) : 0;
}

/* Raise the break by size and, if that much can be had, by ahead more. *got says how much. */
static char *raise_break(struct heap *h, size_t size, size_t ahead, size_t *got)
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
static void set_span(struct heap *h, const char *limit)
{
	h->index.span = (uintptr_t)limit - h->index.base;
}

/* Extend the growing region of the course heap by size bytes beyond its limit. */
static enum growth extend_limit(struct heap *h, struct region *r, size_t size)
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
enum growth heap_extend_region(struct heap *h, size_t size)
{
	struct region *r = &h->regions[h->growing];
	size_t room = (size_t)(r->limit - r->end);
	enum growth growth;

	if (size > room) {
		growth = h->uses_brk ? extend_limit(h, r, size - room) : DETACHED;
		if (growth != GROWN)
			return growth;
	}
	r->end += size;
	h->stats.region_bytes += size;
	h->stats.reserve_bytes -= size;
	return GROWN;
}

/* A course region at the break, its first block of size bytes. */
static struct block_meta *new_brk_region(struct heap *h, size_t size)
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

/* Make what is left of the growing region a free block before another region takes its place. */
static void retire_tail(struct heap *h)
{
	struct region *r = &h->regions[h->growing];
	size_t room = (size_t)(r->limit - r->end);
	struct block_meta *b = (struct block_meta *)(void *)r->end;

	heap_require_top(h);
	if (room < META + h->min_size)
		return;
	b->size = room - META;
	b->status = STATUS_FREE;
	heap_link_behind(h, h->top, b);
	heap_extend_region(h, room);
	index_defer(&h->index, b);
}

/* A mapped region, its first block of size bytes. The last grain stays unused: H5. */
static struct block_meta *new_mapped_region(struct heap *h, size_t size)
{
	size_t need = round_up(META + size + h->grain, sys_page_size());
	size_t want = round_up(h->stats.region_bytes >> LIBC_AHEAD_SHIFT, MIB);
	char *p;

	if (want < LIBC_FIRST_REGION)
		want = LIBC_FIRST_REGION;
	if (need > PTRDIFF_MAX / LIBC_REGION_BLOCKS)
		want = need;
	else if (want < need * LIBC_REGION_BLOCKS)
		want = need * LIBC_REGION_BLOCKS;
	h->stats.map_calls++;
	p = sys_map(want);
	if (!p && want > need) {
		want = need;
		h->stats.map_calls++;
		p = sys_map(want);
	}
	if (!p)
		return NULL;
	if (h->region_count)
		retire_tail(h);
	return add_region(h, p, p + want - h->grain, size, true);
}

bool heap_adopt_region(struct heap *h, struct block_meta *b)
{
	char *start = (char *)b, *limit = block_end(b) - h->grain;

	if (!h->region_count || h->region_count >= ADOPTED_MAX || !reserve_region(h))
		return false;
	b = add_region(h, start, limit, (size_t)(limit - start) - META, false);
	index_defer(&h->index, b);
	return true;
}

void heap_make_secret(void)
{
	if (!atomic_load_explicit(&heap_secret, memory_order_relaxed))
		atomic_store_explicit(&heap_secret, sys_secret(), memory_order_relaxed);
}

struct block_meta *heap_new_region(struct heap *h, size_t size)
{
	heap_make_secret();
	h->index.secret = heap_secret;
	if (!reserve_region(h))
		return NULL;
	return h->uses_brk ? new_brk_region(h, size) : new_mapped_region(h, size);
}

void heap_remove_region(struct heap *h, struct region *r)
{
	struct block_meta *b = (struct block_meta *)(void *)r->start;
	size_t i = (size_t)(r - h->regions);

	if (b->prev)
		b->prev->next = b->next;
	if (b->next)
		b->next->prev = b->prev;
	else
		h->last = b->prev;
	h->stats.regions--;
	h->stats.blocks--;
	h->stats.region_bytes -= (size_t)(r->end - r->start);
	h->stats.reserve_bytes -= (size_t)(r->limit - r->end);
	h->region_count--;
	memmove(r, r + 1, (h->region_count - i) * sizeof(*r));
	h->recent = 0;
	if (!h->region_count) {
		h->regions[0] = (struct region){0};
		h->top = NULL;
		h->growing = 0;
	} else if (h->growing == i) { /* any other will do: its rest is a block, so it is full */
		h->growing = h->region_count - 1;
		h->top = h->last;
	} else if (h->growing > i) {
		h->growing--;
	}
}

/* Mapped blocks. */

void heap_register_mapped(struct heap *h, struct block_meta *b)
{
	treap_insert(&h->mapped, mapped_node(b), false, heap_secret);
	h->stats.mapped_blocks++;
	h->stats.mapped_bytes += (size_t)(block_end(b) - round_down_ptr(b, sys_page_size()));
	heap_note_peak(h);
}

void heap_unregister_mapped(struct heap *h, struct block_meta *b)
{
	treap_remove(&h->mapped, mapped_node(b), false, heap_secret);
	h->stats.mapped_blocks--;
	h->stats.mapped_bytes -= (size_t)(block_end(b) - round_down_ptr(b, sys_page_size()));
}

void heap_unmap(struct block_meta *b)
{
	char *start = round_down_ptr(b, sys_page_size());

	sys_release(start, (size_t)(block_end(b) - start));
}

struct block_meta *heap_make_mapped(char *at, size_t size)
{
	struct block_meta *b = (struct block_meta *)(void *)at;

	heap_make_secret();
	b->size = size;
	b->status = STATUS_MAPPED;
	seal(b);
	return b;
}
