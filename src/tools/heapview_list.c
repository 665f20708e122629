// SPDX-License-Identifier: BSD-3-Clause

/* The block list of os_malloc, step by step. */

#include <stdlib.h>
#include <string.h>

#include "heapview.h"

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

static void insert(struct list *list, struct block block)
{
	size_t i = place(list, block.start);

	if (i < list->count && list->blocks[i].start == block.start) {
		list->refused++;
		return;
	}
	if (list->count == list->room) {
		list->room = list->room ? 2 * list->room : 256;
		list->blocks = grow(list->blocks, list->room, sizeof(*list->blocks));
	}
	memmove(&list->blocks[i + 1], &list->blocks[i], (list->count - i) * sizeof(*list->blocks));
	list->blocks[i] = block;
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

static void set_status(struct list *list, uint64_t start, int status, uint32_t call)
{
	struct block *b = find(list, start);

	if (!b)
		return;
	b->status = status;
	b->call = call;
}

static void take_out(struct list *list, uint64_t start)
{
	struct block *b = find(list, start);

	if (!b)
		return;
	list->count--;
	memmove(b, b + 1, (size_t)(list->blocks + list->count - b) * sizeof(*b));
}

void list_apply(struct list *list, const struct trace_record *r, uint32_t call, uint64_t meta_size)
{
	if (r->kind != TRACE_STEP)
		return;
	switch (r->what) {
	case TRACE_STEP_APPEND:
		insert(list, (struct block){.start = r->a, .size = r->b});
		break;
	case TRACE_STEP_SPLIT:
		resize(list, r->a, r->b);
		insert(list, (struct block){.start = r->a + meta_size + r->b, .size = r->c});
		break;
	case TRACE_STEP_COALESCE:
		take_out(list, r->b);
		resize(list, r->a, r->c);
		break;
	case TRACE_STEP_EXPAND:
		resize(list, r->a, r->c);
		break;
	case TRACE_STEP_USE:
		set_status(list, r->a, 1, call);
		break;
	case TRACE_STEP_FREE:
		set_status(list, r->a, 0, 0);
		break;
	case TRACE_STEP_MAPPED:
		insert(list, (struct block){r->a, r->b, 2, call});
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
			insert(list, (struct block){
					     .start = r->a,
					     .size = r->b,
					     .status = r->kind == TRACE_SNAP_MAPPED ? 2 : r->c != 0,
				     });
	}
}
