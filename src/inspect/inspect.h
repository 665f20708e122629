/* SPDX-License-Identifier: BSD-3-Clause */

/* Walking everything: for the program (osmem_inspect.h), traces, maps, the summary. */

#pragma once

#include "helpers.h"
#include "osmem_inspect.h"
#include "trace/trace_format.h"

/* The figures; size is left alone. */
void inspect_get_stats(struct osmem_stats *stats);

/*
 * Write the figures, or a snapshot of everything, into the trace under way. No locks may be held.
 */
void inspect_trace_figures(void);
void inspect_trace_snapshot(enum trace_reason reason);

/* Write a map to f, which is open: a trace file with one snapshot. False with errno. */
bool inspect_write_map(struct sys_file *f);

/* stats.c: write a summary to standard error. */
void stats_print(void);
