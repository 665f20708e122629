// SPDX-License-Identifier: BSD-3-Clause

/*
 * The page: page/heapview.html, with a JSON object in place of a mark.
 *
 * The page gets at most STEPS_MAX steps, and checkpoints: copies of the whole list after some of
 * them. There are at least CHECKPOINT_COST as many steps between two checkpoints as the list has
 * blocks, so that checkpoints take less space than steps.
 *
 * A step is a number of "ops", which says everything but its values, and its values up to the last
 * that is not 0. Addresses are relative to "base", the start of the heap; null is a null pointer.
 */

#include <stdlib.h>

#include "heapview.h"

#define STEPS_MAX 400000
#define LIST_EVERY 100 /* minimum of steps between checkpoints */
#define CHECKPOINT_COST 4

/* What all pages that show the same trace share. */
struct page {
	FILE *out;
	const struct trace *t;
	struct player player;
	struct list list;
	size_t first, count; /* the steps of the page */
	uint64_t base;
};

/* Which of a, b and c are addresses. */
static const unsigned char step_addresses[] = {
	[TRACE_STEP_SEARCH] = 2,   [TRACE_STEP_REGION] = 3,   [TRACE_STEP_APPEND] = 1,
	[TRACE_STEP_SPLIT] = 1,	   [TRACE_STEP_COALESCE] = 3, [TRACE_STEP_EXPAND] = 1,
	[TRACE_STEP_USE] = 1,	   [TRACE_STEP_FREE] = 1,     [TRACE_STEP_MAPPED] = 1,
	[TRACE_STEP_UNMAPPED] = 1, [TRACE_STEP_COPY] = 3,     [TRACE_STEP_BRK] = 3,
	[TRACE_STEP_MMAP] = 1,	   [TRACE_STEP_MUNMAP] = 1,   [TRACE_STEP_MREMAP] = 3,
	[TRACE_STEP_MADVISE] = 1,
};

static unsigned int addresses_of(const struct trace_record *r)
{
	if (r->kind == TRACE_STEP)
		return r->what < sizeof(step_addresses) ? step_addresses[r->what] : 0;
	switch (r->what) {
	case TRACE_OS_REALLOC:
	case TRACE_REALLOC:
	case TRACE_REALLOCARRAY:
		return 5;
	case TRACE_OS_FREE:
	case TRACE_FREE:
	case TRACE_FREE_SIZED:
	case TRACE_FREE_ALIGNED_SIZED:
	case TRACE_DELETE:
		return 1;
	default:
		return 4;
	}
}

/* The start of the heap: that of the first region, or 0. */
static uint64_t find_base(const struct trace *t)
{
	for (size_t i = 0; i < t->count; i++) {
		const struct trace_record *r = &t->records[i];

		if ((r->kind == TRACE_STEP && r->what == TRACE_STEP_REGION) ||
		    (r->kind == TRACE_SNAP_REGION && r->what == TRACE_HEAP_COURSE))
			return r->a;
	}
	return 0;
}

/* [start, size, status, call, …] */
static void write_list(const struct page *p)
{
	fputc('[', p->out);
	for (size_t i = 0; i < p->list.count; i++) {
		const struct block *b = &p->list.blocks[i];

		fprintf(p->out, "%s%ld,%lu,%d,%u", i ? "," : "", (long)(b->start - p->base),
			(unsigned long)b->size, b->status, b->call);
	}
	fputc(']', p->out);
}

/* Write the number of preceding steps and the list. */
static void write_checkpoint(const struct page *p, size_t step)
{
	fprintf(p->out, "%s[%zu,", step ? ",\n" : "", step);
	write_list(p);
	fputc(']', p->out);
}

static void apply(struct page *p, size_t i)
{
	const struct step *s = &p->player.steps[i];

	list_apply(&p->list, &p->t->records[s->record], s->call, p->t->header->meta_size);
}

static void write_checkpoints(struct page *p)
{
	size_t last = 0;

	fputs("\"lists\":[", p->out);
	write_checkpoint(p, 0);
	for (size_t i = 0; i < p->count; i++) {
		apply(p, p->first + i);
		if (i + 1 - last < LIST_EVERY || i + 1 - last < CHECKPOINT_COST * p->list.count)
			continue;
		last = i + 1;
		write_checkpoint(p, last);
	}
	fputs("],\n\"end\":", p->out);
	write_list(p);
	fputs(",\n", p->out);
}

/* ---- Steps ---- */

