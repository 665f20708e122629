// SPDX-License-Identifier: BSD-3-Clause

/*
 * The C library's allocation functions: argument rules and errno, no policy. Sizes and alignments
 * are in bytes. A result belongs to the caller until it is freed, is aligned to 16 at least, and is
 * unique among live pointers even for size 0. When memory is exhausted, or for a size above
 * PTRDIFF_MAX, they return NULL with errno ENOMEM. Any thread may call them, also before main, but
 * not from a signal handler. A pointer that is not from here is reported in one line on standard
 * error, then abort(). So is a double free: at once, or before the memory is allocated twice. With
 * OSMEM_OPTIONS=misuse=warn such a call does nothing instead, and realloc returns NULL with EINVAL.
 *
 * While calls are counted or traced, every call takes the slow path (TCACHE_COUNTS, TCACHE_TRACES),
 * which records it: an allocation when it has its result, a free before it frees.
 */

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cache/tcache.h"
#include "compat.h"
#include "helpers.h"
#include "large/large.h"
#include "record.h"

/* C23, not yet in glibc's headers. */
void free_sized(void *p, size_t size);
void free_aligned_sized(void *p, size_t align, size_t size);

static void *fail(int error)
{
	errno = error;
	return NULL;
}

static INLINE void *malloc_slow(size_t size)
{
	return alloc_rest(TRACE_MALLOC, size);
}

static NOINLINE void *malloc_wide(size_t size)
{
	return tcache_alloc_wide_or(size, malloc_slow);
}

/* malloc(3). */
EXPORT void *malloc(size_t size)
{
	return tcache_alloc_or(size, malloc_wide);
}

static INLINE void *alloc_array(size_t nmemb, size_t size, void *(*alloc)(size_t size))
{
	size_t total;

	if (__builtin_mul_overflow(nmemb, size, &total))
		return fail(ENOMEM);
	return alloc(total);
}

static COLD void *calloc_recorded(size_t nmemb, size_t size)
{
	return record_alloc(TRACE_CALLOC, nmemb, size,
			    alloc_array(nmemb, size,
					are_sampled() ? sample_alloc_zeroed : tcache_alloc_zeroed));
}

static NOINLINE void *calloc_sampled(size_t nmemb, size_t size)
{
	return alloc_array(nmemb, size, sample_alloc_zeroed);
}

/* malloc(3): zeroed; ENOMEM if the product overflows. */
EXPORT void *calloc(size_t nmemb, size_t size)
{
	if (calls_are_recorded)
		return calls_modes == CALLS_SAMPLED ? calloc_sampled(nmemb, size)
						    : calloc_recorded(nmemb, size);
	return alloc_array(nmemb, size, tcache_alloc_zeroed);
}

static NOINLINE void *resize(void *p, size_t size)
{
	if (!p)
		return tcache_alloc(size);
	if (size)
		return tcache_realloc("realloc", p, size);
	tcache_free("realloc", p);
	return NULL;
}

static NOINLINE void *free_resized(void *p)
{
	free_sampled("realloc", p);
	return NULL;
}

/* The same while allocations are sampled. */
static NOINLINE void *resize_sampled(void *p, size_t size)
{
	if (!p)
		return sample_alloc(size);
	return size ? sample_realloc("realloc", p, size) : free_resized(p);
}

static COLD void *realloc_recorded(void *p, size_t size)
{
	intptr_t old;
	bool failed;
	void *q;

	if (likely(calls_modes == CALLS_SAMPLED))
		return resize_sampled(p, size);
	note_call_site();
	if (!may_record("realloc", p))
		return fail(EINVAL);
	old = counted_bytes("realloc", p);
	calls_enter(TRACE_REALLOC, (uintptr_t)p, size);
	q = are_sampled() ? resize_sampled(p, size) : resize(p, size);
	failed = !q && (size || !p);
	calls_record(TRACE_REALLOC, (uintptr_t)p, size, (uintptr_t)q, failed);
	if (!failed)
		add_live(counted_bytes("realloc", q) - old);
	return q;
}

/* malloc(3), as in glibc: size 0 frees p and returns NULL. On failure p stays valid. */
EXPORT NOINLINE void *realloc(void *p, size_t size)
{
	return calls_are_recorded ? realloc_recorded(p, size) : resize(p, size);
}

/*
 * valgrind patches realloc but does not know reallocarray, so reallocarray calls the patched
 * function, by a name that no other library can interpose.
 */
extern __typeof__(realloc) own_realloc
	__attribute__((alias("realloc"), visibility("hidden"), nothrow, leaf));

/* malloc(3): ENOMEM if the product overflows, and p stays valid. Otherwise recorded as realloc. */
EXPORT void *reallocarray(void *p, size_t nmemb, size_t size)
{
	size_t total;

	if (!__builtin_mul_overflow(nmemb, size, &total))
		return own_realloc(p, total);
	if (calls_are_recorded) {
		calls_enter(TRACE_REALLOCARRAY, (uintptr_t)p, SIZE_MAX);
		calls_record(TRACE_REALLOCARRAY, (uintptr_t)p, SIZE_MAX, 0, true);
	}
	return fail(ENOMEM);
}

static NOINLINE void free_slow(void *p)
{
	note_call_site();
	free_rest("free", TRACE_FREE, p, 0, 0);
}

/* malloc(3), POSIX.1-2024: errno is preserved. */
EXPORT void free(void *p)
{
	if (unlikely(!tcache_put(p)))
		free_slow(p);
}

