// SPDX-License-Identifier: BSD-3-Clause

/*
 * A profile as text: the functions with the most memory, or with the largest differences, and the
 * call stack with the most.
 */

#include <stdlib.h>

#include "heapview.h"
#include "profile.h"

#define ROWS_MAX 40

/* Format bytes in human units, or objects as they are; sign is "", "+" or "-". */
static void amount(char text[32], uint64_t value, enum measure k, const char *sign)
{
	static const char units[] = "BKMGTPE";
	double n = (double)value;
	int unit = 0;

	if (k == LIVE_OBJECTS || k == TOTAL_OBJECTS) {
		snprintf(text, 32, "%s%lu", sign, (unsigned long)value);
		return;
	}
	for (; n >= 1024; unit++)
		n /= 1024;
	snprintf(text, 32, unit ? "%s%.1f %ciB" : "%s%.0f %c", sign, n, units[unit]);
}

void amount_of(char text[32], const struct tree *t, const uint64_t values[2][MEASURES],
	       enum measure k)
{
	if (!t->is_diff)
		amount(text, values[NEW][k], k, "");
	else if (values[NEW][k] >= values[OLD][k])
		amount(text, values[NEW][k] - values[OLD][k], k, "+");
	else
		amount(text, values[OLD][k] - values[NEW][k], k, "-");
}

static void print_sums(FILE *out, const struct tree *t)
{
	static const char *const names[] = {"live objects", "live", "allocated objects",
					    "allocated"};
	const struct node *root = &t->nodes[0];
	char text[32], old[32];

	for (int k = 0; k < MEASURES; k++) {
		if (!t->has[k])
			continue;
		amount(text, root->total[NEW][k], (enum measure)k, "");
		amount(old, root->total[OLD][k], (enum measure)k, "");
		if (t->is_diff)
			fprintf(out, "# %s: %s, was %s\n", names[k], text, old);
		else
			fprintf(out, "# %s: %s\n", names[k], text);
	}
}

static double percent(const struct tree *t, const struct name *n, enum measure k)
{
	uint64_t all = t->nodes[0].total[NEW][k];

	return all ? 100.0 * (double)n->total[NEW][k] / (double)all : 0;
}

/* Control characters would reach the terminal. */
static void print_name(FILE *out, const char *text)
{
	for (; *text; text++)
		fputc((unsigned char)*text < ' ' || *text == 127 ? '?' : *text, out);
}

static void print_function(FILE *out, const struct name *n)
{
	print_name(out, n->brief);
	if (*n->module) {
		fputs("  ", out);
		print_name(out, n->module);
	}
}

static void print_row(FILE *out, const struct tree *t, const struct name *n, enum measure k)
{
	char self[32], total[32];

	amount_of(self, t, n->self, k);
	amount_of(total, t, n->total, k);
	fprintf(out, "%12s %12s ", self, total);
	if (!t->is_diff)
		fprintf(out, "%5.1f %%  ", percent(t, n, k));
	print_function(out, n);
	fputc('\n', out);
}

static void print_largest(FILE *out, const struct tree *t, enum measure k)
{
	char text[32];

	amount_of(text, t, t->largest_values, k);
	fprintf(out, "# %s %s, the most of one call stack:\n", text,
		k == LIVE_BYTES ? "live" : "allocated");
	for (size_t i = 0; i < t->largest_depth; i++) {
		const struct call *c = &t->largest[i];

		fputs("#   ", out);
		print_function(out, &t->names[c->name]);
		if (c->has_address)
			fprintf(out, "+%#lx", (unsigned long)c->address);
		fputc('\n', out);
	}
}

/* Whether there is something to say about the function. */
static bool counts(const struct tree *t, const struct name *n, enum measure k)
{
	if (t->is_diff)
		return n->self[NEW][k] != n->self[OLD][k] || n->total[NEW][k] != n->total[OLD][k];
	return n->total[NEW][k] > 0;
}

void profile_text(FILE *out, const struct tree *t)
{
	enum measure k = tree_measure(t);
	size_t count, rows = 0, more = 0;
	uint32_t *names = tree_ranking(t, &count);

	print_sums(out, t);
	if (!t->samples[NEW] && !t->samples[OLD])
		fputs("# no allocation was sampled\n", out);
	for (size_t i = 0; i < count; i++) {
		const struct name *n = &t->names[names[i]];

		if (!counts(t, n, k))
			continue;
		if (rows == ROWS_MAX) {
			more++;
			continue;
		}
		if (!rows++)
			fprintf(out, "%12s %12s %s%s\n", "self", "with calls",
				t->is_diff ? "" : "         ",
				k == LIVE_BYTES || k == LIVE_OBJECTS ? "live, by function"
								     : "allocated, by function");
		print_row(out, t, n, k);
	}
	if (more)
		fprintf(out, "# and %zu more functions\n", more);
	if (t->largest && !t->is_diff && (k == LIVE_BYTES || k == TOTAL_BYTES))
		print_largest(out, t, k);
	if (t->is_diff && !rows)
		fputs("# nothing differs\n", out);
	free(names);
}
