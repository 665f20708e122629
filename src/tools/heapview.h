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
	uint32_t call; /* the number of the call that allocated it, or 0 */
};

/* The block list of os_malloc in address order. Blocks do not overlap. */
struct list {
	struct block *blocks;
	size_t count, room;
	size_t refused; /* steps that do not match the list, because the trace is incomplete */
};

/* A hash table with open addressing, at most half full. Entries are never removed. */
struct entry {
	uint64_t key; /* not 0, unless the entry is empty */
	uint64_t size, time; /* for its user */
	int state;
};

struct table {
	struct entry *entries;
	size_t room, count; /* room: a power of two, or 0 */
};

/* A record that the player shows. */
struct step {
	size_t record;
	uint32_t call; /* its number, from 1 */
	uint16_t thread; /* an index */
	bool is_first; /* of its call */
};

#define PLAYER_THREADS_MAX 1000 /* all others share the last index */

/* All that the player shows: calls that change the block list of os_malloc, and their steps. */
struct player {
	struct step *steps;
	size_t count, calls;
	uint32_t threads[PLAYER_THREADS_MAX]; /* ids, by index */
	size_t thread_count;
};

/* A complete snapshot of a trace: records are those between its begin and end. */
struct snapshot {
	size_t begin, end; /* indices of these records */
	struct trace_record
		figures[3]; /* the last ones before its end; of kind 0 if there are none */
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

/* Find or create the entry of key. */
struct entry *table_get(struct table *t, uint64_t key);

/* Find the steps of the player; player_free frees them. */
void player_init(struct player *p, const struct trace *t);
void player_free(struct player *p);

/* All complete snapshots in the order of the trace. *count of them; the caller frees. */
struct snapshot *snapshots_find(const struct trace *t, size_t *count);
/* A copy of the snapshot's records, of regions and the like. *count of them; the caller frees. */
struct trace_record *snapshot_records(const struct trace *t, const struct snapshot *s,
				      size_t *count);
/* The index of the snapshot with the most live bytes; the last one of equals. */
size_t snapshots_peak(const struct snapshot *snapshots, size_t count);
/* Write the snapshots, as a member of a JavaScript object. */
void snapshots_write(FILE *out, const struct trace *t);

/* Whether r is a block of os_malloc in a snapshot. */
bool is_course_block(const struct trace_record *r);

/* Apply step r of that call to the list. Other records change nothing. */
void list_apply(struct list *list, const struct trace_record *r, uint32_t call, uint64_t meta_size);
/* The list before the first step: that of a preceding snapshot, or empty. */
void list_begin(struct list *list, const struct trace *t);

/* Write the page. Its player starts after first steps. */
void page_write(FILE *out, const struct trace *t, size_t first);
/* Write the picture of the snapshot with the most live bytes. */
void svg_write(FILE *out, const struct trace *t);
/* Write the statistics of all calls, as members of a JavaScript object. */
void calls_write(FILE *out, const struct trace *t);

/* ---- What pages share ---- */

/* The text of a file of page/, or NULL. */
const char *template_part(const char *name, size_t length);

/* Write a page up to the place of its data. Returns the rest. */
const char *template_begin(FILE *out, const char *page);
void template_end(FILE *out, const char *rest);

/*
 * Write untrusted text as a string of JavaScript, max bytes of it at most. No character ends the
 * string or the script.
 */
void write_quoted(FILE *out, const char *text, size_t max);