/* How many of the values are written. A null pointer counts. */
static unsigned int arity(const struct trace_record *r)
{
	return r->c || (r->kind == TRACE_CALL && addresses_of(r) & 4) ? 3 : r->b ? 2 : 1;
}

static uint64_t op_key(const struct trace_record *r, const struct step *s)
{
	return r->kind | (uint64_t)r->what << 8 | (uint64_t)r->rule << 16 |
	       (uint64_t)(r->flags & TRACE_FAILED) << 24 | (uint64_t)s->is_first << 25 |
	       (uint64_t)arity(r) << 26 | (uint64_t)s->thread << 32;
}

/* [kind, what, rule, failed, first of its call, values, thread] */
static void write_op(FILE *out, uint64_t key, bool is_first)
{
	fprintf(out, "%s[%u,%u,%u,%u,%u,%u,%u]", is_first ? "" : ",", (unsigned int)key & 255,
		(unsigned int)(key >> 8) & 255, (unsigned int)(key >> 16) & 255,
		(unsigned int)(key >> 24) & 1, (unsigned int)(key >> 25) & 1,
		(unsigned int)(key >> 26) & 3, (unsigned int)(key >> 32));
}

static void write_values(const struct page *p, const struct trace_record *r)
{
	uint64_t values[] = {r->a, r->b, r->c};

	for (unsigned int i = 0; i < arity(r); i++) {
		if (!(addresses_of(r) >> i & 1))
			fprintf(p->out, ",%lu", (unsigned long)values[i]);
		else if (values[i])
			fprintf(p->out, ",%ld", (long)(values[i] - p->base));
		else
			fputs(",null", p->out);
	}
}

static void write_steps(const struct page *p)
{
	struct table ops = {.room = 0};
	const struct step *steps = p->player.steps + p->first;

	fputs("\"ops\":[", p->out);
	for (size_t i = 0; i < p->count; i++) {
		uint64_t key = op_key(&p->t->records[steps[i].record], &steps[i]);
		size_t known = ops.count;
		struct entry *e = table_get(&ops, key);

		if (ops.count == known)
			continue;
		e->size = known;
		write_op(p->out, key, known == 0);
	}
	fputs("],\n\"steps\":[", p->out);
	for (size_t i = 0; i < p->count; i++) {
		const struct trace_record *r = &p->t->records[steps[i].record];

		fprintf(p->out, "%s%lu", i ? i % 8 ? "," : ",\n" : "",
			(unsigned long)table_get(&ops, op_key(r, &steps[i]))->size);
		write_values(p, r);
	}
	fputs("],\n", p->out);
	free(ops.entries);
}

/* ---- The page ---- */

static size_t calls_before(const struct page *p)
{
	size_t calls = 0;

	for (size_t i = 0; i < p->first; i++)
		calls += p->player.steps[i].is_first;
	return calls;
}

static void write_player(struct page *p, size_t first)
{
	size_t all = p->player.count;

	p->first = first < all ? first : all;
	p->count = all - p->first < STEPS_MAX ? all - p->first : STEPS_MAX;
	list_begin(&p->list, p->t);
	for (size_t i = 0; i < p->first; i++)
		apply(p, i);
	write_steps(p);
	write_checkpoints(p);
	fprintf(p->out,
		"\"stepCount\":%zu,\"first\":%zu,\"all\":%zu,\"firstCall\":%zu,\"allCalls\":%zu,\n",
		p->count, p->first, all, calls_before(p), p->player.calls);
	fprintf(p->out, "\"base\":%lu,\"refused\":%zu,\n\"threads\":[", (unsigned long)p->base,
		p->list.refused);
	for (size_t i = 0; i < p->player.thread_count; i++)
		fprintf(p->out, "%s%u", i ? "," : "", p->player.threads[i]);
	fputs("],\n", p->out);
}

void page_write(FILE *out, const struct trace *t, size_t first)
{
	const char *rest = template_begin(out, "heapview.html");
	struct page p = {.out = out, .t = t, .base = find_base(t)};

	player_init(&p.player, t);
	fputs("{\n\"program\":", out);
	write_quoted(out, t->header->program, sizeof(t->header->program));
	fputs(",\n\"note\":", out);
	write_quoted(out, t->note, sizeof(t->note));
	fprintf(out, ",\n\"pid\":%u,\"meta\":%u,\"page\":%u,\"records\":%zu,\n", t->header->pid,
		t->header->meta_size, t->header->page_size, t->count);
	calls_write(out, t);
	write_player(&p, first);
	snapshots_write(out, t);
	fputs("\"whole\":true}", out);
	template_end(out, rest);
	free(p.list.blocks);
	player_free(&p.player);
}
