/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * The modes in which neither caches nor the store serve a call directly: OSMEM_OPTIONS=course or
 * hardened. The contracts are those of hardened.h and course.h.
 */

#pragma once

#include "course.h"
#include "hardened.h"
#include "tcache_core.h"

static inline bool tcache_is_replaced(void)
{
	return atomic_load_explicit(&tcache_all.modes, memory_order_relaxed) &
	       (TCACHE_HARDENED | TCACHE_COURSE);
}

/* zero: the first size bytes are zero; then align is CELL_ALIGN. */
static inline void *replaced_alloc(size_t size, size_t align, bool zero)
{
	if (!tcache_is_course())
		return hardened_alloc(size, align);
	return zero ? course_alloc_zeroed(size) : course_alloc(size, align);
}

static inline void *replaced_malloc(size_t size)
{
	return tcache_is_course() ? course_alloc(size, CELL_ALIGN) : hardened_malloc(size);
}

static inline void *replaced_realloc(const char *call, void *p, size_t size)
{
	return tcache_is_course() ? course_realloc(call, p, size) : hardened_realloc(call, p, size);
}

/* bin is slab_bin(p). */
static inline void replaced_free(const char *call, void *p, uint16_t bin)
{
	if (tcache_is_course())
		course_free(call, p);
	else
		hardened_free_in(call, p, bin);
}

static inline size_t replaced_usable_size(const char *call, void *p)
{
	return tcache_is_course() ? course_usable_size(call, p) : hardened_usable_size(call, p);
}
