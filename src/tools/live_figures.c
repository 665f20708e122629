// SPDX-License-Identifier: BSD-3-Clause

/* The figures of a process, from JSON. What is missing is UNKNOWN. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "live.h"

static uint64_t member(const struct json *j, size_t node, const char *name)
{
	return json_number(j, json_member(j, node, name), UNKNOWN);
}

static uint64_t member_or_0(const struct json *j, size_t node, const char *name)
{
	return json_number(j, json_member(j, node, name), 0);
}

static int by_live_bytes(const void *a, const void *b)
{
	const struct size_class *x = a, *y = b;

	if (x->live_bytes != y->live_bytes)
		return x->live_bytes > y->live_bytes ? -1 : 1;
	return x->size < y->size ? -1 : x->size > y->size;
}

static int by_bytes(const void *a, const void *b)
{
	const struct thread_cache *x = a, *y = b;

	if (x->bytes != y->bytes)
		return x->bytes > y->bytes ? -1 : 1;
	return x->id < y->id ? -1 : x->id > y->id;
}

static void read_classes(struct figures *f, const struct json *j, size_t list)
{
	size_t i = json_first(j, list);

	for (; i != JSON_NONE && f->class_count < CLASSES_MAX; i = json_next(j, list, i)) {
		struct size_class *c = &f->classes[f->class_count];

		*c = (struct size_class){.size = member_or_0(j, i, "size"),
					 .live = member_or_0(j, i, "live")};
		c->live_bytes = c->size * c->live;
		c->cached_bytes = c->size * member_or_0(j, i, "cached");
		f->class_count += c->live_bytes || c->cached_bytes;
	}
}

/* The blocks of a heap, with those that have their own mappings. */
static void read_heap(struct figures *f, const struct json *j, const char *heap, const char *name)
{
	size_t node = json_member(j, 0, heap);
	struct size_class c = {.name = name};

	c.live = member_or_0(j, node, "live_blocks") + member_or_0(j, node, "mapped_blocks");
	c.live_bytes = member_or_0(j, node, "live_bytes") + member_or_0(j, node, "mapped_bytes");
	if (c.live_bytes && f->class_count < CLASSES_MAX)
		f->classes[f->class_count++] = c;
}

static void read_threads(struct figures *f, const struct json *j, size_t list)
{
	size_t i = json_first(j, list);

	for (; i != JSON_NONE && f->thread_count < THREADS_MAX; i = json_next(j, list, i)) {
		struct thread_cache *t = &f->threads[f->thread_count++];

		t->id = member_or_0(j, i, "id");
		t->cells = member_or_0(j, i, "cells");
		t->bytes = member_or_0(j, i, "bytes");
	}
	qsort(f->threads, f->thread_count, sizeof(f->threads[0]), by_bytes);
}

/* The process is a number or has a name. Only characters that a terminal may get stay. */
static void read_process(struct figures *f, const struct json *j)
{
	size_t process = json_member(j, 0, "process"), name = json_member(j, 0, "program");
	const struct json_node *n;

	f->pid = json_number(j, process, member(j, 0, "pid"));
	if (name == JSON_NONE)
		name = process;
	if (name == JSON_NONE || j->nodes[name].kind != JSON_STRING)
		return;
	n = &j->nodes[name];
	snprintf(f->program, sizeof(f->program), "%.*s", (int)(n->length < 64 ? n->length : 64),
		 j->text + n->start);
	for (char *c = f->program; *c; c++)
		*c = *c >= ' ' && *c < 127 ? *c : '?';
}

/* Spans and mappings that are cached: all that is not live. */
static uint64_t cached_spans(const struct json *j, size_t libc)
{
	uint64_t all = member_or_0(j, libc, "region_bytes") + member_or_0(j, libc, "ahead_bytes");
	uint64_t live = member_or_0(j, libc, "live_bytes");

	return all > live ? all - live : 0;
}

bool figures_read(struct figures *f, const char *text, size_t length)
{
	struct json j;
	size_t cells, libc;
	bool is_valid = json_parse(&j, text, length) && j.nodes[0].kind == JSON_OBJECT;

	*f = (struct figures){0};
	if (is_valid) {
		cells = json_member(&j, 0, "cells");
		libc = json_member(&j, 0, "libc");
		read_process(f, &j);
		f->time_ms = member_or_0(&j, 0, "time_ms");
		f->live = member(&j, 0, "live_bytes");
		f->held = member(&j, 0, "held_bytes");
		f->resident = member(&j, 0, "resident_bytes");
		f->peak_resident = member(&j, 0, "peak_resident_bytes");
		f->cached = member_or_0(&j, cells, "cached_bytes") + cached_spans(&j, libc);
		f->metadata = member_or_0(&j, cells, "own_bytes");
		f->dirty = member(&j, cells, "dirty_bytes");
		f->calls = member_or_0(&j, cells, "allocs") + member_or_0(&j, cells, "frees") +
			   member_or_0(&j, cells, "reallocs");
		/* Cells are counted only with some options; large objects always are. */
		if (!f->calls)
			f->calls = UNKNOWN;
		else
			f->calls += member_or_0(&j, libc, "allocs") +
				    member_or_0(&j, libc, "frees") +
				    member_or_0(&j, libc, "reallocs");
		read_heap(f, &j, "libc", "above 32K");
		read_heap(f, &j, "course", "os_malloc");
		read_classes(f, &j, json_member(&j, 0, "classes"));
		qsort(f->classes, f->class_count, sizeof(f->classes[0]), by_live_bytes);
		read_threads(f, &j, json_member(&j, 0, "threads"));
		is_valid = f->live != UNKNOWN && f->held != UNKNOWN;
	}
	json_free(&j);
	return is_valid;
}

void history_add(struct history *h, const struct figures *before, const struct figures *now)
{
	const uint64_t values[SERIES] = {now->live, now->held, now->resident, now->calls};
	const uint64_t old[SERIES] = {before->live, before->held, before->resident, before->calls};
	double seconds = (double)(now->time_ms - before->time_ms) / 1000;

	for (int k = 0; k < SERIES; k++) {
		bool is_known = h->count && seconds > 0 && now->time_ms > before->time_ms &&
				values[k] != UNKNOWN && old[k] != UNKNOWN;

		h->rates[k] = is_known ? ((double)values[k] - (double)old[k]) / seconds : 0;
		h->values[k][h->count % HISTORY] = values[k];
	}
	/* Of calls, the rate is what is drawn. */
	h->values[CALLS][h->count % HISTORY] = values[CALLS] == UNKNOWN ? UNKNOWN
					       : h->rates[CALLS] > 0	? (uint64_t)h->rates[CALLS]
									: 0;
	h->count++;
}
