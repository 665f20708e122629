/* SPDX-License-Identifier: BSD-3-Clause */

/* Public header: walks and figures of all heaps, for programs, traces, maps and the summary. */

#pragma once

#include "helpers.h"
#include "item_list.h"
#include "osmem_inspect.h"
#include "trace/trace_format.h"

/*
 * Make a copy of all items of all heaps; false with errno ENOMEM. In any case the caller drops it.
 */
bool inspect_copy(struct item_list *copy);
void inspect_drop(struct item_list *copy);

/* Fill in all figures, but not size. */
void inspect_get_stats(struct osmem_stats *stats);

/* Held bytes are live, cached, free or metadata: these four add up to them. */
struct inspect_shares {
	size_t live, cached, free, metadata;
};

struct inspect_shares inspect_shares(const struct osmem_stats *s);

/*
 * Write the figures, or a snapshot, to the current trace. The caller holds no lock. Figures are
 * followed by a snapshot when the live bytes have reached a new peak, and now and then.
 */
void inspect_trace_figures(void);
void inspect_trace_snapshot(enum trace_reason reason);

/*
 * Make a map, a trace file with one snapshot, in memory, which the caller releases (sys_release,
 * room). False with errno ENOMEM.
 */
struct inspect_map {
	char *at;
	size_t len, room; /* in bytes: of the map, and of its memory */
};

bool inspect_make_map(struct inspect_map *map);

/* Write a map to f. False with errno. */
bool inspect_write_map(struct sys_file *f);

/* stats*.c: the statistics as text. The caller holds no lock. Nothing calls malloc. */

struct text;

/* Append them to t, which needs flush: ten lines for people, tables, or a JSON object. */
void stats_write_summary(struct text *t);
void stats_write_table(struct text *t);
void stats_write_json(struct text *t);

enum stats_form {
	STATS_SUMMARY,
	STATS_FULL, /* the tables */
	STATS_JSON,
};

/* Write them to standard error, or to f; false with errno. */
void stats_print(enum stats_form form);
bool stats_write_file(struct sys_file *f, enum stats_form form);
