/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Spans that a thread keeps, free, for its next objects of their size: taking and putting one costs
 * no lock. By class of size, an eighth of a doubling, up to SPAN_KEPT_MAX; SPAN_CACHE_BYTES
 * altogether at most, where a new one counts twice.
 *
 * Invariant, checked by span_cache_check:
 *	C4 a kept span is of its class, marked as kept, and in one cache; bytes is the sum
 */

#pragma once

#include <string.h>

#include "slab/span.h"
#include "tunables.h"

#define CLASS_SPANS CLASS_OWN_2048
#define SPAN_CACHE_SIZE ((size_t)2048)

struct span_cache {
	size_t bytes, limit; /* of what is kept, and the most of that */
	unsigned int victim; /* the class that gives way next */
	bool has_freed; /* spans, to the page heap, since its owner has looked */
	bool used[SPAN_CLASSES]; /* whether any was put, since the last sweep */
	uint8_t count[SPAN_CLASSES];
	void *kept[SPAN_CLASSES][SPAN_CACHE_DEPTH];
};

_Static_assert(sizeof(struct span_cache) <= SPAN_CACHE_SIZE, "a cache has a cell to itself");

/* Empty and full at once: of threads that have no other, and where the short way is closed. */
extern struct span_cache span_cache_none SLAB_HIDDEN;

/* The words of live spans that may be kept. */
#define SPAN_KEEPS_FIRST (SPAN_WHOLE | (CELL_MAX / PAGE_BYTES + 1))
#define SPAN_KEEPS_LAST (SPAN_WHOLE | SPAN_KEPT_MAX / PAGE_BYTES)

static inline bool span_may_be_kept(size_t word)
{
	return word - SPAN_KEEPS_FIRST <= SPAN_KEEPS_LAST - SPAN_KEEPS_FIRST;
}

/*
 * Whether a span of size bytes may be kept as well. It counts twice: vectors that grow leave larger
 * and larger spans behind, and 2 MiB of these are 1.2 times the memory, and page faults, of one.
 */
static inline bool span_cache_has_room(const struct span_cache *c, size_t size)
{
	return c->bytes + 2 * size <= c->limit;
}

/* Two threads have freed p, which is kept no longer, in the same moment. */
void span_cache_freed_twice(void *p) __attribute__((noreturn, cold));

/* The span of class that was kept last, if it is aligned to align; or NULL. */
static inline void *span_cache_take(struct span_cache *c, unsigned int class, size_t align)
{
	unsigned int n = c->count[class];
	_Atomic(uint16_t) *word;
	size_t live;
	void *p;

	if (!n)
		return NULL;
	p = c->kept[class][n - 1];
	if ((uintptr_t)p & (align - 1))
		return NULL;
	/* For a fork, between any two stores: first it is nobody's, then the caller's. */
	atomic_signal_fence(memory_order_release);
	c->count[class] = (uint8_t)(n - 1);
	word = span_word(p);
	live = atomic_load_explicit(word, memory_order_relaxed) ^ SPAN_CACHED;
	if (__builtin_expect(live & SPAN_CACHED, 0))
		span_cache_freed_twice(p);
	atomic_store_explicit(word, (uint16_t)live, memory_order_relaxed);
	c->bytes -= (live & SPAN_PAGES) * PAGE_BYTES;
	return p;
}

/* Keep the span at p, whose word was that; there is room. */
static inline void span_cache_keep(struct span_cache *c, void *p, size_t word)
{
	size_t bytes = (word - SPAN_WHOLE) * PAGE_BYTES;
	unsigned int class = span_class_of(bytes), n = c->count[class];

	c->kept[class][n] = p;
	atomic_signal_fence(memory_order_release);
	c->count[class] = (uint8_t)(n + 1);
	c->bytes += bytes;
	c->used[class] = true;
	/* Two threads may do all this at once, and both keep p: see span_cache_take. */
	atomic_store_explicit(span_word(p), (uint16_t)(word | SPAN_CACHED), memory_order_relaxed);
}

/* Keep the span at p, which is near one. False: there is no room, or p may not be kept. */
static inline bool span_cache_put(struct span_cache *c, void *p)
{
	size_t word = atomic_load_explicit(span_word(p), memory_order_relaxed), bytes;

	if (__builtin_expect((uintptr_t)p % PAGE_BYTES || !span_may_be_kept(word), 0))
		return false;
	bytes = (word - SPAN_WHOLE) * PAGE_BYTES;
	if (c->count[span_class_of(bytes)] == SPAN_CACHE_DEPTH || !span_cache_has_room(c, bytes))
		return false;
	span_cache_keep(c, p, word);
	return true;
}

/* The same, or free it, or others to make room. False: p is no live span's start. */
bool span_cache_put_slow(struct span_cache *c, void *p);

/* Free what was not used since the last call, or all. */
void span_cache_shrink(struct span_cache *c, bool all);

size_t span_cache_count(const struct span_cache *c);

/* NULL, or the text of what does not hold. */
const char *span_cache_check(const struct span_cache *c);
