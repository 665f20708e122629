/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Windows: the places of segments, and sets of segments. A part of slab_core.h.
 *
 * Windows of 128 GiB tile the address space from slab_window on. The first is static, chosen around
 * the first segment, and the only one on the fast paths of malloc and free. Another is made when
 * the kernel maps a segment outside of the existing ones. It is one mapping that holds its page map
 * and sets, uses memory where touched, and is never freed.
 *
 *	slab_far_page_maps, by place
 *	| NULL | … | window | … |
 *	                └────────────────┐
 *	                | struct window  | page map                              |
 *	                  start, sets      an entry for each slot: see slab_page_map
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

#define WINDOW_GROUPS (WINDOW_SEGMENTS / 64)

/* Words of 64 neighboring segments, one for each set. */
struct segment_bits {
	uint64_t words[SET_COUNT];
} __attribute__((aligned(128))); /* 9 * 128 bytes: an index costs less than with 17 * 64 */

/* Guarded by the store's lock, except the page map. SET_LIVE may be read without it. */
struct window {
	uintptr_t start;
	uint16_t *page_map; /* slab_page_map, or memory behind this struct */
	struct window *next; /* in order of creation */
	uint64_t summaries[SET_COUNT][WINDOW_GROUPS / 64] __attribute__((aligned(64))); /* S7 */
	struct segment_bits bits[WINDOW_GROUPS];
};

extern struct window slab_first_window SLAB_HIDDEN;

/* The window that contains p, or NULL. Takes no lock. */
static inline struct window *window_of(const void *p)
{
	void *map;

	if (__builtin_expect((uintptr_t)p - slab_window < WINDOW_SIZE, 1))
		return &slab_first_window;
	map = slab_far_page_map(p);
	return map ? (struct window *)map - 1 : NULL;
}

/* The page map entries of g's slots. */
static inline uint16_t *segment_page_map(const struct segment *g)
{
	const struct window *w = window_of(g);

	return &w->page_map[((uintptr_t)g - w->start) >> SLAB_SHIFT];
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

/* Map memory for a segment, and make its window if needed; NULL with errno ENOMEM. */
void *window_map_segment(void);
