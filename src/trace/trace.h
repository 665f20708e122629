/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * The trace writer: records of calls and of the steps inside them (trace_format.h).
 *
 * Any thread may write at any time, also in a signal handler and with any lock held. It claims a
 * record by one atomic addition in the header of the file, and fills it in. It allocates nothing,
 * takes no lock and preserves errno. The file is mapped in windows, each when its first record is
 * claimed. The pages belong to the kernel, so records survive the process.
 */

#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "trace_format.h"

/*
 * Whether a trace is being written. Test it before calling the next functions. Not atomic, so that
 * a test is one instruction. A thread that sees a change late omits a record, or writes one to a
 * file that is still mapped.
 */
extern bool trace_is_on_now __attribute__((visibility("hidden")));

#define trace_is_on __builtin_expect(trace_is_on_now, 0)

/*
 * Write a record. rule is 0 unless it is a step. Figures and snapshots may use the reserve of the
 * file. A call may record the figures: see trace_on_time.
 */
void trace_put(enum trace_kind kind, unsigned int what, unsigned int rule, bool failed, uint64_t a,
	       uint64_t b, uint64_t c);

/* Write a TRACE_STEP that succeeded. */
static inline void trace_step(enum trace_step step, unsigned int rule, uint64_t a, uint64_t b,
			      uint64_t c)
{
	trace_put(TRACE_STEP, step, rule, false, a, b, c);
}

/*
 * Start a trace in file, of at most size bytes. False with errno; EWOULDBLOCK if another process is
 * tracing to it. parent is the process that forked this one, or 0. The caller turns on the records
 * of calls: CALLS_TRACED, TCACHE_TRACES.
 */
bool trace_start(const char *file, uint64_t size, unsigned int parent);

/* Records of the trace so far, and how many more fit without the reserve. */
uint64_t trace_count(void);
uint64_t trace_room(void);

/* Fill in a header, except next, dropped and end_time. */
void trace_fill_header(struct trace_header *header, uint32_t header_size, uint64_t capacity);

/* Stop. Truncate the file to its records, unless another thread may be writing. */
void trace_stop(void);

/* In a forked child: leave the file to the parent. */
void trace_abandon(void);

/* Called about 100 times a second, at the start more often, by any thread at the end of a call. */
extern void (*trace_on_time)(void);
