// SPDX-License-Identifier: BSD-3-Clause

/* The last snapshot of a trace, and the block list of os_malloc, step by step. */

#include <stdlib.h>
#include <string.h>

#include "heapview.h"

#define INSIDE_MAX 64 /* concurrent calls with steps; system calls of more are left out */

/* Threads that are inside a call with steps: of os_*, or of malloc if the list serves it. */
struct inside {
	uint32_t threads[INSIDE_MAX];
	size_t count;
	bool is_listed; /* OSMEM_OPTIONS=course */
};

/* Otherwise only realloc and reallocarray have a TRACE_ENTER. */
static bool is_listed(const struct trace *t)
{
	for (size_t i = 0; i < t->count; i++) {
		const struct trace_record *r = &t->records[i];

		if (r->kind == TRACE_ENTER && r->what >= TRACE_MALLOC &&
		    r->what != TRACE_REALLOC && r->what != TRACE_REALLOCARRAY)
			return true;
	}
	return false;
}

static bool is_inside(struct inside *in, uint32_t thread, bool leaves)
{
	for (size_t i = 0; i < in->count; i++) {
		if (in->threads[i] != thread)
			continue;
		if (leaves)
			in->threads[i] = in->threads[--in->count];
		return true;
	}
	return false;
}

static bool is_player_step(struct inside *in, const struct trace_record *r)
{
	bool is_course = in->is_listed || (r->what >= TRACE_OS_MALLOC && r->what <= TRACE_OS_FREE);

	if (r->kind == TRACE_STEP)
		return r->what < TRACE_STEP_BRK || is_inside(in, r->thread, false);
	if (r->kind == TRACE_ENTER && is_course && in->count < INSIDE_MAX)
		in->threads[in->count++] = r->thread;
	if (r->kind == TRACE_CALL && is_course)
		is_inside(in, r->thread, true);
	return is_course && (r->kind == TRACE_ENTER || r->kind == TRACE_CALL);
}

size_t *player_steps(const struct trace *t, size_t *count)
{
	struct inside in = {.is_listed = is_listed(t)};
	size_t *steps = NULL, room = 0;

	*count = 0;
	for (size_t i = 0; i < t->count; i++) {
		if (!is_player_step(&in, &t->records[i]))
			continue;
		if (*count == room) {
			room = room ? 2 * room : 1024;
			steps = grow(steps, room, sizeof(*steps));
		}
		steps[(*count)++] = i;
	}
	return steps;
}

/* The index of the last TRACE_SNAP_BEGIN that has an end, or t->count. */
static size_t last_begin(const struct trace *t)
{
	size_t begin = t->count, candidate = t->count;

	for (size_t i = 0; i < t->count; i++) {
		if (t->records[i].kind == TRACE_SNAP_BEGIN)
			candidate = i;
		if (t->records[i].kind == TRACE_SNAP_END)
			begin = candidate;
	}
	return begin;
}

bool has_snapshot(const struct trace *t)
{
	return last_begin(t) < t->count;
}

/* Records of other threads may be between those of the snapshot. */
struct trace_record *last_snapshot(const struct trace *t, size_t *count)
{
	const struct trace_record *const begin = t->records + last_begin(t);
	const struct trace_record *const end = t->records + t->count, *r;
	struct trace_record *copy;

	*count = 0;
	for (r = begin; r < end && r->kind != TRACE_SNAP_END; r++)
		;
	copy = grow(NULL, (size_t)(r - begin) + 1, sizeof(*copy));
	for (r = begin; r < end && r->kind != TRACE_SNAP_END; r++)
		if (r->kind >= TRACE_SNAP_REGION && r->kind < TRACE_SNAP_KIND_END)
			copy[(*count)++] = *r;
	return copy;
}

bool is_course_block(const struct trace_record *r)
{
	return (r->kind == TRACE_SNAP_BLOCK || r->kind == TRACE_SNAP_MAPPED) &&
	       r->what == TRACE_HEAP_COURSE;
}

/* The index of the first block at or above start. */
static size_t place(const struct list *list, uint64_t start)
{
	size_t low = 0, high = list->count;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (list->blocks[mid].start < start)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static void insert(struct list *list, uint64_t start, uint64_t size, int status)
{
	size_t i = place(list, start);

	if (i < list->count && list->blocks[i].start == start) {
		list->refused++;
		return;
	}
	if (list->count == list->room) {
		list->room = list->room ? 2 * list->room : 256;
		list->blocks = grow(list->blocks, list->room, sizeof(*list->blocks));
	}
	memmove(&list->blocks[i + 1], &list->blocks[i], (list->count - i) * sizeof(*list->blocks));
	list->blocks[i] = (struct block){start, size, status};
	list->count++;
}

/* The block at start. If there is none, count the step as refused and return NULL. */
static struct block *find(struct list *list, uint64_t start)
{
	size_t i = place(list, start);

	if (i < list->count && list->blocks[i].start == start)
		return &list->blocks[i];
	list->refused++;
	return NULL;
}

static void resize(struct list *list, uint64_t start, uint64_t size)
{
	struct block *b = find(list, start);

	if (b)
		b->size = size;
}

static void set_status(struct list *list, uint64_t start, int status)
{
	struct block *b = find(list, start);

	if (b)
		b->status = status;
}

static void take_out(struct list *list, uint64_t start)
{
	struct block *b = find(list, start);

	if (!b)
		return;
	list->count--;
	memmove(b, b + 1, (size_t)(list->blocks + list->count - b) * sizeof(*b));
}

void list_apply(struct list *list, const struct trace_record *r, uint64_t meta_size)
{
	if (r->kind != TRACE_STEP)
		return;
	switch (r->what) {
	case TRACE_STEP_APPEND:
		insert(list, r->a, r->b, 0);
		break;
	case TRACE_STEP_SPLIT:
		resize(list, r->a, r->b);
		insert(list, r->a + meta_size + r->b, r->c, 0);
		break;
	case TRACE_STEP_COALESCE:
		take_out(list, r->b);
		resize(list, r->a, r->c);
		break;
	case TRACE_STEP_EXPAND:
		resize(list, r->a, r->c);
		break;
	case TRACE_STEP_USE:
		set_status(list, r->a, 1);
		break;
	case TRACE_STEP_FREE:
		set_status(list, r->a, 0);
		break;
	case TRACE_STEP_MAPPED:
		insert(list, r->a, r->b, 2);
		break;
	case TRACE_STEP_UNMAPPED:
		take_out(list, r->a);
		break;
	default:
		break;
	}
}

void list_begin(struct list *list, const struct trace *t)
{
	for (size_t i = 0; i < t->count; i++) {
		const struct trace_record *r = &t->records[i];

		/* System calls may precede the snapshot. */
		if (r->kind == TRACE_STEP && r->what < TRACE_STEP_BRK)
			break;
		if (r->kind == TRACE_SNAP_BEGIN)
			list->count = 0;
		if (is_course_block(r))
			insert(list, r->a, r->b, r->kind == TRACE_SNAP_MAPPED ? 2 : r->c ? 1 : 0);
	}
}
