/* SPDX-License-Identifier: BSD-3-Clause */

/* What the parts of heapview share, and those for traces and maps. Sizes are in bytes. */

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "trace/trace_format.h"

/* A file in memory, decompressed. It stays until the end. */
struct file {
	const void *bytes;
	size_t size;
};

/* A trace or a map, mapped read-only. */
struct trace {
	const struct trace_header *header;
	const struct trace_record *records;
	size_t count; /* of records, completed or not */
	char note[256]; /* what is missing from it, or "" */
};

struct block {
	uint64_t start, size; /* of the header; of the payload */
	int status; /* 0 free, 1 used, 2 mapped */
};

/* The block list of os_malloc in address order. Blocks do not overlap. */
struct list {
	struct block *blocks;
	size_t count, room;
	size_t refused; /* steps that do not match the list, because the trace is incomplete */
};

/* Print a line to standard error and exit with status 1. */
void die(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));

/* reallocarray(3), or die. */
void *grow(void *p, size_t count, size_t size);

/* Open a file, or die. */
void file_open(struct file *f, const char *path);

/* Whether the file begins as a trace or a map does. */
bool trace_is(const struct file *f);
/* Validate the header, or die. t->note says what is missing from the trace. */
void trace_open(struct trace *t, const struct file *f, const char *path);
/* Print the block list after so many steps; after all, if step is SIZE_MAX. */
void print_text(const struct trace *t, const char *path, size_t step);

/*
 * The indices of the records that are steps of the player: steps of os_malloc's heap, starts and
 * ends of its calls, and system calls between them. *count of them; the caller frees.
 */
size_t *player_steps(const struct trace *t, size_t *count);

/* Whether there is a complete snapshot. */
bool has_snapshot(const struct trace *t);

/*
 * A copy of the last complete snapshot, without its begin and end. *count records, 0 if there is no
 * snapshot; the caller frees.
 */
struct trace_record *last_snapshot(const struct trace *t, size_t *count);

/* Whether r is a block of os_malloc in a snapshot. */
bool is_course_block(const struct trace_record *r);

/* Apply step r to the list. Other records change nothing. */
void list_apply(struct list *list, const struct trace_record *r, uint64_t meta_size);
/* The list before the first step: that of a preceding snapshot, or empty. */
void list_begin(struct list *list, const struct trace *t);

/* Write the page. Its player starts after first steps. */
void page_write(FILE *out, const struct trace *t, size_t first);
/* Write the picture of the last snapshot. */
void svg_write(FILE *out, const struct trace *t);
/* Write the statistics of all calls, as members of a JavaScript object. */
void calls_write(FILE *out, const struct trace *t);

/* ---- What pages share ---- */

/* Write the page up to the place of its data. Returns the rest. */
const char *template_begin(FILE *out, const char *page);
/*
 * Write untrusted text as a string of JavaScript, max bytes of it at most. No character ends the
 * string or the script.
 */
void write_quoted(FILE *out, const char *text, size_t max);
