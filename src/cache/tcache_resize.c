// SPDX-License-Identifier: BSD-3-Clause

/* Usable sizes, validation of sizes and alignments that callers state, and realloc. */

#include <string.h>

#include "large/large.h"
#include "replaced.h"
#include "tcache_core.h"

/* The usable size, or LARGE_BAD. */
static inline __attribute__((always_inline)) size_t size_of(const char *call, void *p)
{
	unsigned int class;

	if (tcache_is_replaced())
		return replaced_usable_size(call, p);
	class = tcache_live_class_slow(call, p); /* full validation: no later check */
	if (class == CLASS_BAD)
		return LARGE_BAD;
	return class ? slab_classes[class].size : large_usable_size(call, p);
}

size_t tcache_usable_size(const char *call, void *p)
{
	size_t size = size_of(call, p);

	return size == LARGE_BAD ? 0 : size;
}

bool tcache_is_block(const char *call, void *p)
{
	return size_of(call, p) != LARGE_BAD;
}

/* Validation of stated sizes. Only a size that is provably wrong is reported. */

static __attribute__((cold)) bool wrong_size(const char *call, void *p, size_t size, size_t usable)
{
	sys_misuse(call, p, "not allocated with %lu bytes: this block has %lu", (unsigned long)size,
		   (unsigned long)usable);
	return false;
}

/* A realloc failed to shrink its block: from now on sizes may be more than twice too large. */
static _Atomic(bool) has_unshrunk;

/*
 * Whether a block of usable bytes may have been allocated with size: realloc keeps blocks of up to
 * twice the size. slack is what a header, padding or rounding may add.
 */
static bool is_plausible(size_t usable, size_t size, size_t slack)
{
	if (size > usable)
		return false;
	return size + slack >= usable / 2 ||
	       atomic_load_explicit(&has_unshrunk, memory_order_relaxed);
}

static bool check_block_size(const char *call, void *p, size_t size)
{
	size_t usable = size_of(call, p);

	if (usable == LARGE_BAD)
		return false;
	return (tcache_is_course() ? course_may_have(usable, size)
				   : is_plausible(usable, size, sys_page_size())) ||
	       wrong_size(call, p, size, usable);
}

/* Hardened blocks know their exact size. */
static bool check_exact_size(const char *call, void *p, size_t size)
{
	size_t exact = hardened_usable_size(call, p);

	if (exact == LARGE_BAD)
		return false;
	return size == exact || wrong_size(call, p, size, exact);
}

__attribute__((noinline)) bool tcache_check_size(const char *call, void *p, size_t size,
						 bool is_resizable)
{
	unsigned int class;

	if (tcache_is_hardened())
		return check_exact_size(call, p, size);
	class = tcache_live_class(call, p);
	if (class == CLASS_BAD)
		return false;
	if (!class)
		return check_block_size(call, p, size);
	if (tcache_class_of(size, CELL_ALIGN) == class)
		return true;
	return (is_resizable && is_plausible(slab_classes[class].size, size, 0)) ||
	       wrong_size(call, p, size, slab_classes[class].size);
}

__attribute__((noinline)) bool tcache_check_align(const char *call, void *p, size_t align)
{
	unsigned int class = tcache_is_replaced() ? 0 : tcache_live_class(call, p);

	if (class == CLASS_BAD || (!class && !tcache_is_block(call, p)))
		return false;
	if (!(align & (align - 1)) && !((uintptr_t)p & (align - 1)) &&
	    !(class && align > CELL_ALIGN && slab_classes[class].size & (align - 1)))
		return true;
	sys_misuse(call, p, "not allocated with an alignment of %lu bytes", (unsigned long)align);
	return false;
}

bool tcache_check_aligned(const char *call, void *p, size_t size, size_t align)
{
	unsigned int class;

	if (!tcache_check_align(call, p, align))
		return false;
	if (tcache_is_hardened())
		return check_exact_size(call, p, size);
	class = tcache_live_class(call, p);
	if (class == CLASS_BAD)
		return false;
	if (!class)
		return check_block_size(call, p, size);
	return tcache_class_of(size, align) == class ||
	       wrong_size(call, p, size, slab_classes[class].size);
}

/* Resizing. */

/*
 * The size to allocate for a block that moves. One that grows in small steps gets a quarter more,
 * so that it moves at every few steps only; but no more than it may keep when it stays in place.
 */
static size_t with_headroom(size_t old, size_t size)
{
	size_t roomy = size + size / 4;
	unsigned int class;

	if (size < old || size >= old + old / 4 || roomy > CELL_MAX)
		return size;
	class = class_of_size(roomy);
	if (!tcache_may_keep(slab_classes[class].size, size))
		class -= 1;
	return slab_classes[class].size > size ? slab_classes[class].size : size;
}

static void *move(const char *call, void *p, size_t old, size_t size)
{
	void *q = tcache_alloc(with_headroom(old, size));

	if (!q)
		return NULL;
	memcpy(q, p, old < size ? old : size);
	tcache_free(call, p);
	return q;
}

/* p cannot move to shrink, because memory is exhausted: it stays in place. */
static void *stay(void *p)
{
	atomic_store_explicit(&has_unshrunk, true, memory_order_relaxed);
	return p;
}

static __attribute__((noinline, cold)) void count_realloc(void)
{
	struct tcache *tc = tcache_own();

	if (tc)
		tc->reallocs++;
}

static void *resize_cell(const char *call, void *p, size_t size, unsigned int class)
{
	size_t old = slab_classes[class].size;
	void *q;

	if (tcache_is_closed())
		count_realloc();
	if (tcache_may_keep(old, size) || (size <= old && class_of_size(size) == class))
		return p;
	q = move(call, p, old, size);
	return q || size > old ? q : stay(p);
}

static __attribute__((nonnull)) void *realloc_large(const char *call, void *p, size_t size)
{
	size_t old = span_is_near(p) ? span_size(p) : 0;
	void *q = size > CELL_MAX ? large_resize(call, p, size) : NULL;

	if (q == p && old && span_size(p) < old)
		tcache_note_free();
	if (q)
		return q;
	old = large_usable_size(call, p);
	if (old == LARGE_BAD)
		return tcache_refuse();
	if (size > old && size <= SYS_MAP_MAX)
		q = large_alloc_growing(size);
	if (!q)
		q = tcache_alloc(size);
	if (!q)
		return size > old ? NULL : stay(p);
	memcpy(q, p, old < size ? old : size);
	tcache_free(call, p);
	return q;
}

static __attribute__((noinline)) void *realloc_slow(const char *call, void *p, size_t size)
{
	unsigned int class;

	if (tcache_is_replaced())
		return replaced_realloc(call, p, size);
	class = span_is_near(p) ? 0 : tcache_live_class_slow(call, p);
	if (class == CLASS_BAD)
		return tcache_refuse();
	return class ? resize_cell(call, p, size, class) : realloc_large(call, p, size);
}

void *tcache_realloc(const char *call, void *p, size_t size)
{
	unsigned int class = slab_class_of(p);

	if (!class && large_stays(p, size))
		return p;
	if (!class || tcache_is_closed() || *cell_word(p) == CELL_FREED)
		return realloc_slow(call, p, size);
	return resize_cell(call, p, size, class);
}
