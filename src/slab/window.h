/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Windows: where segments lie, and sets of them. A part of slab_core.h.
 *
 * From slab_window on, the address space is tiled in windows of 128 GiB. The first one is static.
 * It is chosen around the first segment, and the short ways of malloc and free know only this one.
 * Another is made when the kernel has no place for a segment in those that there are. It has a page
 * map and sets of its own, in one mapping, of which only what is used gets pages. It stays.
 *
 *	slab_far_bins, by place
 *	| NULL | … | window | … |
 *	                └────────────────┐
 *	                | struct window  | page map                              |
 *	                  start, sets      an entry for each slot: see slab_bins
 *
 * A set has a bit for each segment, and a summary with a bit for each 64 of these.
 */

#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "page_map.h"
#include "slab.h"

struct segment;

/* Runs that spans are made of: any free pages, or dirty ones only. */
enum run_kind {
	RUN_FREE,
	RUN_DIRTY,
	RUN_KINDS
};

/* Sets of segments, by what these have: S7. The library's own segments have four sets apart. */
enum segment_set {
	SET_LIVE,
	SET_ROOMY, /* with a free slot */
	SET_WITH_QUAD, /* with a free quad */
	SET_WITH_READY, /* with a free slot that is dirty */
	SET_WITH_DIRTY, /* with a dirty page */
	SET_OWN_ROOMY,
	SET_OWN_WITH_QUAD,
	SET_OWN_WITH_READY,
	SET_OWN_WITH_DIRTY,
	SET_WITH_RUNS, /* one for each kind of run and each class: segment_run_set */
	SET_COUNT = SET_WITH_RUNS + RUN_KINDS * RUN_CLASSES
};

#define WINDOW_GROUPS (WINDOW_SEGMENTS / 64)

/* Bits of 64 neighboring segments. */
struct segment_bits {
	uint64_t words[SET_COUNT];
} __attribute__((aligned(64)));

/* Guarded by the store's lock, but for the page map; and anybody may ask what is live. */
struct window {
	uintptr_t start;
	uint16_t *bins; /* the page map: slab_bins, or right behind this */
	struct window *next; /* in the order that they were made in */
	uint64_t summaries[SET_COUNT][WINDOW_GROUPS / 64] __attribute__((aligned(64))); /* S7 */
	struct segment_bits bits[WINDOW_GROUPS];
};

extern struct window slab_first_window;

/* The window that p is in, or NULL. No lock. */
static inline struct window *window_of(const void *p)
{
	void *bins;

	if (__builtin_expect((uintptr_t)p - slab_window < WINDOW_SIZE, 1))
		return &slab_first_window;
	bins = slab_far_bins_of(p);
	return bins ? (struct window *)bins - 1 : NULL;
}

/* The page map's entries for the slots of g. */
static inline uint16_t *segment_bins(const struct segment *g)
{
	const struct window *w = window_of(g);

	return &w->bins[((uintptr_t)g - w->start) >> SLAB_SHIFT];
}

/* The set of kind that segments are in which are the library's own, or not. */
static inline enum segment_set segment_set_of(bool is_own, enum segment_set kind)
{
	return is_own ? kind + (SET_OWN_ROOMY - SET_ROOMY) : kind;
}

/* The set of segments with a run of that kind and class. */
static inline enum segment_set segment_run_set(enum run_kind kind, unsigned int class)
{
	return SET_WITH_RUNS + (enum segment_set)(kind * RUN_CLASSES + class);
}

/* Whether the segment that p is in, if there is one, is in set. No lock. */
bool segment_is_in(const void *p, enum segment_set set);

void segment_put(const struct segment *g, enum segment_set set, bool is_in);

/*
 * The first segment of set that comes after that one, which may be gone, or the first of all; NULL:
 * there is none. First comes the window that was made first, in it the lowest address.
 */
struct segment *segment_next(enum segment_set set, const struct segment *after);

/* Memory for a segment, and a window that it is in; NULL with errno ENOMEM. */
void *window_map_segment(void);
