// SPDX-License-Identifier: BSD-3-Clause

/*
 * The page: heapview.html, with the object DATA in place of a mark.
 *
 * The page gets at most STEPS_MAX steps, and checkpoints: copies of the whole list after some of
 * them. There are at least as many steps between two checkpoints as the list has blocks, so that
 * checkpoints take no more space than steps.
 */

#include <stdlib.h>

#include "heapview.h"

#define STEPS_MAX 20000
#define LIST_EVERY 100 /* minimum of steps between checkpoints */
#define MAP_MAX 20000 /* records of the snapshot */

extern const char page_html[];

__asm__(".pushsection .rodata\n"
	"page_html: .incbin \"heapview.html\"\n"
	".byte 0\n"
	".popsection");

static void write_list(FILE *out, const struct list *list)
{
	fputc('[', out);
	for (size_t i = 0; i < list->count; i++)
		fprintf(out, "%s[%lu,%lu,%d]", i ? "," : "", (unsigned long)list->blocks[i].start,
			(unsigned long)list->blocks[i].size, list->blocks[i].status);
	fputc(']', out);
}

/* Write the number of preceding steps and the list. */
static void write_checkpoint(FILE *out, size_t step, const struct list *list)
{
	fprintf(out, "%s[%zu,", step ? ",\n" : "", step);
	write_list(out, list);
	fputc(']', out);
}

static void write_checkpoints(FILE *out, const struct trace *t, struct list *list,
			      const size_t *steps, size_t count)
{
	size_t last = 0;

	fputs("\"lists\":[", out);
	write_checkpoint(out, 0, list);
	for (size_t i = 0; i < count; i++) {
		list_apply(list, &t->records[steps[i]], t->header->meta_size);
		if (i + 1 - last < LIST_EVERY || i + 1 - last < list->count)
			continue;
		last = i + 1;
		write_checkpoint(out, last, list);
	}
	fputs("],\n\"end\":", out);
	write_list(out, list);
	fputs(",\n", out);
}

static void write_steps(FILE *out, const struct trace *t, const size_t *steps, size_t count)
{
	fputs("\"steps\":[", out);
	for (size_t i = 0; i < count; i++) {
		const struct trace_record *r = &t->records[steps[i]];

		fprintf(out, "%s[%d,%d,%d,%d,%lu,%lu,%lu]", i ? ",\n" : "", r->kind, r->what,
			r->rule, r->flags, (unsigned long)r->a, (unsigned long)r->b,
			(unsigned long)r->c);
	}
	fputs("],\n", out);
}

static void write_player(FILE *out, const struct trace *t, size_t first)
{
	struct list list = {0};
	size_t all, count, *steps = player_steps(t, &all);

	if (first > all)
		first = all;
	count = all - first < STEPS_MAX ? all - first : STEPS_MAX;
	list_begin(&list, t);
	for (size_t i = 0; i < first; i++)
		list_apply(&list, &t->records[steps[i]], t->header->meta_size);
	write_steps(out, t, steps + first, count);
	write_checkpoints(out, t, &list, steps + first, count);
	fprintf(out, "\"first\":%zu,\"all\":%zu,\"refused\":%zu,\n", first, all, list.refused);
	free(list.blocks);
	free(steps);
}

/* The last snapshot: kind, heap, a, and b and c as hexadecimal strings. */
static void write_snapshot(FILE *out, const struct trace *t)
{
	size_t count;
	struct trace_record *records = last_snapshot(t, &count);

	fputs("\"snapshot\":[", out);
	for (size_t i = 0; i < count && i < MAP_MAX; i++) {
		const struct trace_record *r = &records[i];

		fprintf(out, "%s[%d,%d,%lu,\"%lx\",\"%lx\"]", i ? ",\n" : "", r->kind, r->what,
			(unsigned long)r->a, (unsigned long)r->b, (unsigned long)r->c);
	}
	fputs("],\n", out);
	free(records);
}

void page_write(FILE *out, const struct trace *t, size_t first)
{
	const char *rest = template_begin(out, page_html);

	fputs("{\n\"program\":", out);
	write_quoted(out, t->header->program, sizeof(t->header->program));
	fputs(",\n\"note\":", out);
	write_quoted(out, t->note, sizeof(t->note));
	fputs(",\n", out);
	fprintf(out, "\"pid\":%u,\"meta\":%u,\"page\":%u,\"records\":%zu,\n", t->header->pid,
		t->header->meta_size, t->header->page_size, t->count);
	calls_write(out, t);
	write_player(out, t, first);
	write_snapshot(out, t);
	fputs("\"whole\":true}", out);
	fputs(rest, out);
}
