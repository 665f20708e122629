// SPDX-License-Identifier: BSD-3-Clause

/* The blocks of a search for leaks: what is live, and where. */

#include <string.h>

#include "block_meta.h"
#include "cache/tcache.h"
#include "handler.h"
#include "helpers.h"
#include "large/large.h"
#include "leaks_core.h"
#include "sample/guard.h"
#include "sample/sample.h"
#include "sort.h"

#define OWN_HOLES 8 /* of the search itself */

/* ---- Holes ---- */

void leaks_add_hole(struct leaks_search *s, const void *start, size_t size)
{
	if (s->hole_count < s->hole_room)
		s->holes[s->hole_count] =
			(struct leaks_range){(uintptr_t)start, (uintptr_t)start + size};
	s->hole_count++;
}

static bool is_hole_before(const void *a, const void *b)
{
	return ((const struct leaks_range *)a)->start < ((const struct leaks_range *)b)->start;
}

void leaks_sort_holes(struct leaks_search *s)
{
	sort(s->holes, s->hole_count, sizeof(*s->holes), is_hole_before);
}

static void add_range(const void *start, size_t size, void *arg)
{
	leaks_add_hole(arg, start, size);
}

/* The heaps, and their tables of blocks. */
static void add_heaps(struct leaks_search *s, const struct item_list *copy)
{
	s->hole_count = 0;
	for (const struct osmem_item *i = copy->items; i < copy->items + copy->count; i++) {
		if (i->kind == OSMEM_SEGMENT || i->kind == OSMEM_REGION)
			leaks_add_hole(s, i->start, i->size + i->ahead);
		else if (i->kind == OSMEM_MAPPED && i->heap == OSMEM_COURSE)
			leaks_add_hole(s, i->start, i->mapping);
	}
	large_each_range(add_range, s);
	slab_each_range(add_range, s);
	sample_each_range(add_range, s);
	guard_each_range(add_range, s);
}

static bool make_holes(struct leaks_search *s, const struct item_list *copy)
{
	add_heaps(s, copy);
	s->hole_room = s->hole_count + OWN_HOLES;
	s->holes = sys_map((s->hole_room + 1) * sizeof(*s->holes));
	if (!s->holes)
		return false;
	add_heaps(s, copy);
	leaks_add_hole(s, s->holes, s->hole_room * sizeof(*s->holes));
	return true;
}

/* ---- Runs ---- */

static void add_run(struct leaks_search *s, const void *start, size_t size, size_t count,
		    enum osmem_heap heap)
{
	s->runs[s->run_count++] = (struct leaks_run){.start = (uintptr_t)start,
						     .end = (uintptr_t)start + count * size,
						     .size = size,
						     .first = s->block_count,
						     .heap = heap};
	s->block_count += count;
}

/* Of each slab the cells in use at any time, and each live block of the other kinds. */
static void add_item(struct leaks_search *s, const struct osmem_item *i)
{
	const char *payload = i->start;

	if (i->kind == OSMEM_SLAB && !i->is_own)
		add_run(s, i->start, i->cell, i->carved, i->heap);
	else if (i->kind == OSMEM_BLOCK || i->kind == OSMEM_MAPPED || i->kind == OSMEM_SPAN) {
		if (i->heap == OSMEM_COURSE)
			payload += i->size - i->payload;
		if (i->status != STATUS_FREE && i->payload)
			add_run(s, payload, i->payload, 1, i->heap);
	}
}

static bool is_run_before(const void *a, const void *b)
{
	return ((const struct leaks_run *)a)->start < ((const struct leaks_run *)b)->start;
}

/* ---- States ---- */

/* The cells of a run whose states are read. Cells that cannot be read were never freed. */
struct cells {
	const struct leaks_run *run;
	unsigned char *states;
	size_t at;
};

