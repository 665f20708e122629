/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Core header of this wing, for interpose.c and new.c: recording of calls; and what is done with a
 * block, which may be a guarded one (sample/guard.h). While blocks are guarded, calls are recorded.
 */

#pragma once

#include "cache/tcache.h"
#include "helpers.h"
#include "sample/guard.h"
#include "sample/sample.h"
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

static inline size_t block_usable_size(const char *call, void *p)
{
	return guard_owns(p) ? guard_usable_size(call, p) : tcache_usable_size(call, p);
}

static inline bool block_is_live(const char *call, void *p)
{
	return guard_owns(p) ? guard_is_block(call, p) : tcache_is_block(call, p);
}

/* False if p was reported, and must not be freed. */
static inline bool block_check_size(const char *call, void *p, size_t size, bool is_resizable)
{
	return guard_owns(p) ? guard_check_size(call, p, size)
			     : tcache_check_size(call, p, size, is_resizable);
}

static inline bool block_check_align(const char *call, void *p, size_t align)
{
	return guard_owns(p) ? guard_check_align(call, p, align)
			     : tcache_check_align(call, p, align);
}

static inline bool block_check_aligned(const char *call, void *p, size_t size, size_t align)
{
	if (guard_owns(p))
		return guard_check_align(call, p, align) && guard_check_size(call, p, size);
	return tcache_check_aligned(call, p, size, align);
}

/* The bytes that p adds to the live bytes. call is the function named in a report. */
static inline intptr_t counted_bytes(const char *call, void *p)
{
	return p && (calls_modes & CALLS_COUNTED) ? (intptr_t)block_usable_size(call, p) : 0;
}

static inline void add_live(intptr_t bytes)
{
	if (calls_modes & CALLS_COUNTED)
		calls_add_live(bytes);
}

/* Record an allocation with result p. Returns p. */
static inline void *record_alloc(enum trace_name name, uint64_t a, uint64_t b, void *p)
{
	calls_record(name, a, b, (uintptr_t)p, !p);
	add_live(counted_bytes("malloc", p));
	return p;
}

/*
 * At the start of a function that the public function tail-calls: remember the caller of that one.
 * Inlined, so that the return address is the function's.
 */
static INLINE void note_call_site(void)
{
	if (calls_are_recorded)
		sys_note_call_site(__builtin_return_address(0));
}

/*
 * False if misuse is tolerated and p was reported: a call that does nothing is not recorded. The
 * functions that free or resize would report p as well.
 */
static inline bool may_record(const char *call, void *p)
{
	bool has_records = calls_modes & ~CALLS_CHECKED;

	return !(calls_modes & CALLS_CHECKED && has_records) || !p || block_is_live(call, p);
}

static inline bool are_sampled(void)
{
	return calls_modes & CALLS_SAMPLED;
}

/* malloc and operator new. */
static COLD void *alloc_recorded(enum trace_name name, size_t size)
{
	return record_alloc(name, 0, size,
			    are_sampled() ? sample_alloc(size) : tcache_alloc_slow(size));
}

/* The slow path of these. */
static INLINE void *alloc_rest(enum trace_name name, size_t size)
{
	unsigned char modes = calls_modes;

	/* One comparison: while allocations are sampled, each malloc comes here. */
	if (unlikely(modes > CALLS_SAMPLED))
		return alloc_recorded(name, size);
	return unlikely(modes == CALLS_SAMPLED) ? sample_alloc(size) : tcache_alloc_slow(size);
}

static COLD void *aligned_recorded(enum trace_name name, size_t size, size_t align)
{
	return record_alloc(name, align, size,
			    are_sampled() ? sample_alloc_aligned(size, align)
					  : tcache_alloc_aligned(size, align));
}

/* The common part of all aligned names, after the check of their arguments. */
static INLINE void *alloc_aligned(enum trace_name name, size_t size, size_t align)
{
	return calls_are_recorded ? aligned_recorded(name, size, align)
				  : tcache_alloc_aligned(size, align);
}

/* Free p, which may be a sample or guarded. */
static inline void free_sampled(const char *call, void *p)
{
	if (unlikely(sample_may_be(p)))
		sample_forget(p);
	if (guard_owns(p))
		guard_release(call, p);
	else
		tcache_free_slow(call, p);
}

static NOINLINE void free_recorded(const char *call, enum trace_name name, void *p, size_t size,
				   size_t align)
{
	if (calls_modes != CALLS_SAMPLED) {
		if (!may_record(call, p))
			return;
		add_live(-counted_bytes(call, p));
		calls_record(name, (uintptr_t)p, size, align, false);
	}
	free_sampled(call, p);
}

/*
 * The slow path of every call that frees; note_call_site was called. Records the call before it
 * frees.
 */
static INLINE void free_rest(const char *call, enum trace_name name, void *p, size_t size,
			     size_t align)
{
	if (calls_are_recorded)
		free_recorded(call, name, p, size, align);
	else
		tcache_free_slow(call, p);
}
