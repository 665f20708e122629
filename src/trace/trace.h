/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Writing the trace: records of calls and of the steps inside them, into a file (trace_format.h).
 *
 * Any thread may write at any moment, also in a signal handler and under any lock: a record's place
 * is taken with one atomic addition in the file's header, and written there. Nothing is allocated
 * or locked, errno is preserved. The file is mapped in windows, each when the first record falls
 * into it; its pages are the kernel's, so what was written is safe whatever becomes of the process.
 */

#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "trace_format.h"

/*
 * Whether records are wanted: the next functions may be called only then. Not atomic, so that a
 * test is one instruction: a thread that sees a change late writes a record less, or one into a
 * file that is still mapped.
 */
extern bool trace_is_on_now __attribute__((visibility("hidden")));

#define trace_is_on __builtin_expect(trace_is_on_now, 0)

/*
 * Write a record; rule is 0 for what is no step. Figures and snapshots may be written to the room
 * that is kept for them. A call may take the figures: see trace_on_time.
 */
void trace_put(enum trace_kind kind, unsigned int what, unsigned int rule, bool failed, uint64_t a,
	       uint64_t b, uint64_t c);

/* Write a TRACE_STEP that was not refused. */
static inline void trace_step(enum trace_step step, unsigned int rule, uint64_t a, uint64_t b,
			      uint64_t c)
{
	trace_put(TRACE_STEP, step, rule, false, a, b, c);
}

/*
 * Begin a trace in file, with at most size bytes: false with errno if it cannot be made,
 * EWOULDBLOCK if another process is tracing into it. parent is the process that this was forked
 * from, or 0. What calls records into being is the caller's: CALLS_TRACED, TCACHE_TRACES.
 */
bool trace_start(const char *file, uint64_t size, unsigned int parent);

/* Fill in all of a header but what says how far its file is: next, dropped, end_time. */
void trace_fill_header(struct trace_header *header, uint32_t header_size, uint64_t capacity);

/* End it; cut the file to what is in it where no other thread can be writing. */
void trace_stop(void);

/* In a child: leave the file to the parent. */
void trace_abandon(void);

/* Called about a hundred times a second, by some thread after a call, with no locks held. */
extern void (*trace_on_time)(void);
