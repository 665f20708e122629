/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Core header of the search for leaks. The other threads are stopped meanwhile (stop.h), and no
 * lock of the heaps is held, so nothing changes.
 *
 * 1. All blocks of all heaps are in a table of runs, sorted by address (leaks_blocks.c). A word
 *    that is an address in a live block, of any of its bytes, is a pointer to it.
 * 2. Roots are the memory of the process that is not the heaps' (leaks_roots.c). Blocks that are
 *    reached from them, directly or through other blocks, are no leaks (leaks_scan.c).
 * 3. Of the rest, those that are reached from another leak are leaked indirectly, all others
 *    directly. In a cycle, the block at the lowest address counts as directly leaked.
 */

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "item_list.h"
#include "stop.h"

#define WORD sizeof(uintptr_t)
#define ENTRIES 512 /* of the page table, read at a time */

enum leaks_state {
	BLOCK_FREE,
	BLOCK_UNSEEN, /* live, not reached */
	BLOCK_REACHED, /* from a root */
	BLOCK_DIRECT, /* a leak */
	BLOCK_INDIRECT, /* reached from a leak */
	BLOCK_ORIGIN, /* becomes BLOCK_DIRECT when all that it leads to is marked */
};

/* Equal blocks side by side: the carved cells of a slab, or one block. */
struct leaks_run {
	uintptr_t start, end;
	size_t size; /* of a block */
	size_t first; /* its place in states */
	enum osmem_heap heap;
};

/* A block of a run. */
struct leaks_block {
	uint32_t run, index;
};

struct leaks_range {
	uintptr_t start, end;
};

struct leaks_report;

/* The state of a search, in memory of its own. */
struct leaks_search {
	struct leaks_run *runs; /* sorted; no two overlap */
	size_t run_count, run_room;
	unsigned char *states; /* enum leaks_state of each block */
	size_t block_count;
	struct leaks_block *pending; /* marked blocks that are to be scanned */
	size_t pending_count, pending_room;
	size_t recent; /* the run found last */
	unsigned char mark; /* the state that reached blocks get */
	struct leaks_range *holes; /* sorted: what is no root */
	size_t hole_count, hole_room;
	struct leaks_range piece; /* that is being read; a fault may end that */
	int pages; /* of proc_open_pages, or -1 */
	uint64_t entries[ENTRIES];
	struct stop stop; /* the other threads */
	struct leaks_report *report;
	/* From here on the same in a second search: */
	struct stopped_thread own; /* the caller */
	/* Complements of the addresses of leaks that the first search has found, or NULL. */
	uintptr_t *candidates;
	size_t candidate_count;
	bool is_inherited; /* this process was forked from one with several threads */
};

/* leaks_blocks.c. */

/*
 * Make the table of blocks, and the holes that the heaps are, from a copy of the heaps. False with
 * errno ENOMEM.
 */
bool leaks_make_blocks(struct leaks_search *s, const struct item_list *copy);

/* Add memory that is no root. The room is enough for all holes of the search itself. */
void leaks_add_hole(struct leaks_search *s, const void *start, size_t size);
void leaks_sort_holes(struct leaks_search *s);

/* Release all memory of the search but s and the candidates, for another one. */
void leaks_drop(struct leaks_search *s);

/*
 * Save all leaks as candidates for the next search. False with errno ENOMEM. They are no pointers
 * to blocks, so they need no hole.
 */
bool leaks_save_candidates(struct leaks_search *s);
void leaks_drop_candidates(struct leaks_search *s);

/* Advance b to the next leak; with candidates, to the next that is one. False at the end. */
#define LEAKS_BEFORE ((struct leaks_block){0, UINT32_MAX})
bool leaks_next(const struct leaks_search *s, struct leaks_block *b);

static inline size_t leaks_count_of(const struct leaks_run *run)
{
	return (run->end - run->start) / run->size;
}

static inline uintptr_t leaks_block_start(const struct leaks_search *s, struct leaks_block b)
{
	return s->runs[b.run].start + b.index * s->runs[b.run].size;
}

static inline unsigned char *leaks_state_of(const struct leaks_search *s, struct leaks_block b)
{
	return &s->states[s->runs[b.run].first + b.index];
}

/* leaks_scan.c. Between fault_begin and fault_end (handler.h). */

/* Mark all unseen blocks that words of [from, to) point to. Skip what cannot be read. */
void leaks_scan(struct leaks_search *s, uintptr_t from, uintptr_t to);

/* The same for pages that are in use, of private or shared memory. */
void leaks_scan_pages(struct leaks_search *s, uintptr_t from, uintptr_t to, bool is_shared);

/* Scan all pending blocks, and those that are marked meanwhile. */
void leaks_scan_pending(struct leaks_search *s);

/* Mark the blocks that are not reached as leaked directly or indirectly. */
void leaks_mark_leaked(struct leaks_search *s);

/* leaks_roots.c. */

/* Mark all that is reached from roots. False with errno if /proc/self/maps cannot be read. */
bool leaks_mark_reached(struct leaks_search *s);

/* leaks_report.c. */

/*
 * Sum up the leaks in groups: s->report. The other threads may run. Between fault_begin and
 * fault_end. False with errno ENOMEM.
 */
bool leaks_collect(struct leaks_search *s);

/* Print the groups. Returns whether there are any. */
bool leaks_print(const struct leaks_search *s);

/* Release s->report. */
void leaks_drop_report(struct leaks_search *s);
