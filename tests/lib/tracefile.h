/* SPDX-License-Identifier: BSD-3-Clause */

/* Reading trace files (src/trace_format.h), for tests. */

#pragma once

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "harness.h"
#include "trace/trace_format.h"

struct tracefile {
	const struct trace_header *header;
	const struct trace_record *records;
	size_t count; /* of records, finished or not */
	size_t bytes; /* of the file */
};

/* Map the file at path, and check its header. It may still be written to. */
static inline struct tracefile tracefile_open(const char *path)
{
	struct tracefile t;
	struct stat st;
	int fd = open(path, O_RDONLY);
	uint64_t room;

	CHECK_MSG(fd >= 0, "cannot open %s", path);
	CHECK(fstat(fd, &st) == 0 && st.st_size >= TRACE_HEADER_SIZE);
	t.bytes = (size_t)st.st_size;
	t.header = mmap(NULL, t.bytes, PROT_READ, MAP_SHARED, fd, 0);
	CHECK(t.header != MAP_FAILED);
	close(fd);
	CHECK(memcmp(t.header->magic, TRACE_MAGIC, 8) == 0 && t.header->version == TRACE_VERSION);
	CHECK(t.header->record_size == sizeof(struct trace_record) && t.header->meta_size == 32);
	t.records = (const void *)((const char *)t.header + t.header->header_size);
	room = (t.bytes - t.header->header_size) / sizeof(struct trace_record);
	t.count = t.header->next < t.header->capacity ? t.header->next : t.header->capacity;
	if (t.count > room)
		t.count = room;
	return t;
}

static inline void tracefile_close(struct tracefile *t)
{
	munmap((void *)(uintptr_t)t->header, t->bytes);
}

/* How many records of that kind and what there are. */
static inline size_t tracefile_count(const struct tracefile *t, unsigned int kind,
				     unsigned int what)
{
	size_t n = 0;

	for (size_t i = 0; i < t->count; i++)
		n += t->records[i].kind == kind && t->records[i].what == what;
	return n;
}

/* A list of blocks, as the steps of a trace make it. */
struct replay_block {
	uint64_t start, size;
	int status;
};

struct replay {
	struct replay_block *blocks; /* in the order of addresses */
	size_t count, room;
};

static inline void replay_begin(struct replay *r, size_t room)
{
	r->room = room;
	r->count = 0;
	r->blocks = mmap(NULL, room * sizeof(*r->blocks), PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(r->blocks != MAP_FAILED);
}

/* The place of the first block from start on. */
static inline size_t replay_place(const struct replay *r, uint64_t start)
{
	size_t low = 0, high = r->count;

	while (low < high) {
		size_t mid = (low + high) / 2;

		if (r->blocks[mid].start < start)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static inline struct replay_block *replay_find(const struct replay *r, uint64_t start)
{
	size_t i = replay_place(r, start);

	CHECK_MSG(i < r->count && r->blocks[i].start == start, "no block at %#lx",
		  (unsigned long)start);
	return &r->blocks[i];
}

static inline void replay_insert(struct replay *r, uint64_t start, uint64_t size, int status)
{
	size_t i = replay_place(r, start);

	CHECK(r->count < r->room);
	CHECK(i == r->count || r->blocks[i].start >= start + 32 + size);
	memmove(&r->blocks[i + 1], &r->blocks[i], (r->count - i) * sizeof(*r->blocks));
	r->blocks[i] = (struct replay_block){start, size, status};
	r->count++;
}

static inline void replay_remove(struct replay *r, struct replay_block *b)
{
	memmove(b, b + 1, (size_t)(r->blocks + r->count - (b + 1)) * sizeof(*b));
	r->count--;
}

/* Rules 10 and 11, asked of the list as the trace has it. */
static inline void replay_check_search(const struct replay *r, const struct trace_record *s)
{
	const struct replay_block *best = NULL;

	for (size_t i = 0; i < r->count; i++) {
		const struct replay_block *b = &r->blocks[i];

		if (b->status != 0)
			continue;
		CHECK_MSG(i + 1 == r->count || b[1].status != 0 ||
				  b[1].start != b->start + 32 + b->size,
			  "two free neighbours at a search");
		if (b->size >= s->a && (!best || b->size < best->size))
			best = b;
	}
	CHECK_MSG(s->b == (best ? best->start : 0) && s->c == (best ? best->size : 0),
		  "not the best fit for %lu", (unsigned long)s->a);
}

/* Do what step s did; everything it says about what was before must be so. */
static inline void replay_step(struct replay *r, const struct trace_record *s)
{
	struct replay_block *b;

	switch (s->what) {
	case TRACE_STEP_SEARCH:
		replay_check_search(r, s);
		break;
	case TRACE_STEP_APPEND:
		replay_insert(r, s->a, s->b, 0);
		break;
	case TRACE_STEP_SPLIT:
		b = replay_find(r, s->a);
		CHECK(b->size == s->b + 32 + s->c);
		b->size = s->b;
		replay_insert(r, s->a + 32 + s->b, s->c, 0);
		break;
	case TRACE_STEP_COALESCE:
		b = replay_find(r, s->b);
		CHECK(b->status == 0 && b > r->blocks && b[-1].start == s->a);
		CHECK(b[-1].start + 32 + b[-1].size == s->b && b[-1].size + 32 + b->size == s->c);
		b[-1].size = s->c;
		replay_remove(r, b);
		break;
	case TRACE_STEP_EXPAND:
		b = replay_find(r, s->a);
		CHECK(b->size == s->b && s->c > s->b);
		b->size = s->c;
		break;
	case TRACE_STEP_USE:
	case TRACE_STEP_FREE:
		b = replay_find(r, s->a);
		CHECK(b->size == s->b && b->status == (s->what == TRACE_STEP_FREE));
		b->status = s->what == TRACE_STEP_USE;
		break;
	case TRACE_STEP_MAPPED:
		replay_insert(r, s->a, s->b, 2);
		break;
	case TRACE_STEP_UNMAPPED:
		b = replay_find(r, s->a);
		CHECK(b->size == s->b && b->status == 2);
		replay_remove(r, b);
		break;
	default:
		break;
	}
}

/* Replay all steps of t from record from on. */
static inline void replay_all(struct replay *r, const struct tracefile *t, size_t from)
{
	for (size_t i = from; i < t->count; i++)
		if (t->records[i].kind == TRACE_STEP)
			replay_step(r, &t->records[i]);
}
