/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Recording of calls: counters for each name (the summary), trace records, and call sites. While
 * none is on, the fast paths are open and the slow paths test calls_are_recorded. Otherwise the
 * fast paths are closed (TCACHE_COUNTS, TCACHE_TRACES, TCACHE_TOLERATES).
 */

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "trace_format.h"

enum calls_mode {
	CALLS_SAMPLED = 1, /* allocations are sampled, or were; the least: alloc_rest */
	CALLS_TRACED = 2,
	CALLS_COUNTED = 4,
	CALLS_CHECKED = 8, /* misuse is tolerated, and reported by call site */
};

/* The modes that are on. Not atomic, for the same reason as trace_is_on_now. */
extern unsigned char calls_modes __attribute__((visibility("hidden")));

#define calls_are_recorded __builtin_expect(calls_modes, 0)

void calls_set_mode(enum calls_mode mode, bool is_on);

/* Record the start, or the result, of a call. trace_format.h defines the arguments. */
void calls_enter(enum trace_name name, uint64_t a, uint64_t b);
void calls_record(enum trace_name name, uint64_t a, uint64_t b, uint64_t c, bool failed);

/* Add to the live bytes of malloc and its relatives. Any thread may call it at any time. */
void calls_add_live(intptr_t bytes);

struct call_stats {
	size_t calls, failed; /* calls includes failed */
	size_t bytes; /* requested by calls that did not fail */
};

/* Counts of a name since counting began. TRACE_NAME_END: the sum over all names. */
void calls_get(enum trace_name name, struct call_stats *stats);

/* The peak of live bytes since counting began. */
size_t calls_peak_bytes(void);
