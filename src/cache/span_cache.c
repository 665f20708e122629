// SPDX-License-Identifier: BSD-3-Clause

#include "span_cache.h"

_Static_assert(2 * SPAN_CACHED_MAX <= SPAN_MAX,
	       "above the class of every cached span there are two more");

struct span_cache span_cache_none;

void span_cache_double_free(void *p)
{
	sys_fatal("free", p, "this block is already free");
}

/* Free the first span of class, mostly an old one: new ones are added at the end. */
static void evict(struct span_cache *c, unsigned int class)
{
	unsigned int last = --c->count[class];
	void *p = c->spans[class][0];

	/* A fork may happen between any two stores: no span may be listed twice. */
	atomic_signal_fence(memory_order_release);
	c->spans[class][0] = c->spans[class][last];
	c->bytes -= span_class_size(class);
	c->has_freed = true;
	span_free(p);
}

/* Evict from the classes in turn until a span of size bytes fits. */
static void make_room(struct span_cache *c, size_t size)
{
	while (__builtin_expect(!span_cache_has_room(c, size), 0)) {
		while (!c->count[c->victim])
			c->victim = (c->victim + 1) % SPAN_CLASSES;
		evict(c, c->victim);
		c->victim = (c->victim + 1) % SPAN_CLASSES;
	}
}

bool span_cache_put_slow(struct span_cache *c, void *p)
{
	size_t word = 0, bytes;
	unsigned int class;

	if ((uintptr_t)p % PAGE_BYTES == 0)
		word = span_claim(p);
	if (!word)
		return false;
	if (!span_is_cacheable(word)) {
		c->has_freed = true;
		span_free(p); /* which validates the word, and reports an overwritten one */
		return true;
	}
	bytes = (word - SPAN_WHOLE) * PAGE_BYTES;
	class = span_class_of(bytes);
	if (c->count[class] == SPAN_CACHE_DEPTH)
		evict(c, class);
	make_room(c, bytes);
	span_cache_add(c, p, word);
	return true;
}

void span_cache_shrink(struct span_cache *c, bool all)
{
	if (c == &span_cache_none)
		return;
	for (unsigned int class = 0; class < SPAN_CLASSES; class += 1)
		while (c->count[class] && (all || !c->used[class]))
			evict(c, class);
	memset(c->used, 0, sizeof(c->used));
}

size_t span_cache_count(const struct span_cache *c)
{
	size_t n = 0;

	for (unsigned int class = 0; class < SPAN_CLASSES; class += 1)
		n += c->count[class];
	return n;
}

static bool is_duplicate(const struct span_cache *c, unsigned int class, unsigned int i)
{
	for (unsigned int j = 0; j < i; j++)
		if (c->spans[class][j] == c->spans[class][i])
			return true;
	return false;
}

const char *span_cache_check(const struct span_cache *c)
{
	size_t bytes = 0;

	for (unsigned int class = 0; class < SPAN_CLASSES; class += 1)
		for (unsigned int i = 0; i < c->count[class]; i++) {
			struct span_ref span = span_find(c->spans[class][i]);

			if (span.state != SPAN_FREE || span.start != c->spans[class][i] ||
			    span.size != span_class_size(class) || is_duplicate(c, class, i))
				return "C4: what a thread keeps is no span of its class, or twice";
			bytes += span.size;
		}
	return bytes == c->bytes ? NULL : "C4: the bytes that a thread keeps are counted wrong";
}
