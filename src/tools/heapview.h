/* SPDX-License-Identifier: BSD-3-Clause */

/* What the parts of heapview share: a trace as read, and what is made of it. Sizes are in bytes. */

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "trace/trace_format.h"

/* A trace or a map, mapped read-only. */
struct trace {
	const struct trace_header *header;
	const struct trace_record *records;
	size_t count; /* of records, finished or not */
	char note[256]; /* what is missing from it, or "" */
};

struct block {
	uint64_t start, size; /* of the header; of the payload */
	int status; /* 0 free, 1 used, 2 mapped */
};

/* The list of os_malloc, in the order of addresses. No two blocks overlap. */
struct list {
	struct block *blocks;
	size_t count, room;
	size_t refused; /* steps that did not fit the list: the trace is not whole */
};

/* Print a line to standard error and exit with status 1. */
void die(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));

/* Memory or the end: heapview has nothing to do without. */
void *grow(void *p, size_t count, size_t size);

/*
 * The records that are steps of the player: what happens in the heap of os_malloc, its calls'
 * begins and ends, and system calls in between. Their indices, *count of them; the caller frees.
 */
size_t *player_steps(const struct trace *t, size_t *count);

/* Whether there is a snapshot that has an end. */
bool has_snapshot(const struct trace *t);

/*
 * The records of the last snapshot that has an end, without its begin and end: a copy, which the
 * caller frees; *count of them, 0 if there is no snapshot.
 */
struct trace_record *last_snapshot(const struct trace *t, size_t *count);

/* Whether r is a block of os_malloc in a snapshot. */
bool is_course_block(const struct trace_record *r);

/* Change the list as the step r did; what is no step changes nothing. */
void list_apply(struct list *list, const struct trace_record *r, uint64_t meta_size);
/* The list before the first step: that of a snapshot before it, or empty. */
void list_begin(struct list *list, const struct trace *t);

/* Write the whole page; its player begins after the first steps. */
void page_write(FILE *out, const struct trace *t, size_t first);
/* Write the picture of the last snapshot. */
void svg_write(FILE *out, const struct trace *t);
/* Write the figures of all calls, members of a JavaScript object. */
void calls_write(FILE *out, const struct trace *t);
