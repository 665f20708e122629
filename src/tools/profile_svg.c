// SPDX-License-Identifier: BSD-3-Clause

/*
 * A profile as a picture: a flame graph in SVG. The outermost functions are on top. Frames are as
 * wide as their memory, or, of two profiles, as the sum of the differences below. Titles show the
 * figures to pointers and screen readers. The colours follow the reader's preference, light or
 * dark.
 */

#include <stdlib.h>
#include <string.h>

#include "heapview.h"
#include "profile.h"

#define WIDTH 1200.0
#define LEFT 10.0
#define TOP 34.0
#define ROW 18.0
#define ROWS_MAX 60
#define WIDTH_MIN 0.6 /* thinner frames are not drawn */
#define LETTER 7.0 /* average width */
#define HUES 6

struct picture {
	FILE *out;
	const struct tree *t;
	enum measure measure;
	uint64_t *sizes; /* of nodes */
	const char *modules[HUES];
};

static const char style[] =
	"text { font: 12px system-ui, sans-serif; fill: var(--text); }\n"
	".back { fill: var(--back); } rect { fill: var(--unused); }\n"
	".c0 { fill: var(--hue-0); } .c1 { fill: var(--hue-1); } .c2 { fill: var(--hue-2); }\n"
	".c3 { fill: var(--hue-3); } .c4 { fill: var(--hue-4); } .c5 { fill: var(--hue-5); }\n"
	".more { fill: var(--grown); } .less { fill: var(--shrunk); }\n";

static void put_escaped(FILE *out, const char *text, size_t max)
{
	for (size_t i = 0; i < max && text[i]; i++) {
		unsigned char c = (unsigned char)text[i];

		if (c == '<' || c == '>' || c == '&' || c == '"')
			fprintf(out, "&#%d;", c);
		else
			fputc(c < ' ' || c > 126 ? '?' : c, out);
	}
}

/* The sums of differences below, or the values. Children follow their parents. */
static void find_sizes(struct picture *p)
{
	const struct tree *t = p->t;

	p->sizes = grow(NULL, t->node_count, sizeof(*p->sizes));
	memset(p->sizes, 0, t->node_count * sizeof(*p->sizes));
	for (size_t i = t->node_count; i-- > 0;) {
		const struct node *n = &t->nodes[i];
		uint64_t new = n->self[NEW][p->measure], old = n->self[OLD][p->measure];

		if (!t->is_diff) {
			p->sizes[i] = n->total[NEW][p->measure];
			continue;
		}
		p->sizes[i] += new > old ? new - old : old - new;
		if (i)
			p->sizes[n->parent] += p->sizes[i];
	}
}

/* The first modules in the order of the table have colours. */
static void find_modules(struct picture *p)
{
	size_t count, found = 0;
	uint32_t *names = tree_ranking(p->t, &count);

	for (size_t i = 0; i < count && found < HUES; i++) {
		const char *module = p->t->names[names[i]].module;
		size_t k = 0;

		while (k < found && strcmp(p->modules[k], module) != 0)
			k++;
		if (k == found && *module)
			p->modules[found++] = module;
	}
	free(names);
}

static void put_class(const struct picture *p, const struct node *n)
{
	uint64_t new = n->total[NEW][p->measure], old = n->total[OLD][p->measure];

	if (p->t->is_diff) {
		if (new != old)
			fputs(new > old ? " class=\"more\"" : " class=\"less\"", p->out);
		return;
	}
	for (int k = 0; k < HUES && p->modules[k]; k++)
		if (strcmp(p->modules[k], p->t->names[n->name].module) == 0)
			fprintf(p->out, " class=\"c%d\"", k);
}

static void put_frame(const struct picture *p, const struct node *n, double x, double width,
		      size_t depth)
{
	const struct name *name = &p->t->names[n->name];
	double y = TOP + ROW * (double)depth;
	char value[32];

	amount_of(value, p->t, n->total, p->measure);
	fprintf(p->out, "<g><title>");
	put_escaped(p->out, name->text, 400);
	fprintf(p->out, ": %s</title><rect", value);
	put_class(p, n);
	fprintf(p->out, " x=\"%.2f\" y=\"%.0f\" width=\"%.2f\" height=\"%.0f\"/>", x, y,
		width > 2 ? width - 0.7 : width, ROW - 1);
	if (width > 5 * LETTER) {
		fprintf(p->out, "<text x=\"%.2f\" y=\"%.0f\">", x + 3, y + 13);
		put_escaped(p->out, name->brief, (size_t)((width - 6) / LETTER));
		fputs("</text>", p->out);
	}
	fputs("</g>\n", p->out);
}

static int by_size(const void *a, const void *b, void *arg)
{
	const uint64_t *sizes = arg, x = sizes[*(const uint32_t *)a],
		       y = sizes[*(const uint32_t *)b];

	if (x != y)
		return x > y ? -1 : 1;
	return *(const uint32_t *)a < *(const uint32_t *)b ? -1 : 1;
}

/* Draw a node and what it calls. Returns the rows that it takes; draws nothing if out is NULL. */
static size_t draw(const struct picture *p, uint32_t i, double x, double width, size_t depth)
{
	size_t rows = depth + 1, count = 0;
	uint32_t *children;

	if (p->out)
		put_frame(p, &p->t->nodes[i], x, width, depth);
	for (uint32_t k = p->t->nodes[i].first; k; k = p->t->nodes[k].next)
		count++;
	if (!count || depth + 1 == ROWS_MAX)
		return rows;
	children = grow(NULL, count, sizeof(*children));
	count = 0;
	for (uint32_t k = p->t->nodes[i].first; k; k = p->t->nodes[k].next)
		children[count++] = k;
	qsort_r(children, count, sizeof(*children), by_size, p->sizes);
	for (size_t k = 0; k < count && p->sizes[i]; k++) {
		double part = width * (double)p->sizes[children[k]] / (double)p->sizes[i];
		size_t deepest = part < WIDTH_MIN ? 0 : draw(p, children[k], x, part, depth + 1);

		rows = deepest > rows ? deepest : rows;
		x += part;
	}
	free(children);
	return rows;
}

void profile_svg(FILE *out, const struct tree *t, const char *title)
{
	static const char *const names[] = {"live objects", "live bytes", "allocated objects",
					    "allocated bytes"};
	struct picture p = {.t = t, .measure = tree_measure(t)};
	double height;
	char value[32];

	find_sizes(&p);
	find_modules(&p);
	height = TOP + ROW * (double)draw(&p, 0, LEFT, WIDTH - 2 * LEFT, 0) + 10;
	p.out = out;
	fprintf(out,
		"<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %.0f %.0f\" "
		"role=\"img\">\n<style>\n",
		WIDTH, height);
	palette_write(out, style);
	fputs("</style>\n", out);
	fprintf(out, "<rect class=\"back\" width=\"%.0f\" height=\"%.0f\"/>\n", WIDTH, height);
	fprintf(out, "<text x=\"%.0f\" y=\"20\" style=\"font-size: 14px; font-weight: 600\">",
		LEFT);
	put_escaped(out, title, 150);
	amount_of(value, t, t->nodes[0].total, p.measure);
	fprintf(out, ": %s, %s</text>\n", names[p.measure], value);
	draw(&p, 0, LEFT, WIDTH - 2 * LEFT, 0);
	fputs("</svg>\n", out);
	free(p.sizes);
}
