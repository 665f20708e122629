// SPDX-License-Identifier: BSD-3-Clause

/*
 * The snapshots of a trace or map. The page gets at most SNAPSHOTS_MAX of them with RECORDS_MAX
 * records together: the last and the peak get a third each, others share the rest.
 */

#include <stdlib.h>

#include "heapview.h"

#define SNAPSHOTS_MAX 64
#define RECORDS_MAX 60000

static void remember_figures(struct trace_record *figures, const struct trace_record *r)
{
	if (r->kind == TRACE_FIGURES && r->what < 3)
		figures[r->what] = *r;
}

/* Snapshots of several threads do not overlap. */
struct snapshot *snapshots_find(const struct trace *t, size_t *count)
{
	struct trace_record figures[3] = {{.kind = 0}};
	struct snapshot *all = NULL;
	size_t begin = t->count;

	*count = 0;
	for (size_t i = 0; i < t->count; i++) {
		remember_figures(figures, &t->records[i]);
		if (t->records[i].kind == TRACE_SNAP_BEGIN)
			begin = i;
		if (t->records[i].kind != TRACE_SNAP_END || begin == t->count)
			continue;
		all = grow(all, *count + 1, sizeof(*all));
		all[*count] = (struct snapshot){.begin = begin, .end = i};
		for (int k = 0; k < 3; k++)
			all[*count].figures[k] = figures[k];
		++*count;
		begin = t->count;
	}
	return all;
}

static bool is_of(const struct trace *t, const struct snapshot *s, const struct trace_record *r)
{
	return r->kind >= TRACE_SNAP_REGION && r->kind < TRACE_SNAP_KIND_END &&
	       r->thread == t->records[s->begin].thread;
}

struct trace_record *snapshot_records(const struct trace *t, const struct snapshot *s,
				      size_t *count)
{
	struct trace_record *copy = grow(NULL, s->end - s->begin, sizeof(*copy));

	*count = 0;
	for (size_t i = s->begin; i < s->end; i++)
		if (is_of(t, s, &t->records[i]))
			copy[(*count)++] = t->records[i];
	return copy;
}

size_t snapshots_peak(const struct snapshot *snapshots, size_t count)
{
	size_t peak = 0;

	for (size_t i = 1; i < count; i++)
		if (snapshots[i].figures[0].a >= snapshots[peak].figures[0].a)
			peak = i;
	return peak;
}

/* [kind, heap, a, b, c]; b and c are hexadecimal: they may have 64 bits. */
static size_t write_records(FILE *out, const struct trace *t, const struct snapshot *s, size_t max)
{
	size_t count;
	struct trace_record *records = snapshot_records(t, s, &count);

	for (size_t i = 0; i < count && i < max; i++)
		fprintf(out, "%s[%d,%d,%lu,\"%lx\",\"%lx\"]", i ? ",\n" : "", records[i].kind,
			records[i].what, (unsigned long)records[i].a, (unsigned long)records[i].b,
			(unsigned long)records[i].c);
	free(records);
	return count < max ? count : max;
}

/* {"time", "reason", "left": records that were left out, "figures": live, held, … "records"} */
static size_t write_snapshot(FILE *out, const struct trace *t, const struct snapshot *s, size_t max)
{
	const struct trace_record *f = s->figures;
	size_t written;

	fprintf(out, "{\"time\":%lu,\"reason\":%d,", (unsigned long)t->records[s->begin].time,
		t->records[s->begin].what);
	if (f[0].kind)
		fprintf(out, "\"live\":%lu,\"held\":%lu,", (unsigned long)f[0].a,
			(unsigned long)f[0].b);
	if (f[2].kind)
		fprintf(out, "\"cached\":%lu,\"free\":%lu,\"metadata\":%lu,", (unsigned long)f[2].a,
			(unsigned long)f[2].b, (unsigned long)f[2].c);
	fputs("\"records\":[", out);
	written = write_records(out, t, s, max);
	fprintf(out, "],\"of\":%lu}", (unsigned long)t->records[s->end].a);
	return written;
}

void snapshots_write(FILE *out, const struct trace *t)
{
	size_t count, written = 0, left = RECORDS_MAX / 3;
	struct snapshot *all = snapshots_find(t, &count);
	size_t peak = snapshots_peak(all, count), every = count / SNAPSHOTS_MAX + 1;

	fputs("\"snapshots\":[", out);
	for (size_t i = 0; i < count; i++) {
		bool is_needed = i == peak || i + 1 == count;

		if (!is_needed && (i % every || all[i].end - all[i].begin > left))
			continue;
		fputs(written++ ? ",\n" : "", out);
		if (is_needed)
			write_snapshot(out, t, &all[i], RECORDS_MAX / 3);
		else
			left -= write_snapshot(out, t, &all[i], left);
	}
	fprintf(out, "],\n\"snapshotCount\":%zu,\n", count);
	free(all);
}
