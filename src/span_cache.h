/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Spans that a thread keeps, free, for its next objects of their size: taking and putting one costs
 * no lock. By class of size, an eighth of a doubling; SPAN_CACHE_BYTES altogether at most.
 *
 * Invariant, checked by span_cache_check:
 *	C4 a kept span is of its class, marked as kept, and in one cache; bytes is the sum
 */

#pragma once

#include <string.h>

#include "span.h"

#define SPAN_CACHE_BYTES ((size_t)1 << 20)
#define SPAN_CACHE_DEPTH 4 /* spans of a class */

struct span_cache {
	size_t bytes;
	uint64_t used; /* classes that were, since the last sweep: bit i for class i */
	unsigned int victim; /* the class that gives way next */
	bool has_freed; /* spans, to the page heap, since its owner has looked */
	uint8_t count[SPAN_CLASSES];
	void *kept[SPAN_CLASSES][SPAN_CACHE_DEPTH];
};

_Static_assert(sizeof(struct span_cache) <= SPAN_CACHE_SIZE, "a cache has a cell to itself");

/* The class of spans for size bytes, above CELL_MAX and up to SPAN_MAX. */
static inline unsigned int span_class_of(size_t size)
{
	return run_class(span_pages_for(size)) - SPAN_CLASS_FIRST;
}

/* A kept span for size bytes, above CELL_MAX and up to SPAN_MAX; NULL: there is none. */
static inline void *span_cache_take(struct span_cache *c, size_t size)
{
	size_t pages = span_pages_for(size);
	unsigned int class = run_class(pages) - SPAN_CLASS_FIRST;
	_Atomic(uint16_t) *word;
	void *p;

	if (!c->count[class])
		return NULL;
	p = c->kept[class][c->count[class] - 1];
	/* For a fork, between any two stores: first it is nobody's, then the caller's. */
	atomic_signal_fence(memory_order_release);
	c->count[class]--;
	c->bytes -= pages * PAGE_BYTES;
	c->used |= (uint64_t)1 << class;
	word = span_word(p);
	atomic_store_explicit(word, *word & (uint16_t)~SPAN_KEPT, memory_order_relaxed);
	return p;
}

/*
 * Free the span at p, which is near one: keep it, perhaps for others. False: p is no live span's
 * start.
 */
bool span_cache_put(struct span_cache *c, void *p);

/* Free what was not used since the last call, or all. */
void span_cache_shrink(struct span_cache *c, bool all);

size_t span_cache_count(const struct span_cache *c);

/* NULL, or the text of what does not hold. */
const char *span_cache_check(const struct span_cache *c);
