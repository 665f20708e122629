/* SPDX-License-Identifier: BSD-3-Clause */

/* What interpose.c and new.c share: mostly, what they note of a call. */

#pragma once

#include "cache/tcache.h"
#include "trace/calls.h"

#define NOINLINE __attribute__((noinline))
#define COLD __attribute__((noinline, cold))
#define INLINE inline __attribute__((always_inline))
#define likely(condition) __builtin_expect(condition, 1)
#define unlikely(condition) __builtin_expect(condition, 0)

static inline bool is_power_of_two(size_t n)
{
	return n && !(n & (n - 1));
}

/* Bytes that a block, or NULL, counts for among what is live; call is whose pointer it is. */
static inline intptr_t counted_bytes(const char *call, void *p)
{
	return p && (calls_modes & CALLS_COUNTED) ? (intptr_t)tcache_usable_size(call, p) : 0;
}

/* p is the result, and is returned. */
static inline void *record_alloc(enum trace_name name, uint64_t a, uint64_t b, void *p)
{
	calls_record(name, a, b, (uintptr_t)p, !p);
	calls_add_live(counted_bytes("malloc", p));
	return p;
}

static COLD void *aligned_recorded(enum trace_name name, size_t size, size_t align)
{
	return record_alloc(name, align, size, tcache_alloc_aligned(size, align));
}

/* What all aligned names have in common once their arguments are in order. */
static INLINE void *alloc_aligned(enum trace_name name, size_t size, size_t align)
{
	return calls_are_recorded ? aligned_recorded(name, size, align)
				  : tcache_alloc_aligned(size, align);
}

static COLD void free_recorded(const char *call, enum trace_name name, void *p, size_t size,
			       size_t align)
{
	calls_add_live(-counted_bytes(call, p));
	calls_record(name, (uintptr_t)p, size, align, false);
	tcache_free_slow(call, p);
}

/* The rest of every call that frees; it is noted before it frees. */
static INLINE void free_rest(const char *call, enum trace_name name, void *p, size_t size,
			     size_t align)
{
	if (calls_are_recorded)
		free_recorded(call, name, p, size, align);
	else
		tcache_free_slow(call, p);
}
