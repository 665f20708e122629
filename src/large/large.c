// SPDX-License-Identifier: BSD-3-Clause

/*
 * Choice between spans and mappings, and resizing.
 *
 * 1. Sizes up to SPAN_MAX are spans; if memory for a segment is refused, and above, mappings.
 * 2. A span is resized in place if the pages behind it are free; a mapping is remapped. An object
 *    that shrinks returns the rest if that is more than large_slack.
 */

#include "large.h"

#include <errno.h>
#include <string.h>

#include "large_core.h"
#include "tunables.h"

static _Atomic(size_t) threshold = SPAN_MAX + 1;
static _Atomic(size_t) resizes;

void large_harden(void)
{
	mapping_is_hardened = true;
}

void *large_alloc(size_t size, size_t align, bool zero)
{
	bool fresh;
	void *p = NULL;

	if (size > SYS_MAP_MAX || align > SYS_MAP_MAX) {
		errno = ENOMEM;
		return NULL;
	}
	if (!mapping_is_hardened && size < threshold && size <= SPAN_MAX && align <= SPAN_ALIGN_MAX)
		p = span_alloc(size ? size : 1, align, &fresh);
	if (!p)
		return mapping_alloc(size, size, align, zero);
	return zero && !fresh ? memset(p, 0, size) : p;
}

void *large_alloc_growing(size_t size)
{
	size_t room = size + (size >> GROWTH_SHIFT);

	if (mapping_is_hardened)
		return mapping_alloc(size, size + size / 2, CELL_ALIGN, false);
	if (room > SPAN_MAX)
		return mapping_alloc(size, room, CELL_ALIGN, false);
	return large_alloc(room, CELL_ALIGN, false);
}

/* Report p: in a span, but not the start of a live one. */
static __attribute__((cold)) void bad_span(const char *call, void *p, const struct span_ref *span)
{
	if (span->state == SPAN_FREE && span->start == p)
		sys_misuse(call, p, "this block is already free");
	else
		sys_misuse(call, p, "not the start of a block, but inside %s of %lu bytes at 0x%lx",
			   span->state == SPAN_FREE ? "a free one" : "one",
			   (unsigned long)span->size, (unsigned long)(uintptr_t)span->start);
}

enum kind {
	MAPPING, /* or no object: mapping.c reports it */
	SPAN,
	BAD, /* in a span, but not the start of a live one; reported */
};

/* Hardened, mapping.c knows the spans. */
static enum kind kind_of(const char *call, void *p)
{
	struct span_ref span;

	if (mapping_is_hardened || !span_is_near(p))
		return MAPPING;
	span = span_find(p);
	if (span.state == SPAN_NONE)
		return MAPPING;
	if (span.state == SPAN_LIVE)
		return SPAN;
	bad_span(call, p, &span);
	return BAD;
}

bool large_has(const void *p)
{
	return (!mapping_is_hardened && span_find(p).state != SPAN_NONE) || mapping_has(p);
}

void large_free(const char *call, void *p)
{
	int saved_errno = errno;
	enum kind kind = kind_of(call, p);

	if (kind == SPAN && span_claim(p))
		span_free(p);
	else if (kind == SPAN)
		sys_misuse(call, p, "this block is already free");
	else if (kind == MAPPING)
		mapping_free(call, p);
	errno = saved_errno;
}

/* Whether an object of old bytes stays unchanged for size bytes: rule 2. */
static bool is_fit(size_t old, size_t size)
{
	return size <= old && old - size <= large_slack(size);
}

static void *resize_mapping(const char *call, void *p, size_t size)
{
	if (mapping_keeps(call, p, size))
		return p;
	atomic_fetch_add_explicit(&resizes, 1, memory_order_relaxed);
	return size > SYS_MAP_MAX ? NULL : mapping_resize(call, p, size);
}

void *large_resize(const char *call, void *p, size_t size)
{
	enum kind kind = kind_of(call, p);
	size_t old;

	if (kind != SPAN)
		return kind == MAPPING ? resize_mapping(call, p, size) : NULL;
	old = span_size(p);
	if (is_fit(old, size))
		return p;
	atomic_fetch_add_explicit(&resizes, 1, memory_order_relaxed);
	if (size >= threshold || size > SPAN_MAX)
		return NULL;
	if (size > old && span_resize(p, span_pages_for(size) * PAGE_BYTES))
		return p;
	return span_resize(p, size) ? p : NULL;
}

size_t large_usable_size(const char *call, void *p)
{
	enum kind kind = kind_of(call, p);

	if (kind == BAD)
		return LARGE_BAD;
	return kind == SPAN ? span_size(p) : mapping_usable_size(call, p);
}

size_t large_frees(void)
{
	struct mapping_stats mappings;

	mapping_get_stats(&mappings);
	return mappings.frees + resizes;
}

bool large_sweep(void)
{
	int saved_errno = errno;
	bool is_any = large_dirty_bytes() && cache_sweep(slab_sweep_period_ms);

	errno = saved_errno;
	return is_any;
}

bool large_trim(void)
{
	bool is_any = guard_trim();

	return (large_dirty_bytes() && cache_sweep(0)) || is_any;
}

void large_set_threshold(size_t size)
{
	threshold = size;
}

void large_get_stats(struct osmem_heap_stats *stats)
{
	struct mapping_stats mappings;
	struct span_stats spans = {0};

	mapping_get_stats(&mappings);
	if (!mapping_is_hardened) /* mapping.c counts them when hardened */
		span_get_stats(&spans);
	*stats = (struct osmem_heap_stats){
		.allocs = mappings.allocs + spans.allocs,
		.frees = mappings.frees + spans.frees,
		.reallocs = resizes,
		.mmap_calls = mappings.map_calls,
		.munmap_calls = mappings.unmap_calls,
		.mremap_calls = mappings.remap_calls,
		.blocks = spans.spans,
		.live_blocks = spans.spans,
		.live_bytes = spans.bytes,
		.region_bytes = spans.bytes,
		.ahead_bytes = large_dirty_bytes(),
		.mapped_blocks = mappings.count,
		.mapped_bytes = mappings.bytes,
		.peak_bytes = mappings.peak_bytes + spans.peak_bytes,
	};
}
