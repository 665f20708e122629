// SPDX-License-Identifier: BSD-3-Clause

/*
 * Where the heap's memory comes from: one region at the break, and another wherever the break
 * stands when somebody else has moved it (rule 4).
 *
 * The break is moved with libc's sbrk. A program or a tool may have put its own in its place, which
 * may allocate, even here. So meanwhile the heap is whole and not locked, and what comes is entered
 * as it is found to lie then. But libc's sbrk is not made for two threads, so there is a lock for
 * those that call it, which lets the same thread in again.
 */

#include <errno.h>
#include <string.h>

#include "block_core.h"

#ifndef COURSE_EXACT_MAX
#define COURSE_EXACT_MAX MIB /* beyond it the break is raised ahead of need */
#endif
#define AHEAD_SHIFT 3 /* by an eighth of the heap */
#define EXACT_TRIES 2

static struct region *last_region(void)
{
	return course.region_count ? &block_regions[course.region_count - 1] : NULL;
}

static void note_span(void)
{
	links_heap.start = (uintptr_t)block_regions[0].start;
	links_heap.size = (uintptr_t)last_region()->limit - links_heap.start;
}

/* The place in the table of a region that starts at start. */
static size_t place_of(const char *start)
{
	size_t i = course.region_count;

	while (i > 0 && block_regions[i - 1].start > start)
		i--;
	return i;
}

/* Put b, the only block of r, into the list. */
static void link_region(const struct region *r, struct block_meta *b)
{
	bool is_last = r == last_region();

	b->next = is_last ? NULL : block_at(r[1].start);
	b->prev = is_last ? course.last : b->next->prev;
	if (b->prev && b->prev->next != b->next)
		block_corrupted(b->prev);
	if (b->prev)
		b->prev->next = b;
	if (b->next)
		b->next->prev = b;
	else
		course.last = b;
}

/* Enter a region at place i of the table: one free block of size bytes. */
static void add_region(size_t i, char *start, char *limit, size_t size)
{
	struct region *r = &block_regions[i];
	struct block_meta *b = block_at(start);

	memmove(r + 1, r, (course.region_count++ - i) * sizeof(*r));
	b->size = size;
	b->status = STATUS_FREE;
	*r = (struct region){.start = start, .end = block_end(b), .limit = limit};
	link_region(r, b);
	note_span();
	pending_add(&course.pending, b);
	course.stats.regions++;
	course.stats.blocks++;
	course.stats.region_bytes += META + size;
	course.stats.ahead_bytes += (size_t)(limit - r->end);
	block_note(TRACE_STEP_REGION, 0, b, (uintptr_t)limit, 0);
	block_note(TRACE_STEP_APPEND, 0, b, size, 0);
}

/*
 * The kernel gave what lies from p to limit. Too little for a block, one region too many, or what
 * is ours already can only be if somebody else moved the break at this very moment: it stays
 * unused.
 */
static void accept(char *p, char *limit)
{
	struct region *last = last_region();
	char *start = p + (-(uintptr_t)p & (GRAIN - 1));
	size_t i = place_of(start);

	course.raises++;
	if (last && p == last->limit) {
		course.stats.ahead_bytes += (size_t)(limit - p);
		last->limit = limit;
		note_span();
		return;
	}
	if ((i > 0 && block_regions[i - 1].limit > start) ||
	    (i < course.region_count && block_regions[i].start < limit))
		return;
	if (i > 0 && block_regions[i - 1].limit == start) /* H5 */
		start += GRAIN;
	if (i < course.region_count && block_regions[i].start == limit)
		limit -= GRAIN;
	if (limit - start >= (ptrdiff_t)(META + GRAIN) && course.region_count < REGIONS_MAX)
		add_region(i, start, limit, ((size_t)(limit - start) - META) & ~(GRAIN - 1));
}

/* How much to take ahead of need: nothing until the heap has passed COURSE_EXACT_MAX. */
static size_t ahead_of_need(void)
{
	size_t total = course.stats.region_bytes;

	return total > COURSE_EXACT_MAX ? round_up(total >> AHEAD_SHIFT, sys_page_size()) : 0;
}

/*
 * libc's sbrk, or whoever is in front of it, by size; 0: only the break. The heap is left
 * meanwhile.
 */
static char *call_sbrk(size_t size)
{
	char *p;

	block_leave();
	p = size ? sys_raise_break(size) : sys_break();
	block_enter();
	return p;
}

/* Raise the break by size and, if that much can be had, by ahead more. */
static enum raise raise_break(size_t size, size_t ahead)
{
	char *p;

	course.stats.brk_calls++;
	p = call_sbrk(size + ahead);
	if (!p && ahead)
		return raise_break(size, 0);
	if (!p)
		return REFUSED;
	accept(p, p + size + ahead);
	return RAISED;
}

/* The break is at brk. */
static enum raise raise_from(char *brk, size_t size, size_t chunk)
{
	struct region *r = last_region();
	bool is_moved = !r || brk > r->limit;

	if (brk && is_moved && !chunk)
		return MOVED;
	if (!brk || (r && brk < r->end) || (is_moved && course.region_count == REGIONS_MAX)) {
		errno = ENOMEM; /* refused, or the program took our memory away */
		return REFUSED;
	}
	if (is_moved)
		return raise_break((-(uintptr_t)brk & (GRAIN - 1)) + chunk, 0);
	/* The program may have lowered the break into what we had ahead. */
	course.stats.ahead_bytes -= (size_t)(r->limit - brk);
	r->limit = brk;
	return raise_break(size - block_room(), ahead_of_need());
}

/* Read the break and raise it. */
static enum raise read_and_raise(size_t size, size_t chunk)
{
	unsigned int raises = course.raises;
	char *brk = call_sbrk(0);

	/* A hook of sbrk may have raised it meanwhile. */
	return course.raises == raises ? raise_from(brk, size, chunk) : RAISED;
}

enum raise block_raise(size_t size, size_t chunk, unsigned int *tries)
{
	unsigned int raises = course.raises;
	enum raise result = RAISED;
	bool is_locked;

	block_leave();
	is_locked = block_lock_raise();
	block_enter();
	if (course.raises == raises) { /* else another thread has raised the break */
		if ((*tries)++ < EXACT_TRIES)
			result = read_and_raise(size, chunk);
		else /* so much that it is enough wherever it lies */
			result = raise_break((chunk ? chunk : size) + 2 * GRAIN, 0);
	}
	if (is_locked)
		pthread_mutex_unlock(&block_raise_lock);
	return result;
}

/* Mapped blocks. */

void block_register_mapped(struct block_meta *b)
{
	treap_insert(&course.mapped, b, TREAP_MAPPED);
	course.stats.mapped_blocks++;
	course.stats.mapped_bytes += META + b->size;
	block_note_peak();
}

void block_unregister_mapped(struct block_meta *b)
{
	treap_remove(&course.mapped, b, TREAP_MAPPED);
	course.stats.mapped_blocks--;
	course.stats.mapped_bytes -= META + b->size;
}