static NOINLINE void free_sized_slow(void *p, size_t size)
{
	note_call_site();
	if (p && !block_check_size("free_sized", p, size, true))
		return;
	free_rest("free_sized", TRACE_FREE_SIZED, p, size, 0);
}

/* C23 7.24.3.4. Reports a size that p cannot have been allocated or resized with. */
EXPORT void free_sized(void *p, size_t size)
{
	if (unlikely(!tcache_has_size(p, size)) || unlikely(!tcache_put(p)))
		free_sized_slow(p, size);
}

static NOINLINE void free_aligned_sized_slow(void *p, size_t align, size_t size)
{
	note_call_site();
	if (p && !block_check_aligned("free_aligned_sized", p, size, align))
		return;
	free_rest("free_aligned_sized", TRACE_FREE_ALIGNED_SIZED, p, size, align);
}

/* C23 7.24.3.5. Reports a size or an alignment that p cannot have been allocated with. */
EXPORT void free_aligned_sized(void *p, size_t align, size_t size)
{
	if (unlikely(!tcache_has_aligned(p, size, align)) || unlikely(!tcache_put(p)))
		free_aligned_sized_slow(p, align, size);
}

/* posix_memalign(3), C17: align is any power of two, else EINVAL; size need not be a multiple. */
EXPORT void *aligned_alloc(size_t align, size_t size)
{
	if (!is_power_of_two(align))
		return fail(EINVAL);
	return alloc_aligned(TRACE_ALIGNED_ALLOC, size, align);
}

/* posix_memalign(3), as in glibc: rounds align up to a power of two, or EINVAL. */
EXPORT void *memalign(size_t align, size_t size)
{
	if (align > SIZE_MAX / 2 + 1)
		return fail(EINVAL);
	if (align < CELL_ALIGN)
		align = CELL_ALIGN;
	if (!is_power_of_two(align))
		align = (size_t)1 << (64 - __builtin_clzll(align));
	return alloc_aligned(TRACE_MEMALIGN, size, align);
}

/*
 * posix_memalign(3): returns the error, and does not change *out then. As in glibc, ENOMEM is also
 * in errno, which is otherwise preserved.
 */
EXPORT int posix_memalign(void **out, size_t align, size_t size)
{
	int saved_errno = errno;
	void *p;

	if (!is_power_of_two(align) || align % sizeof(void *))
		return EINVAL;
	p = alloc_aligned(TRACE_POSIX_MEMALIGN, size, align);
	if (!p) {
		errno = ENOMEM;
		return ENOMEM;
	}
	errno = saved_errno;
	*out = p;
	return 0;
}

/* posix_memalign(3): aligned to a page. */
EXPORT void *valloc(size_t size)
{
	return alloc_aligned(TRACE_VALLOC, size, sys_page_size());
}

/* posix_memalign(3): whole pages. */
EXPORT void *pvalloc(size_t size)
{
	size_t page = sys_page_size();

	if (size > PTRDIFF_MAX - page)
		return fail(ENOMEM);
	return alloc_aligned(TRACE_PVALLOC, round_up(size, page), page);
}

/* glibc's internal names, which wrappers of malloc call. Both names may be mixed. */
#define ALIAS(alias_name, name, ...)                                                               \
	extern __typeof__(name) alias_name                                                         \
		__attribute__((alias(#name), visibility("default"), nothrow, leaf, ##__VA_ARGS__))

ALIAS(__libc_malloc, malloc, malloc);
ALIAS(__libc_calloc, calloc, malloc);
ALIAS(__libc_realloc, realloc);
ALIAS(__libc_free, free);
ALIAS(__libc_memalign, memalign, malloc);
ALIAS(__libc_valloc, valloc, malloc);
ALIAS(__libc_pvalloc, pvalloc, malloc);
ALIAS(__posix_memalign, posix_memalign);

/*
 * malloc_usable_size(3): bytes that the caller may use; realloc up to it does not move p. 0 for a p
 * that was reported.
 */
EXPORT size_t malloc_usable_size(void *p)
{
	note_call_site();
	return p ? block_usable_size("malloc_usable_size", p) : 0;
}

/* malloc_trim(3): purges all free pages and ignores pad. 1 if any memory was released, else 0. */
EXPORT int malloc_trim(size_t pad)
{
	int is_any = tcache_trim();

	if (calls_are_recorded)
		calls_record(TRACE_MALLOC_TRIM, pad, 0, (uint64_t)is_any, false);
	return is_any;
}

/*
 * mallopt(3): returns 1 for all parameters of glibc, 0 for others and for a negative threshold of
 * mmap. Parameters without a meaning here are ignored, because programs treat 0 as a failure.
 */
EXPORT int mallopt(int param, int value)
{
	switch (param) {
	case M_MMAP_THRESHOLD:
		if (value < 0)
			return 0;
		large_set_threshold((size_t)value);
		return 1;
	case M_TRIM_THRESHOLD: /* -1 means never */
		tcache_set_trim_threshold(value < 0 ? SIZE_MAX : (size_t)value);
		return 1;
	case M_PERTURB:
		tcache_set_perturb((unsigned char)value);
		return 1;
	case M_ARENA_MAX:
	case M_ARENA_TEST:
	case M_MXFAST:
	case M_TOP_PAD:
	case M_MMAP_MAX:
	case M_CHECK_ACTION:
		return 1;
	default:
		return 0;
	}
}
