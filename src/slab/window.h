/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Windows: the places of segments, and sets of segments. A part of slab_core.h.
 *
 * Windows of 128 GiB tile the address space from slab_window on. The first is chosen around the
 * first segment, and is the only one on the fast paths of malloc and free. It begins with 1 GiB, in
 * static memory, because what is mapped counts against the limits of the process, also where it is
 * not touched. Once a segment lies outside, a window of the full size replaces it. Another window
 * is made when the kernel maps a segment elsewhere. A window that is not static is one mapping,
 * uses memory where touched, and is never freed.
 *
 *	slab_page_map; slab_far_page_maps, by place
 *	| NULL | … | window | … |
 *	                └──────────────────┐
 *	| sets           | struct window   | bins                                   |
 *	  a bit for each   … start, slots    an entry for each slot: struct page_map
 *	  segment
 *
 * A set has a bit for each segment. Its summary has a bit for each 64 segments.
 */

#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "page_bits.h"
#include "slab.h"

struct segment;

/* Kinds of runs for spans: free pages, or dirty ones. */
enum run_kind {
	RUN_FREE,
	RUN_DIRTY,
	RUN_KINDS
};

/* Sets of segments: S7. */
enum segment_set {
	SET_LIVE,
	SET_ROOMY, /* has a free slot */
	SET_WITH_QUAD, /* has a free quad */
	SET_WITH_READY, /* has a free slot that is dirty */
	SET_WITH_DIRTY, /* has a dirty page */
	SET_WITH_RUNS, /* one for each kind of run and class: segment_run_set; no own segments */
	SET_COUNT = SET_WITH_RUNS + RUN_KINDS * RUN_CLASSES
};

#define GROUP_SIZE (64 * SEGMENT_SIZE)
#define WINDOW_GROUPS (WINDOW_SIZE / GROUP_SIZE)

/* Words of 64 neighboring segments, one for each set. */
struct segment_bits {
	uint64_t words[SET_COUNT];
} __attribute__((aligned(128))); /* 9 * 128 bytes: an index costs less than with 17 * 64 */

/*
 * Written with the store's lock held. The page map and SET_LIVE may be read without it: who reads
 * those of a window that has just been replaced sees what was true when it was.
 */
struct window {
	uint64_t summaries[SET_COUNT][WINDOW_GROUPS / 64] __attribute__((aligned(64))); /* S7 */
	struct segment_bits *bits; /* for each group */
	struct window *next; /* in order of creation */
	struct page_map map; /* last, because the bins follow */
};

static inline struct window *window_of_map(struct page_map *map)
{
	return (struct window *)((char *)map - offsetof(struct window, map));
}

static inline struct window *window_first(void)
{
	return window_of_map(slab_first_page_map());
}

static inline size_t window_groups(const struct window *w)
{
	return (w->map.slots << SLAB_SHIFT) / GROUP_SIZE;
}

/* The window that contains p, or NULL. Takes no lock. */
static inline struct window *window_of(const void *p)
{
	struct page_map *map = slab_first_page_map();

	if (__builtin_expect(slab_slot_in(map, p) >= map->slots, 0))
		map = slab_far_page_map(p);
	return map ? window_of_map(map) : NULL;
}

/* The page map entries from that of p, in a segment, on. */
static inline uint16_t *segment_page_map(const void *p)
{
	struct page_map *map = &window_of(p)->map;

	return &map->bins[slab_slot_in(map, p)];
}

static inline enum segment_set segment_run_set(enum run_kind kind, unsigned int class)
{
	return SET_WITH_RUNS + (enum segment_set)(kind * RUN_CLASSES + class);
}

/* Whether the segment that contains p is in set; false if there is none. Takes no lock. */
bool segment_is_in(const void *p, enum segment_set set);

void segment_put(const struct segment *g, enum segment_set set, bool is_in);

/*
 * The next segment of set behind after, which may be unmapped; NULL starts at the first. Order:
 * windows by creation, then addresses. NULL at the end.
 */
struct segment *segment_next(enum segment_set set, const struct segment *after);

/* Map the first size bytes of a segment, and make its window if needed; NULL if refused. */
void *window_map_segment(size_t size);
