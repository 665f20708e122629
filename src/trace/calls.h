/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * What is noted of calls: how many there are of each name, for the summary, and records, for a
 * trace. While nothing is noted nobody comes here: the fast ways are closed only then
 * (TCACHE_COUNTS, TCACHE_TRACES), and what is behind them tests calls_are_recorded.
 */

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "trace_format.h"

enum calls_mode {
	CALLS_COUNTED = 1,
	CALLS_TRACED = 2,
};

/* The modes that are on. Not atomic, for the reason that trace_is_on_now has. */
extern unsigned char calls_modes __attribute__((visibility("hidden")));

#define calls_are_recorded __builtin_expect(calls_modes, 0)

void calls_set_mode(enum calls_mode mode, bool is_on);

/* A call begins, or has its result; arguments are as trace_format.h has them for the name. */
void calls_enter(enum trace_name name, uint64_t a, uint64_t b);
void calls_record(enum trace_name name, uint64_t a, uint64_t b, uint64_t c, bool failed);

/* So many bytes more, or less, of malloc and its relatives are live. Any thread, any moment. */
void calls_add_live(intptr_t bytes);

struct call_stats {
	size_t calls, failed; /* failed ones are calls, too */
	size_t bytes; /* asked for by those that did not fail */
};

/* Those of one name since counting began; their sum over all names is name TRACE_NAME_END. */
void calls_get(enum trace_name name, struct call_stats *stats);

/* The most bytes that were live at once since counting began. */
size_t calls_peak_bytes(void);
