// SPDX-License-Identifier: BSD-3-Clause

#include "span_cache.h"

static size_t size_of_class(unsigned int class)
{
	unsigned int step = class + SPAN_CLASS_FIRST - 15;

	if (class < 15 - SPAN_CLASS_FIRST)
		return (class + SPAN_CLASS_FIRST + 1) * PAGE_BYTES;
	return ((size_t)(8 + step % 8) << (1 + step / 8)) * PAGE_BYTES;
}

/* Free a span of class, and not the one that has been kept least long, if there is another. */
static void drop_old(struct span_cache *c, unsigned int class)
{
	unsigned int last = --c->count[class];
	void *p = c->kept[class][0];

	/* A fork may copy this thread between any two stores: no span is there twice. */
	atomic_signal_fence(memory_order_release);
	c->kept[class][0] = c->kept[class][last];
	c->bytes -= size_of_class(class);
	c->has_freed = true;
	span_free(p);
}

/* Make room for size bytes more: classes give way in turn. */
static void make_room(struct span_cache *c, size_t size)
{
	while (__builtin_expect(c->bytes + size > SPAN_CACHE_BYTES, 0)) {
		while (!c->count[c->victim])
			c->victim = (c->victim + 1) % SPAN_CLASSES;
		drop_old(c, c->victim);
		c->victim = (c->victim + 1) % SPAN_CLASSES;
	}
}

static void keep(struct span_cache *c, unsigned int class, void *p, size_t size)
{
	if (c->count[class] == SPAN_CACHE_DEPTH)
		drop_old(c, class);
	make_room(c, size);
	c->kept[class][c->count[class]] = p;
	atomic_signal_fence(memory_order_release);
	c->count[class]++;
	c->bytes += size;
	c->used |= (uint64_t)1 << class;
}

bool span_cache_put(struct span_cache *c, void *p)
{
	size_t pages, size;
	uint16_t word = 0;

	if ((uintptr_t)p % PAGE_BYTES == 0 && *span_word(p))
		word = atomic_fetch_or_explicit(span_word(p), SPAN_KEPT, memory_order_relaxed);
	if (__builtin_expect(!word || word & SPAN_KEPT, 0))
		return false;
	pages = word & SPAN_PAGES;
	size = pages * PAGE_BYTES;
	/* It looks at the word again, and at the pages: one that is written over is reported. */
	if ((word & ~SPAN_PAGES) != SPAN_WHOLE ||
	    pages - SPAN_CLASS_FIRST - 1 >= SPAN_CACHE_BYTES / PAGE_BYTES - SPAN_CLASS_FIRST) {
		c->has_freed = true;
		span_free(p);
	} else {
		keep(c, run_class(pages) - SPAN_CLASS_FIRST, p, size);
	}
	return true;
}

void span_cache_shrink(struct span_cache *c, bool all)
{
	for (unsigned int class = 0; class < SPAN_CLASSES; class += 1)
		while (c->count[class] && (all || !(c->used >> class & 1)))
			drop_old(c, class);
	c->used = 0;
}

size_t span_cache_count(const struct span_cache *c)
{
	size_t n = 0;

	for (unsigned int class = 0; class < SPAN_CLASSES; class += 1)
		n += c->count[class];
	return n;
}

static bool is_twice(const struct span_cache *c, unsigned int class, unsigned int i)
{
	for (unsigned int j = 0; j < i; j++)
		if (c->kept[class][j] == c->kept[class][i])
			return true;
	return false;
}

const char *span_cache_check(const struct span_cache *c)
{
	size_t bytes = 0;

	for (unsigned int class = 0; class < SPAN_CLASSES; class += 1)
		for (unsigned int i = 0; i < c->count[class]; i++) {
			struct span_ref span = span_find(c->kept[class][i]);

			if (span.state != SPAN_FREE || span.start != c->kept[class][i] ||
			    span.size != size_of_class(class) || is_twice(c, class, i))
				return "C4: what a thread keeps is no span of its class, or twice";
			bytes += span.size;
		}
	return bytes == c->bytes ? NULL : "C4: the bytes that a thread keeps are counted wrong";
}
