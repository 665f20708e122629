/* SPDX-License-Identifier: BSD-3-Clause */

/* Public header: walks and figures of all heaps, for programs, traces, maps and the summary. */

#pragma once

#include "helpers.h"
#include "osmem_inspect.h"
#include "trace/trace_format.h"

/* Fill in all figures, but not size. */
void inspect_get_stats(struct osmem_stats *stats);

/* Write the figures, or a snapshot, to the current trace. The caller holds no lock. */
void inspect_trace_figures(void);
void inspect_trace_snapshot(enum trace_reason reason);

/* Write a map, a trace file with one snapshot, to f. False with errno. */
bool inspect_write_map(struct sys_file *f);

/* stats.c: write a summary to standard error. */
void stats_print(void);

/*
 * stats_json.c: append the statistics as one JSON object, which begins with { and ends with } and a
 * newline. t needs flush. The caller holds no lock. Never calls malloc.
 */
struct text;
void stats_write_json(struct text *t);
