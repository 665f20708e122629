/* SPDX-License-Identifier: BSD-3-Clause */

/* For tests that are linked with the objects: somebody has the places that segments could be at. */

#pragma once

#include <sys/mman.h>

#include "harness.h"
#include "slab/slab_core.h"

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
	struct window *w = &slab_first_window;

	while (w->next)
		w = w->next;
	return w;
}

/* The next segment needs a new window. Those before the last one are taken already. */
static inline void take_last_window(void)
{
	struct window *w = last_window();

	take_places(w->start, w->start + WINDOW_SIZE);
}
