// SPDX-License-Identifier: BSD-3-Clause

/*
 * The page of a profile: page/profile.html, with a JSON object in place of a mark. Nodes are in
 * preorder, with their depth. Only names that are used are in it.
 */

#include <stdlib.h>
#include <string.h>

#include "heapview.h"
#include "profile.h"

#define ROWS_MAX 1000 /* of the table */
#define NOTES_MAX 20
#define NAME_MAX_BYTES 2000

/* Numbers of names in the page, by their index in the tree; 0 is not used yet. */
struct numbers {
	uint32_t *of, *order;
	uint32_t count;
};

static uint32_t number_of(struct numbers *n, uint32_t name)
{
	if (!n->of[name]) {
		n->order[n->count] = name;
		n->of[name] = ++n->count;
	}
	return n->of[name] - 1;
}

/* Write ",value" for each value up to the last that is not 0. */
static void write_values(FILE *out, const uint64_t *values, size_t count)
{
	while (count && !values[count - 1])
		count--;
	for (size_t i = 0; i < count; i++)
		fprintf(out, ",%lu", (unsigned long)values[i]);
}

/* [name, depth, folded, 4 new values of its own, 4 old ones] */
static void write_node(FILE *out, const struct node *n, uint32_t name, size_t depth)
{
	uint64_t values[1 + 2 * MEASURES] = {n->folded};

	memcpy(values + 1, n->self[NEW], sizeof(n->self[NEW]));
	memcpy(values + 1 + MEASURES, n->self[OLD], sizeof(n->self[OLD]));
	fprintf(out, "%s[%u,%zu", depth ? ",\n" : "", name, depth);
	write_values(out, values, 1 + 2 * MEASURES);
	fputc(']', out);
}

static void write_nodes(FILE *out, const struct tree *t, struct numbers *numbers)
{
	size_t depth = 0;
	uint32_t i = 0;

	fputs("\"nodes\":[", out);
	do {
		const struct node *n = &t->nodes[i];

		write_node(out, n, number_of(numbers, n->name), depth);
		i = tree_next(t, i, &depth);
	} while (i);
	fputs("],\n", out);
}

/* [name, 4 new values of its own, 4 new ones with those that it calls; the same of old ones] */
static void write_table(FILE *out, const struct tree *t, struct numbers *numbers)
{
	size_t count;
	uint32_t *names = tree_ranking(t, &count);

	fputs("\"table\":[", out);
	for (size_t i = 0; i < count && i < ROWS_MAX; i++) {
		const struct name *n = &t->names[names[i]];
		uint64_t values[4 * MEASURES];

		memcpy(values, n->self[NEW], sizeof(n->self[NEW]));
		memcpy(values + MEASURES, n->total[NEW], sizeof(n->total[NEW]));
		memcpy(values + 2 * MEASURES, n->self[OLD], sizeof(n->self[OLD]));
		memcpy(values + 3 * MEASURES, n->total[OLD], sizeof(n->total[OLD]));
		fprintf(out, "%s[%u", i ? ",\n" : "", number_of(numbers, names[i]));
		write_values(out, values, 4 * MEASURES);
		fputc(']', out);
	}
	fprintf(out, "],\n\"functions\":%zu,\n", count);
	free(names);
}

/* [brief, module] or [brief, module, whole name] */
static void write_names(FILE *out, const struct tree *t, const struct numbers *numbers)
{
	fputs("\"names\":[", out);
	for (uint32_t i = 0; i < numbers->count; i++) {
		const struct name *n = &t->names[numbers->order[i]];

		fputs(i ? ",\n[" : "[", out);
		write_quoted(out, n->brief, NAME_MAX_BYTES);
		fputc(',', out);
		write_quoted(out, n->module, NAME_MAX_BYTES);
		if (strcmp(n->brief, n->text) != 0) {
			fputc(',', out);
			write_quoted(out, n->text, NAME_MAX_BYTES);
		}
		fputc(']', out);
	}
	fputs("],\n", out);
}

static void write_facts(FILE *out, const struct tree *t, const char *title)
{
	fputs("\"title\":", out);
	write_quoted(out, title, NAME_MAX_BYTES);
	fputs(",\n\"notes\":[", out);
	for (size_t i = 0; i < t->note_count && i < NOTES_MAX; i++) {
		fputs(i ? "," : "", out);
		write_quoted(out, t->notes[i], NAME_MAX_BYTES);
	}
	fprintf(out, "],\n\"noteCount\":%zu,\"isDiff\":%s,\"measure\":%d,\n", t->note_count,
		t->is_diff ? "true" : "false", tree_measure(t));
	fprintf(out, "\"has\":[%d,%d,%d,%d],\"samples\":[%zu,%zu],\"period\":%lu,\n", t->has[0],
		t->has[1], t->has[2], t->has[3], t->samples[NEW], t->samples[OLD],
		(unsigned long)t->period);
	fprintf(out, "\"time\":[%lu,%lu],\"duration\":[%lu,%lu],\n",
		(unsigned long)(t->time_ns[NEW] / 1000000),
		(unsigned long)(t->time_ns[OLD] / 1000000),
		(unsigned long)(t->duration_ns[NEW] / 1000000),
		(unsigned long)(t->duration_ns[OLD] / 1000000));
}

void profile_page(FILE *out, const struct tree *t, const char *title)
{
	const char *rest = template_begin(out, "profile.html");
	struct numbers numbers = {.count = 0};

	numbers.of = grow(NULL, t->name_count, sizeof(*numbers.of));
	memset(numbers.of, 0, t->name_count * sizeof(*numbers.of));
	numbers.order = grow(NULL, t->name_count, sizeof(*numbers.order));
	fputs("{\n", out);
	write_facts(out, t, title);
	write_nodes(out, t, &numbers);
	write_table(out, t, &numbers);
	write_names(out, t, &numbers);
	fputs("\"whole\":true}", out);
	template_end(out, rest);
	free(numbers.of);
	free(numbers.order);
}
