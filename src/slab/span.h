/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Public header of spans: runs of whole pages in segments, for objects above CELL_MAX. Spans have
 * no header. A segment has a word for each page; that of a span's first page has the span's length.
 *
 *	word   15     14      13 … 11   10 … 0
 *	       cached whole   0         pages
 *
 * A whole span has exactly the pages of its size class. A cached span is free: in a thread's page
 * cache (span_cache.h), or hardened in a grave (mapping_guard.c). So a double free is detected. The
 * page map has SLAB_BIN_SPAN for every slot that spans overlap but no slab has: free() classifies
 * spans with the load that it makes anyway.
 *
 * Sizes are in bytes. Any thread may call; functions take the store's lock.
 */

#pragma once

#include "page_bits.h"
#include "slab.h"

#define SPAN_MAX ((size_t)2 << 20) /* larger objects have their own mappings */
#define SPAN_ALIGN_MAX ((size_t)1 << 20) /* likewise */

/* Size classes continue those of cells: eight in a doubling. */
#define SPAN_CLASSES 48

/* The class of spans for size bytes, CELL_MAX < size <= SPAN_MAX. */
static inline unsigned int span_class_of(size_t size)
{
	return class_of_size(size) - CLASS_COUNT;
}

static inline size_t span_class_size(unsigned int class)
{
	return class_size(class + CLASS_COUNT);
}

#define SPAN_CACHED ((uint16_t)0x8000)
#define SPAN_WHOLE ((uint16_t)0x4000)
#define SPAN_PAGES ((uint16_t)0x7ff)

/* Whether the slot of p has spans. One load. */
static inline __attribute__((always_inline)) bool span_is_near(const void *p)
{
	return slab_bin(p) == SLAB_BIN_SPAN;
}

/* The pages of a span for size bytes, 1 <= size <= SPAN_MAX. */
static inline size_t span_pages_for(size_t size)
{
	if (size > CELL_MAX)
		size = span_class_size(span_class_of(size));
	return (size + PAGE_BYTES - 1) >> PAGE_SHIFT;
}

/*
 * Allocate a span of at least size bytes, 1 to SPAN_MAX, aligned to align, a power of two up to
 * SPAN_ALIGN_MAX. *fresh: it reads as zero. NULL if memory for a segment is refused.
 */
void *span_alloc(size_t size, size_t align, bool *fresh);

/* Free the live or cached span at p. A damaged header is reported. */
void span_free(void *p);

/*
 * Resize the live span at p to size bytes in place. Shrinking frees the last pages. Returns false
 * if the next pages are not free.
 */
bool span_resize(void *p, size_t size);

/* Classify p. Takes no lock; the result holds while p is not freed. */
enum span_state {
	SPAN_NONE, /* in no span */
	SPAN_LIVE, /* start of a span */
	SPAN_FREE, /* inside a cached span */
	SPAN_INSIDE, /* inside a live span, but not its start */
};

struct span_ref {
	enum span_state state;
	char *start;
	size_t size;
};

struct span_ref span_find(const void *p);

/* Whether p is in dirty free pages; for reports. */
bool span_is_freed(const void *p);

/* Offset of the words in a segment. */
#define SPAN_WORDS_ALIGN 4096
#define SPAN_WORDS 40960

/* The word of the span that starts at p. */
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

/* Set or clear the cached bit of the caller's span at p. */
static inline void span_set_cached(const void *p, bool is_cached)
{
	if (is_cached)
		atomic_fetch_or_explicit(span_word(p), SPAN_CACHED, memory_order_relaxed);
	else
		atomic_fetch_and_explicit(span_word(p), (uint16_t)~SPAN_CACHED,
					  memory_order_relaxed);
}

struct span_stats {
	size_t allocs, frees; /* that thread caches did not serve */
	size_t spans, bytes; /* including cached ones */
	size_t peak_bytes;
};

void span_get_stats(struct span_stats *stats);
