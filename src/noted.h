/* SPDX-License-Identifier: BSD-3-Clause */

/* What interpose.c and new.c share: mostly, what they note of a call. */

#pragma once

#include "calls.h"
#include "tcache.h"

static inline bool is_power_of_two(size_t n)
{
	return n && !(n & (n - 1));
}

/* Bytes that a block, or NULL, counts for among what is live; call is whose pointer it is. */
static inline intptr_t noted_bytes(const char *call, void *p)
{
	return p && (calls_modes & CALLS_COUNTED) ? (intptr_t)tcache_usable_size(call, p) : 0;
}

/* p is the result, and is returned. */
static inline void *note_alloc(enum trace_name name, uint64_t a, uint64_t b, void *p)
{
	calls_note(name, a, b, (uintptr_t)p, !p);
	calls_add_live(noted_bytes("malloc", p));
	return p;
}

/* Before it frees p. */
static inline void note_free(const char *call, enum trace_name name, void *p, size_t size,
			     size_t align)
{
	calls_add_live(-noted_bytes(call, p));
	calls_note(name, (uintptr_t)p, size, align, false);
}
