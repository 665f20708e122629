// SPDX-License-Identifier: BSD-3-Clause

/* A trace or a map: its header, and its block list as text. */

#include <stdlib.h>
#include <string.h>

#include "heapview.h"

bool trace_is(const struct file *f)
{
	const struct trace_header *h = f->bytes;

	return f->size >= sizeof(*h) && memcmp(h->magic, TRACE_MAGIC, sizeof(h->magic)) == 0;
}

void trace_open(struct trace *t, const struct file *f, const char *path)
{
	const struct trace_header *h = f->bytes;
	size_t room;

	if (h->version != TRACE_VERSION)
		die("%s: version %u of the format; this heapview supports version %d", path,
		    h->version, TRACE_VERSION);
	if (h->record_size != sizeof(struct trace_record) || h->header_size < sizeof(*h) ||
	    h->header_size % 8)
		die("%s: invalid header", path);
	t->header = h;
	t->records = (const void *)((const char *)h + h->header_size);
	t->count = h->next < h->capacity ? h->next : h->capacity;
	room = f->size > h->header_size ? (f->size - h->header_size) / sizeof(*t->records) : 0;
	t->note[0] = '\0';
	if (t->count > room) {
		snprintf(t->note, sizeof(t->note), "truncated: %zu of %zu records", room, t->count);
		t->count = room;
	} else if (h->dropped) {
		snprintf(t->note, sizeof(t->note), "incomplete: %lu records were dropped",
			 (unsigned long)h->dropped);
	}
}

static const char *s_of(uint64_t n)
{
	return n == 1 ? "" : "s";
}

static void print_list(const struct trace *t, const struct list *list)
{
	static const char *const names[] = {"free", "used", "mapped"};
	uint64_t bytes[3] = {0};
	size_t count[3] = {0};

	for (size_t i = 0; i < list->count; i++) {
		const struct block *b = &list->blocks[i];

		printf("%#14lx %12lu %s\n", (unsigned long)b->start, (unsigned long)b->size,
		       names[b->status]);
		bytes[b->status] += b->size;
		count[b->status]++;
	}
	for (int i = 0; i < 3; i++)
		printf("# %s: %zu block%s, %lu byte%s\n", names[i], count[i], s_of(count[i]),
		       (unsigned long)bytes[i], s_of(bytes[i]));
	if (list->refused)
		printf("# %zu step%s no block: the trace is incomplete\n", list->refused,
		       list->refused == 1 ? " matches" : "s match");
	printf("# headers: %u bytes each\n", t->header->meta_size);
}

void print_text(const struct trace *t, const char *path, size_t step)
{
	struct list list = {0};
	struct player p;

	player_init(&p, t);
	if (step != SIZE_MAX && step > p.count)
		die("%s: has only %zu step%s", path, p.count, s_of(p.count));
	list_begin(&list, t);
	for (size_t i = 0; i < step && i < p.count; i++)
		list_apply(&list, &t->records[p.steps[i].record], p.steps[i].call,
			   t->header->meta_size);
	print_list(t, &list);
	free(list.blocks);
	player_free(&p);
}
