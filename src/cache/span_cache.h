/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * A thread's page cache: free spans that the thread reuses without a lock. Spans are filed by size
 * class, eight to a doubling, up to SPAN_CACHED_MAX each and SPAN_CACHE_BYTES in total.
 *
 * Only the owning thread may use a cache. Sizes are in bytes.
 *
 * Invariant, checked by span_cache_check:
 *	C4 a cached span is of its class, marked SPAN_CACHED, and in one cache; bytes is the sum of
 *	   their sizes
 */

#pragma once

#include <string.h>

#include "slab/slab.h"
#include "tunables.h"

#define CLASS_SPANS CLASS_OWN_2048
#define SPAN_CACHE_SIZE ((size_t)2048)

struct span_cache {
	size_t bytes, limit; /* of cached spans (C4), and their maximum, 0 in span_cache_none */
	unsigned int victim; /* the class to evict from next */
	bool has_freed; /* a span to the page heap since note_span_visit */
	bool used[SPAN_CLASSES]; /* whether a span was added since the last scavenge */
	uint8_t count[SPAN_CLASSES];
	void *spans[SPAN_CLASSES][SPAN_CACHE_DEPTH];
};

_Static_assert(sizeof(struct span_cache) <= SPAN_CACHE_SIZE, "a cache has a cell to itself");

/* Both empty and full, never written: for threads without a page cache, or off the fast path. */
extern struct span_cache span_cache_none SLAB_HIDDEN;

/* The range of span words of cacheable live spans. */
#define SPAN_WORD_MIN (SPAN_WHOLE | (CELL_MAX / PAGE_BYTES + 1))
#define SPAN_WORD_MAX (SPAN_WHOLE | SPAN_CACHED_MAX / PAGE_BYTES)

static inline bool span_is_cacheable(size_t word)
{
	return word - SPAN_WORD_MIN <= SPAN_WORD_MAX - SPAN_WORD_MIN;
}

/*
 * Whether a span of size bytes fits. It counts twice: a growing vector leaves ever larger spans
 * behind, and 2 MiB of these cost 1.2 times the memory, and page faults, of 1 MiB.
 */
static inline bool span_cache_has_room(const struct span_cache *c, size_t size)
{
	return c->bytes + 2 * size <= c->limit;
}

/* Report that two threads freed p at the same time. */
void span_cache_double_free(void *p) __attribute__((noreturn, cold));

/* Take the newest span of class for the caller. NULL if there is none, or not aligned to align. */
static inline void *span_cache_take(struct span_cache *c, unsigned int class, size_t align)
{
	unsigned int n = c->count[class];
	_Atomic(uint16_t) *word;
	size_t live;
	void *p;

	if (!n)
		return NULL;
	p = c->spans[class][n - 1];
	if ((uintptr_t)p & (align - 1))
		return NULL;
	/* For a fork between any two stores: the span leaves the cache before it is live. */
	atomic_signal_fence(memory_order_release);
	c->count[class] = (uint8_t)(n - 1);
	word = span_word(p);
	live = atomic_load_explicit(word, memory_order_relaxed) ^ SPAN_CACHED;
	if (__builtin_expect(live & SPAN_CACHED, 0))
		span_cache_double_free(p);
	atomic_store_explicit(word, (uint16_t)live, memory_order_relaxed);
	c->bytes -= (live & SPAN_PAGES) * PAGE_BYTES;
	return p;
}

/* Add the span at p, whose span word is word. The caller has checked that it fits. */
static inline void span_cache_add(struct span_cache *c, void *p, size_t word)
{
	size_t bytes = (word - SPAN_WHOLE) * PAGE_BYTES;
	unsigned int class = span_class_of(bytes), n = c->count[class];

	c->spans[class][n] = p;
	atomic_signal_fence(memory_order_release);
	c->count[class] = (uint8_t)(n + 1);
	c->bytes += bytes;
	c->used[class] = true;
	/* If two threads free p at once, both cache it: span_cache_take reports that. */
	atomic_store_explicit(span_word(p), (uint16_t)(word | SPAN_CACHED), memory_order_relaxed);
}

/* Add the span at p, for which span_is_near holds. False if it is not cacheable or does not fit. */
static inline bool span_cache_put(struct span_cache *c, void *p)
{
	size_t word = atomic_load_explicit(span_word(p), memory_order_relaxed), bytes;

	if (__builtin_expect((uintptr_t)p % PAGE_BYTES || !span_is_cacheable(word), 0))
		return false;
	bytes = (word - SPAN_WHOLE) * PAGE_BYTES;
	if (c->count[span_class_of(bytes)] == SPAN_CACHE_DEPTH || !span_cache_has_room(c, bytes))
		return false;
	span_cache_add(c, p, word);
	return true;
}

/*
 * The same, but evicts other spans to make room, and frees a span that is not cacheable. False if
 * no live span starts at p.
 */
bool span_cache_put_slow(struct span_cache *c, void *p);

/* Free the spans of classes that got none since the last call, or all spans. */
void span_cache_shrink(struct span_cache *c, bool all);

size_t span_cache_count(const struct span_cache *c);

/* NULL, or a static text that names the violated invariant. */
const char *span_cache_check(const struct span_cache *c);