static void read_cells(void *arg)
{
	struct cells *c = arg;

	for (; c->at < leaks_count_of(c->run); c->at++) {
		c->states[c->at] = BLOCK_UNSEEN;
		if (!tcache_is_live((const char *)c->run->start + c->at * c->run->size))
			c->states[c->at] = BLOCK_FREE;
	}
}

static void set_states(struct leaks_search *s)
{
	for (size_t i = 0; i < s->run_count; i++) {
		const struct leaks_run *run = &s->runs[i];
		struct cells cells = {run, s->states + run->first, 0};

		if (run->heap == OSMEM_CELLS)
			while (!fault_try(read_cells, &cells))
				cells.at++;
		else
			*cells.states = BLOCK_UNSEEN;
	}
}

static size_t count_live(const struct leaks_search *s)
{
	size_t n = 0;

	for (size_t i = 0; i < s->block_count; i++)
		n += s->states[i] == BLOCK_UNSEEN;
	return n;
}

/* ---- The table ---- */

/* Memory for count elements of the search, which is no root. One more: no mapping is empty. */
static void *map_part(struct leaks_search *s, size_t count, size_t size)
{
	void *p = sys_map((count + 1) * size);

	if (p)
		leaks_add_hole(s, p, (count + 1) * size);
	return p;
}

bool leaks_make_blocks(struct leaks_search *s, const struct item_list *copy)
{
	if (!make_holes(s, copy))
		return false;
	s->run_room = copy->count;
	s->runs = map_part(s, s->run_room, sizeof(*s->runs));
	if (!s->runs)
		return false;
	for (size_t i = 0; i < copy->count; i++)
		add_item(s, &copy->items[i]);
	sort(s->runs, s->run_count, sizeof(*s->runs), is_run_before);
	s->states = map_part(s, s->block_count, sizeof(*s->states));
	if (!s->states)
		return false;
	set_states(s);
	s->pending_room = count_live(s);
	s->pending = map_part(s, s->pending_room, sizeof(*s->pending));
	return s->pending;
}

static void drop_part(void *p, size_t count, size_t size)
{
	if (p)
		sys_release(p, (count + 1) * size);
}

void leaks_drop(struct leaks_search *s)
{
	drop_part(s->holes, s->hole_room, sizeof(*s->holes));
	drop_part(s->runs, s->run_room, sizeof(*s->runs));
	drop_part(s->states, s->block_count, sizeof(*s->states));
	drop_part(s->pending, s->pending_room, sizeof(*s->pending));
	memset(s, 0, offsetof(struct leaks_search, own));
}

/* ---- Leaks ---- */

/* Candidates are sorted from high to low, as addresses are from low to high. */
static bool is_candidate(const struct leaks_search *s, uintptr_t start)
{
	size_t low = 0, high = s->candidate_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (~s->candidates[middle] < start)
			low = middle + 1;
		else
			high = middle;
	}
	return low < s->candidate_count && ~s->candidates[low] == start;
}

bool leaks_next(const struct leaks_search *s, struct leaks_block *b)
{
	for (; b->run < s->run_count; b->run++, b->index = UINT32_MAX)
		while (++b->index < leaks_count_of(&s->runs[b->run]))
			if (*leaks_state_of(s, *b) >= BLOCK_DIRECT &&
			    (!s->candidates || is_candidate(s, leaks_block_start(s, *b))))
				return true;
	return false;
}

bool leaks_save_candidates(struct leaks_search *s)
{
	size_t count = 0;
	uintptr_t *saved;

	for (struct leaks_block b = LEAKS_BEFORE; leaks_next(s, &b);)
		count++;
	saved = sys_map((count + 1) * sizeof(*saved));
	if (!saved)
		return false;
	for (struct leaks_block b = LEAKS_BEFORE; leaks_next(s, &b);)
		saved[s->candidate_count++] = ~leaks_block_start(s, b);
	s->candidates = saved;
	return true;
}

void leaks_drop_candidates(struct leaks_search *s)
{
	drop_part(s->candidates, s->candidate_count, sizeof(*s->candidates));
}
