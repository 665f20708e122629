/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * For tests that are linked with the objects: the first segment is mapped as a whole, or somebody
 * has the places that segments could be at.
 */

#pragma once

#include <sys/mman.h>

#include "harness.h"
#include "slab/slab_core.h"

/* Segments are mapped as a whole, not as they are needed. */
static inline void map_whole_segment(void)
{
	void *p, *q;
	bool fresh;

	slab_init();
	p = span_alloc(SPAN_MAX, 1, &fresh);
	q = span_alloc(SPAN_MAX / 2, 1, &fresh);
	span_free(p);
	span_free(q);
	slab_trim();
	CHECK(slab_store.segments == 1 && !slab_store.growing);
}

/* No segment has room from one address to the other any more. */
static inline void take_places(uintptr_t from, uintptr_t to)
{
	uintptr_t middle = from + (to - from) / 2;

	if (mmap((void *)from, to - from, PROT_NONE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1,
		 0) != MAP_FAILED ||
	    to - from <= SEGMENT_SIZE)
		return;
	take_places(from, middle);
	take_places(middle, to);
}

static inline struct window *last_window(void)
{
	struct window *w = window_first();

	while (w->next)
		w = w->next;
	return w;
}

/* The next segment needs a new window. Those before the last one are taken already. */
static inline void take_last_window(void)
{
	struct window *w = last_window();

	uintptr_t start = w->map.start - (w->map.start - slab_window) % WINDOW_SIZE;

	take_places(start, start + WINDOW_SIZE);
}
