// SPDX-License-Identifier: BSD-3-Clause

/*
 * The slow paths of large objects, and of small ones without a cell. A thread's page cache needs no
 * lock (span_cache.h); large.h has all the rest.
 */

#include <errno.h>
#include <string.h>

#include "large/large.h"
#include "tcache_core.h"

static void note_visit(struct tcache *tc)
{
	if (tc)
		tcache_note_visit(tc);
}

void tcache_note_free(void)
{
	note_visit(tcache_for_free());
}

/* A span that went to the page heap counts as a visit of the store. */
static inline void note_span_visit(struct tcache *tc)
{
	if (__builtin_expect(tc->spans->has_freed, 0)) {
		tc->spans->has_freed = false;
		tcache_note_visit(tc);
	} else if (__builtin_expect(++tc->events % POLL_EVENTS == 0, 0)) {
		tcache_scavenge(tc);
	}
	if (__builtin_expect(tc->request, 0))
		tcache_handle_request(tc);
}

/* Fill new memory as M_PERTURB says. */
static void *perturb(void *p, size_t size)
{
	if (p && __builtin_expect(tcache_all.perturb, 0))
		memset(p, (unsigned char)~tcache_all.perturb, size);
	return p;
}

/*
 * A cached span of the next two classes is better than a visit of the page heap: with these, and a
 * limit of 2 MiB instead of 1, threads that exchange objects of 8 to 128 KiB visit it 0.3 times as
 * often.
 */
static void *take_span(struct span_cache *c, unsigned int class, size_t align)
{
	void *p = span_cache_take(c, class, align);

	if (!p)
		p = span_cache_take(c, class + 1, align);
	return p ? p : span_cache_take(c, class + 2, align);
}

void *tcache_alloc_other(struct tcache *tc, size_t size, size_t align, bool zero)
{
	void *p = large_alloc(size, align, zero);

	note_visit(tc);
	if (!p && size <= SYS_MAP_MAX && align <= SYS_MAP_MAX && tcache_reclaim())
		p = large_alloc(size, align, zero);
	return p;
}

void *tcache_alloc_large(struct tcache *tc, size_t size, size_t align, bool zero)
{
	void *p = NULL;

	if (tc && size > CELL_MAX && size <= SPAN_CACHED_MAX)
		p = take_span(tc->spans, span_class_of(round_up(size, sys_page_size())), align);
	if (p) {
		note_span_visit(tc);
		p = zero ? memset(p, 0, size) : p;
	} else {
		p = tcache_alloc_other(tc, size, align, zero);
	}
	return zero ? p : perturb(p, size);
}

static struct span_cache *new_span_cache(void)
{
	struct span_cache *c = slab_take(CLASS_SPANS, 0, NULL);

	if (!c)
		return &span_cache_none;
	memset(c, 0, SPAN_CACHE_SIZE);
	c->limit = SPAN_CACHE_BYTES;
	return c;
}

/* The caller's cache, if it has a page cache, else NULL. */
static struct tcache *span_cache_for_free(void)
{
	struct tcache *tc = tcache_for_free();
	int saved_errno = errno;

	if (tc && tc->spans == &span_cache_none)
		tc->spans = new_span_cache();
	errno = saved_errno;
	return tc && tc->spans != &span_cache_none ? tc : NULL;
}

/* Fill p, which is to be freed, as M_PERTURB says. */
static __attribute__((noinline, cold)) void perturb_freed(const char *call, void *p)
{
	size_t size = large_usable_size(call, p);

	if (size != LARGE_BAD)
		memset(p, tcache_all.perturb, size);
}

void tcache_free_span(const char *call, void *p)
{
	struct tcache *tc = span_cache_for_free();

	if (tcache_all.perturb)
		perturb_freed(call, p);
	if (!tc || !span_cache_put_slow(tc->spans, p))
		large_free(call, p); /* it reports a p that the page cache rejected */
	if (tc)
		note_span_visit(tc);
}

void tcache_free_mapping(const char *call, void *p)
{
	if (__builtin_expect(tcache_all.perturb, 0))
		perturb_freed(call, p);
	large_free(call, p);
	tcache_note_free();
}
