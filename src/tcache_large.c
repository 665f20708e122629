// SPDX-License-Identifier: BSD-3-Clause

/*
 * The slow paths for large objects, and for cells where there are none. A thread takes and puts the
 * spans that it keeps without a lock (span_cache.h); all else is large.h's.
 */

#include <errno.h>
#include <string.h>

#include "hardened.h"
#include "large.h"
#include "tcache_core.h"

static void tick(struct tcache *tc)
{
	if (tc)
		tcache_tick(tc);
}

void tcache_tick_free(void)
{
	tick(tcache_for_free());
}

/*
 * What the page heap got is a visit of the store. What is allocated or freed without one is a look
 * at the clock now and then.
 */
static inline void watch_span(struct tcache *tc)
{
	if (__builtin_expect(tc->spans->has_freed, 0)) {
		tc->spans->has_freed = false;
		tcache_tick(tc);
	} else if (__builtin_expect(++tc->ticks % WATCH_TICKS == 0, 0)) {
		tcache_look(tc);
	}
	if (__builtin_expect(tc->asked, 0))
		tcache_serve(tc);
}

/* A span that the caller's thread keeps, or NULL. */
static void *take_span(size_t size)
{
	struct tcache *tc = tcache_thread.own;
	void *p;

	if ((uintptr_t)tc <= (uintptr_t)TCACHE_ENDED || !tc->spans || size > SPAN_MAX)
		return NULL;
	p = span_cache_take(tc->spans, size);
	if (p)
		watch_span(tc);
	return p;
}

/* Fill what M_PERTURB wants to be filled. */
static void *perturb(void *p, size_t size)
{
	if (p && __builtin_expect(tcache_all.perturb, 0))
		memset(p, (unsigned char)~tcache_all.perturb, size);
	return p;
}

/* Not what a thread keeps. Where there is no memory, what is free goes to the kernel first. */
static __attribute__((noinline)) void *alloc_large_slow(size_t size, size_t align, bool zero)
{
	struct tcache *tc = tcache_own();
	void *p;

	if (tcache_is_hardened())
		return hardened_alloc(size, align);
	p = large_alloc(size, align, zero);
	tick(tc);
	if (!p && size <= SYS_MAP_MAX && align <= SYS_MAP_MAX && tcache_reclaim())
		p = large_alloc(size, align, zero);
	return zero ? p : perturb(p, size);
}

void *tcache_alloc_large(size_t size, size_t align, bool zero)
{
	void *p = size > CELL_MAX && align <= PAGE_BYTES ? take_span(size) : NULL;

	if (!p)
		return alloc_large_slow(size, align, zero);
	return zero ? memset(p, 0, size) : perturb(p, size);
}

static struct span_cache *new_span_cache(void)
{
	void *cell = NULL;

	slab_enter(CLASS_SPANS);
	slab_take_locked(CLASS_SPANS, 0, &cell, 1, NULL);
	slab_leave(CLASS_SPANS);
	return cell ? memset(cell, 0, SPAN_CACHE_SIZE) : NULL;
}

/* The caller's cache, that has one for spans; NULL: there is none. */
static __attribute__((noinline)) struct tcache *span_cache_for_free(void)
{
	struct tcache *tc = tcache_for_free();
	int saved_errno = errno;

	if (tc && !tc->spans)
		tc->spans = new_span_cache();
	errno = saved_errno;
	return tc && tc->spans ? tc : NULL;
}

static __attribute__((noinline)) void free_span_slow(const char *call, void *p)
{
	struct tcache *tc = span_cache_for_free();

	if (tcache_all.perturb)
		memset(p, tcache_all.perturb, large_usable_size(call, p));
	if (!tc) {
		large_free(call, p);
		return;
	}
	if (__builtin_expect(!span_cache_put(tc->spans, p), 0))
		large_free(call, p); /* which reports it */
	watch_span(tc);
}

void tcache_free_span(const char *call, void *p)
{
	struct tcache *tc = tcache_thread.own;

	if ((uintptr_t)tc <= (uintptr_t)TCACHE_ENDED || !tc->spans || tcache_all.perturb) {
		free_span_slow(call, p);
		return;
	}
	if (__builtin_expect(!span_cache_put(tc->spans, p), 0))
		large_free(call, p); /* which reports it */
	watch_span(tc);
}

void tcache_free_mapping(const char *call, void *p)
{
	if (__builtin_expect(tcache_all.perturb, 0))
		memset(p, tcache_all.perturb, large_usable_size(call, p));
	large_free(call, p);
	tcache_tick_free();
}
