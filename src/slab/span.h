/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Spans: runs of whole pages in segments, for objects above CELL_MAX. No header stands before them:
 * a segment has a word for each of its pages, and the word of a span's first page says how many
 * pages it has. Sizes are in bytes.
 *
 *	word   15     14      13 … 11   10 … 0
 *	       kept   whole   0         pages
 *
 * A whole span has all the pages of its class of size. A kept one is free, in a thread's cache
 * (span_cache.h), or hardened, in a grave (mapping_guard.c): so a double free is seen. The page map
 * has SLAB_BIN_SPAN for every slot that a span reaches into, so free() knows with the load that it
 * makes anyway.
 *
 * Any thread may call; the store's lock is taken inside.
 */

#pragma once

#include "page_map.h"
#include "slab.h"

#define SPAN_MAX ((size_t)2 << 20) /* larger objects are mappings of their own */
#define SPAN_ALIGN_MAX ((size_t)1 << 20) /* what is aligned to more is, too */

/* Sizes above CELL_MAX go on as those of cells do: an eighth of a doubling apart. */
#define SPAN_CLASSES 48

/* The class of spans for size bytes, above CELL_MAX and up to SPAN_MAX. */
static inline unsigned int span_class_of(size_t size)
{
	return class_of_size(size) - CLASS_COUNT;
}

/* The bytes of a span of class. */
static inline size_t span_class_size(unsigned int class)
{
	return class_size(class + CLASS_COUNT);
}

#define SPAN_KEPT ((uint16_t)0x8000)
#define SPAN_WHOLE ((uint16_t)0x4000)
#define SPAN_PAGES ((uint16_t)0x7ff)

/* Whether there is a span in the 64 KiB that p is in. One load. */
static inline __attribute__((always_inline)) bool span_is_near(const void *p)
{
	return slab_bin(p) == SLAB_BIN_SPAN;
}

/* The pages of a span for size bytes, 1 to SPAN_MAX. */
static inline size_t span_pages_for(size_t size)
{
	if (size > CELL_MAX)
		size = span_class_size(span_class_of(size));
	return (size + PAGE_BYTES - 1) >> PAGE_SHIFT;
}

/*
 * A span of at least size bytes aligned to align, a power of two; both are at most SPAN_MAX and
 * SPAN_ALIGN_MAX. *fresh: it reads as zero. NULL without memory for a segment, errno as it was.
 */
void *span_alloc(size_t size, size_t align, bool *fresh);

/* Free the span at p, live or kept. */
void span_free(void *p);

/*
 * Make the live span at p one of size bytes, where it is; false: it cannot grow there. A smaller
 * one gives its last pages back.
 */
bool span_resize(void *p, size_t size);

/* What p is. No lock; the answer holds while p is not freed. */
enum span_state {
	SPAN_NONE, /* in no span */
	SPAN_LIVE, /* the start of one */
	SPAN_FREE, /* in one that a thread keeps */
	SPAN_INSIDE, /* not the start of one, but in it */
};

struct span_ref {
	enum span_state state;
	char *start;
	size_t size;
};

struct span_ref span_find(const void *p);

/* Whether p is in pages that were freed, and that nobody has used since; for a report. */
bool span_is_freed(const void *p);

/* Where a segment has the words of its pages. */
#define SPAN_WORDS_ALIGN 4096
#define SPAN_WORDS 40960

/* The word of the span that starts at p, a multiple of the page size in a segment. */
static inline _Atomic(uint16_t) *span_word(const void *p)
{
	uintptr_t segment = (uintptr_t)p & ~(SEGMENT_SIZE - 1);

	return (_Atomic(uint16_t) *)(segment + SPAN_WORDS) +
	       ((uintptr_t)p % SEGMENT_SIZE >> PAGE_SHIFT);
}

static inline size_t span_size(const void *p)
{
	return (atomic_load_explicit(span_word(p), memory_order_relaxed) & SPAN_PAGES) * PAGE_BYTES;
}

/* Say whether the span at p, the caller's, is kept for a next object. */
static inline void span_set_kept(const void *p, bool is_kept)
{
	if (is_kept)
		atomic_fetch_or_explicit(span_word(p), SPAN_KEPT, memory_order_relaxed);
	else
		atomic_fetch_and_explicit(span_word(p), (uint16_t)~SPAN_KEPT, memory_order_relaxed);
}

struct span_stats {
	size_t allocs, frees; /* that caches of threads did not serve */
	size_t spans, bytes; /* with those that threads keep */
	size_t peak_bytes;
};

void span_get_stats(struct span_stats *stats);
