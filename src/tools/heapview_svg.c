// SPDX-License-Identifier: BSD-3-Clause

/*
 * The picture of a heap: the last snapshot of a map or trace, as SVG.
 *
 * 1. Regions of os_malloc are drawn in rows. Headers and payloads are to scale. Adjacent blocks
 *    that would be thinner than MIN_WIDTH share one bar.
 * 2. Slabs are summed by cell size: live or cached cells, free cells, and cells not yet carved.
 * 3. Segments are drawn slot by slot, with their spans to scale. Mappings are bars; the largest is
 *    as wide as a row.
 * 4. Every kind has its own pattern and shade, so that the picture does not depend on colour.
 *    Titles show the figures to pointers and screen readers. The background follows the reader's
 *    preference, light or dark.
 *
 * In a damaged file, blocks that reach beyond their region are left out.
 */

#include <stdlib.h>
#include <string.h>

#include "heapview.h"

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))
#define KIB ((size_t)1024)
#define MIB (1024 * KIB)

#define WIDTH 1000.0
#define LEFT 20.0
#define ROW_WIDTH (WIDTH - 2 * LEFT)
#define ROWS_MAX 32 /* of a heap's regions */
#define ROW_MIN (8 * KIB) /* minimum of bytes in a row */
#define ROW_HEIGHT 16.0
#define ROW_STEP 20.0
#define LINE 18.0 /* of text, with a gap above it */
#define LINE_GAP 6.0
#define TOP 14.0
#define BASELINE 12.0 /* of text, below the top of its row */
#define MIN_WIDTH 0.5
#define LABEL_MIN 46.0 /* wider blocks contain their size as text */
#define SLOTS 64 /* of a segment */
#define SLOT_SIZE (64 * KIB)
#define SLOTS_LEFT 140.0
#define SLOT_WIDTH 13.0
#define SEGMENTS_MAX 128
#define MAPPED_MAX 64
#define BAR_LEFT 170.0
#define BAR_WIDTH 420.0
#define TITLE_SIZE 200

struct picture {
	FILE *out;
	double y; /* the top of the next element */
	size_t meta; /* bytes of a header */
	const struct trace_record *records, *end; /* of the snapshot */
};

/* 12345678 as 11.7 MiB. */
struct readable {
	char text[32];
};

static struct readable readable(size_t bytes)
{
	static const char units[] = "KMGT";
	const char *unit = units;
	struct readable r;

	if (bytes < KIB) {
		snprintf(r.text, sizeof(r.text), "%zu bytes", bytes);
		return r;
	}
	for (; bytes >= MIB && unit[1]; unit++)
		bytes /= KIB;
	snprintf(r.text, sizeof(r.text), "%zu.%zu %ciB", bytes / KIB, bytes % KIB * 10 / KIB,
		 *unit);
	return r;
}

static void put_bar(const struct picture *p, const char *class, double x, double width,
		    const char *title)
{
	fprintf(p->out,
		"<rect class=\"%s\" x=\"%.2f\" y=\"%.1f\" width=\"%.2f\" height=\"%.0f\">"
		"<title>%s</title></rect>\n",
		class, x, p->y, width, ROW_HEIGHT, title);
}

static void put_text(const struct picture *p, const char *class, double x, const char *text)
{
	fprintf(p->out, "<text class=\"%s\" x=\"%.2f\" y=\"%.1f\">%s</text>\n", class, x,
		p->y + BASELINE, text);
}

/* A separate line. */
static void put_line(struct picture *p, const char *class, const char *text)
{
	p->y += LINE_GAP;
	put_text(p, class, LEFT, text);
	p->y += LINE;
}

/* The first record of the kind at or after r, or NULL. */
static const struct trace_record *find(const struct picture *p, const struct trace_record *r,
				       enum trace_kind kind)
{
	while (r < p->end && r->kind != kind)
		r++;
	return r < p->end ? r : NULL;
}

/* ---- Blocks of os_malloc: rule 1. Older traces have regions of malloc, too. ---- */

struct rows {
	size_t bytes; /* in a row */
	size_t left; /* bytes of the region behind the current block */
	size_t at; /* bytes of the region drawn so far */
	size_t small, small_free; /* bytes of thin blocks behind them, not drawn yet */
};

static const struct trace_record *find_region(const struct picture *p, const struct trace_record *r)
{
	while ((r = find(p, r, TRACE_SNAP_REGION)) && r->what != TRACE_HEAP_COURSE)
		r++;
	return r;
}

static size_t difference(size_t a, size_t b)
{
	return a > b ? a - b : 0;
}

static double width_of(const struct rows *r, size_t bytes)
{
	return ROW_WIDTH * (double)bytes / (double)r->bytes;
}

/* Draw a bar from at on, over several rows if necessary. The last one stays the current row. */
static void put_bytes(struct picture *p, struct rows *r, const char *class, size_t size,
		      const char *title, const char *label)
{
	while (size) {
		size_t column = r->at % r->bytes, room = r->bytes - column;
		size_t part = size < room ? size : room;
		double x = LEFT + width_of(r, column), width = width_of(r, part);

		put_bar(p, class, x, width, title);
		if (label && width >= LABEL_MIN) {
			put_text(p, "in", x + 4, label);
			label = NULL;
		}
		r->at += part;
		size -= part;
		if (part == room)
			p->y += ROW_STEP;
	}
}

static void put_small(struct picture *p, struct rows *r)
{
	const char *class = r->small_free * 2 > r->small ? "small free" : "small used";
	char title[TITLE_SIZE];

	snprintf(title, sizeof(title), "small blocks, %s, of which %s free",
		 readable(r->small).text, readable(r->small_free).text);
	put_bytes(p, r, class, r->small, title, NULL);
	r->small = r->small_free = 0;
}

static void put_block(struct picture *p, struct rows *r, const struct trace_record *b)
{
	const char *class = b->c ? "used" : "free";
	char title[TITLE_SIZE], label[32];
	size_t size;

	if (__builtin_add_overflow(p->meta, b->b, &size) || size > r->left)
		return;
	r->left -= size;
	if (width_of(r, size) < MIN_WIDTH) {
		r->small += size;
		r->small_free += b->c ? 0 : size;
		return;
	}
	put_small(p, r);
	snprintf(title, sizeof(title), "%s block at 0x%zx, payload %zu bytes", class, (size_t)b->a,
		 (size_t)b->b);
	snprintf(label, sizeof(label), "%zu", (size_t)b->b);
	put_bytes(p, r, "header", p->meta, title, NULL);
	put_bytes(p, r, class, b->b, title, label);
}

/* The reserve is drawn up to the end of the row only. */
static void put_region(struct picture *p, const struct trace_record *region, size_t row_bytes)
{
	struct rows r = {.bytes = row_bytes, .left = difference(region->b, region->a)};
	size_t ahead = difference(region->c, region->b), room;
	char text[TITLE_SIZE];

	snprintf(text, sizeof(text), "region at 0x%zx: %s, and %s in reserve", (size_t)region->a,
		 readable(r.left).text, readable(ahead).text);
	put_line(p, "note", text);
	for (const struct trace_record *b = region + 1; b < p->end && b->kind == TRACE_SNAP_BLOCK;
	     b++)
		put_block(p, &r, b);
	put_small(p, &r);
	room = row_bytes - r.at % row_bytes;
	put_bytes(p, &r, "ahead", ahead < room ? ahead : room, "reserve", NULL);
	if (r.at % row_bytes)
		p->y += ROW_STEP;
}

static void put_regions(struct picture *p)
{
	const struct trace_record *const first = find_region(p, p->records), *i;
	size_t total = 0, row_bytes = ROW_MIN;
	char text[TITLE_SIZE];

	for (i = first; i; i = find_region(p, i + 1))
		if (__builtin_add_overflow(total, difference(i->b, i->a), &total))
			total = SIZE_MAX;
	if (!total)
		return;
	while (total / row_bytes >= ROWS_MAX)
		row_bytes *= 2;
	snprintf(text, sizeof(text), "os_malloc: blocks in regions, a row is %s",
		 readable(row_bytes).text);
	put_line(p, "head", text);
	for (i = first; i; i = find_region(p, i + 1))
		put_region(p, i, row_bytes);
}

/* ---- Mappings: rule 3 ---- */

static void put_mapped_block(struct picture *p, const struct trace_record *m, size_t largest)
{
	double width = ROW_WIDTH * (double)m->c / (double)largest;
	bool is_wide = width >= LABEL_MIN;
	char title[TITLE_SIZE], label[32];

	snprintf(title, sizeof(title), "%s: mapped block at 0x%zx, payload %zu bytes, mapping %s",
		 m->what == TRACE_HEAP_COURSE ? "os_malloc" : "malloc", (size_t)m->a, (size_t)m->b,
		 readable(m->c).text);
	snprintf(label, sizeof(label), "%zu", (size_t)m->b);
	put_bar(p, "mapped", LEFT, width < 2 ? 2 : width, title);
	put_text(p, is_wide ? "in" : "label", LEFT + (is_wide ? 0 : width) + 6, label);
	p->y += ROW_STEP;
}

static void put_mapped(struct picture *p)
{
	const struct trace_record *const first = find(p, p->records, TRACE_SNAP_MAPPED), *i;
	size_t count = 0, largest = 0;
	char text[TITLE_SIZE];

	for (i = first; i; i = find(p, i + 1, TRACE_SNAP_MAPPED)) {
		count++;
		largest = i->c > largest ? i->c : largest;
	}
	if (!count)
		return;
	snprintf(text, sizeof(text), "mappings: %zu%s, by length", count,
		 count > MAPPED_MAX ? ", the first of them drawn" : "");
	put_line(p, "head", text);
	count = 0;
	for (i = first; i && count < MAPPED_MAX; i = find(p, i + 1, TRACE_SNAP_MAPPED), count++)
		put_mapped_block(p, i, largest);
}

/* ---- Slabs: rule 2 ---- */

struct class_sum {
	size_t cell, slabs, cells, carved, out;
};

static int by_cell(const void *a, const void *b)
{
	const struct class_sum *x = a, *y = b;

	return x->cell < y->cell ? -1 : x->cell > y->cell;
}

static void put_class(struct picture *p, const struct class_sum *sum)
{
	double out = BAR_WIDTH * (double)sum->out / (double)sum->cells;
	double free = BAR_WIDTH * (double)(sum->carved - sum->out) / (double)sum->cells;
	char text[TITLE_SIZE];

	snprintf(text, sizeof(text), "%zu bytes", sum->cell);
	put_text(p, "label", LEFT, text);
	snprintf(text, sizeof(text), "%zu of %zu cells live or cached, %zu free, %zu never used",
		 sum->out, sum->cells, sum->carved - sum->out, sum->cells - sum->carved);
	put_bar(p, "used", BAR_LEFT, out, text);
	put_bar(p, "free", BAR_LEFT + out, free, text);
	put_bar(p, "ahead", BAR_LEFT + out + free, BAR_WIDTH - out - free, text);
	snprintf(text, sizeof(text), "%zu of %zu cells in %zu slab%s", sum->out, sum->cells,
		 sum->slabs, sum->slabs == 1 ? "" : "s");
	put_text(p, "label", BAR_LEFT + BAR_WIDTH + 12, text);
	p->y += ROW_STEP;
}

/* Sum the program's slabs by cell size. Returns the number of sums. */
static size_t sum_slabs(const struct picture *p, struct class_sum *sums)
{
	const struct trace_record *s = find(p, p->records, TRACE_SNAP_SLAB);
	size_t count = 0, kinds = 0;

	for (; s; s = find(p, s + 1, TRACE_SNAP_SLAB))
		if (!(s->c >> 48) && (uint16_t)s->c)
			sums[count++] = (struct class_sum){.cell = (uint32_t)s->b,
							   .slabs = 1,
							   .cells = (uint16_t)s->c,
							   .carved = (uint16_t)(s->c >> 16),
							   .out = (uint16_t)(s->c >> 32)};
	qsort(sums, count, sizeof(*sums), by_cell);
	for (size_t i = 0; i < count; i++) {
		struct class_sum *last = kinds ? &sums[kinds - 1] : NULL;

		if (!last || last->cell != sums[i].cell) {
			sums[kinds++] = sums[i];
			continue;
		}
		last->slabs++;
		last->cells += sums[i].cells;
		last->carved += sums[i].carved;
		last->out += sums[i].out;
	}
	return kinds;
}

static void put_slabs(struct picture *p)
{
	struct class_sum *sums = grow(NULL, (size_t)(p->end - p->records) + 1, sizeof(*sums));
	size_t count = sum_slabs(p, sums);

	if (count)
		put_line(p, "head", "malloc: cells live or cached in slabs, by size");
	for (size_t i = 0; i < count; i++)
		put_class(p, &sums[i]);
	free(sums);
}

/* ---- Segments: rule 3 ---- */

static double slots_width(size_t bytes)
{
	return SLOT_WIDTH * (double)bytes / (double)SLOT_SIZE;
}

static void put_slot(const struct picture *p, unsigned int slot, bool is_slab, bool is_dirty)
{
	static const struct {
		const char *class, *title;
	} kinds[] = {
		{"header", "records"},
		{"used", "slab"},
		{"free", "free, dirty"},
		{"ahead", "never used, or purged"},
	};
	unsigned int kind = slot == 0 ? 0 : is_slab ? 1 : is_dirty ? 2 : 3;
	char title[TITLE_SIZE];

	snprintf(title, sizeof(title), "slot %u: %s", slot, kinds[kind].title);
	put_bar(p, kinds[kind].class, SLOTS_LEFT + slots_width(slot * SLOT_SIZE), SLOT_WIDTH - 2,
		title);
}

static void put_span(const struct picture *p, const struct trace_record *span, size_t offset)
{
	char title[TITLE_SIZE];

	snprintf(title, sizeof(title), "%s at 0x%zx, %s", span->c ? "span" : "cached free span",
		 (size_t)span->a, readable(span->b).text);
	put_bar(p, span->c ? "span" : "kept", SLOTS_LEFT + slots_width(offset),
		slots_width(span->b), title);
}

/* The spans of a segment follow its slabs and are drawn on top of its slots. */
static void put_segment(struct picture *p, const struct trace_record *segment)
{
	const struct trace_record *i = segment + 1;
	uint64_t slabs = 0; /* bit i: slot i is of a slab */
	char label[32];

	for (; i < p->end && i->kind == TRACE_SNAP_SLAB; i++)
		for (uint64_t at = 0; at < i->b >> 32 && at < SLOTS; at++)
			slabs |= (uint64_t)1 << ((i->a - segment->a) / SLOT_SIZE + at) % SLOTS;
	snprintf(label, sizeof(label), "0x%zx", (size_t)segment->a);
	put_text(p, "label", LEFT, label);
	for (unsigned int slot = 0; slot < SLOTS; slot++)
		put_slot(p, slot, slabs >> slot & 1, segment->c >> slot & 1);
	for (; i < p->end && i->kind == TRACE_SNAP_SPAN; i++)
		put_span(p, i, i->a - segment->a);
	p->y += ROW_STEP;
}

static void put_segments(struct picture *p)
{
	const struct trace_record *i = find(p, p->records, TRACE_SNAP_SPAN);
	size_t count[2] = {0}, bytes[2] = {0}; /* of spans: cached, live */
	size_t segments = 0;
	char text[TITLE_SIZE];

	for (; i; i = find(p, i + 1, TRACE_SNAP_SPAN)) {
		count[!!i->c]++;
		bytes[!!i->c] += i->b;
	}
	for (i = p->records; (i = find(p, i, TRACE_SNAP_SEGMENT)); i++)
		segments++;
	if (!segments)
		return;
	i = find(p, p->records, TRACE_SNAP_SEGMENT);
	snprintf(text, sizeof(text),
		 "segments of 4 MiB: 64 slots of 64 KiB each; %zu spans (%s), %zu cached (%s)%s",
		 count[1], readable(bytes[1]).text, count[0], readable(bytes[0]).text,
		 segments > SEGMENTS_MAX ? "; the first of them drawn" : "");
	put_line(p, "head", text);
	for (size_t n = 0; i && n < SEGMENTS_MAX; i = find(p, i + 1, TRACE_SNAP_SEGMENT), n++)
		put_segment(p, i);
}

/* ---- The picture ---- */

static void put_legend(struct picture *p)
{
	static const struct {
		double place; /* 0 starts a row */
		const char *class, *text;
	} kinds[] = {
		{0, "header", "header, records"},
		{130, "used", "used, slab"},
		{230, "free", "free"},
		{300, "ahead", "never used, or purged"},
		{500, "small used", "small blocks, mostly used"},
		{700, "small free", "mostly free"},
		{0, "span", "span"},
		{130, "kept", "cached free span"},
		{350, "mapped", "mapped"},
	};

	for (size_t i = 0; i < COUNT_OF(kinds); i++) {
		double x = LEFT + kinds[i].place;

		p->y += i > 0 && kinds[i].place == 0 ? ROW_STEP : 0;
		put_bar(p, kinds[i].class, x, 20, kinds[i].text);
		put_text(p, "label", x + 25, kinds[i].text);
	}
	p->y += ROW_STEP;
}

/* Untrusted text. */
static void put_escaped(FILE *out, const char *text, size_t max)
{
	for (size_t i = 0; i < max && text[i]; i++)
		fprintf(out, strchr("<>&\"'", text[i]) ? "&#%d;" : "%c",
			text[i] >= ' ' && text[i] < 0x7f ? text[i] : '?');
}

static void put_title(struct picture *p, const struct trace *t)
{
	size_t live = 0, held = 0;

	for (size_t i = 0; i < t->count; i++)
		if (t->records[i].kind == TRACE_FIGURES && t->records[i].what == 0) {
			live = t->records[i].a;
			held = t->records[i].b;
		}
	fprintf(p->out, "<text class=\"title\" x=\"%.0f\" y=\"%.1f\">", LEFT, p->y + BASELINE);
	put_escaped(p->out, t->header->program, sizeof(t->header->program));
	fprintf(p->out, ", process %u: %s live, %s held</text>\n", t->header->pid,
		readable(live).text, readable(held).text);
	p->y += LINE + LINE_GAP;
}

static void draw(struct picture *p, const struct trace *t)
{
	p->y = TOP;
	put_title(p, t);
	put_legend(p);
	put_regions(p);
	put_mapped(p);
	put_slabs(p);
	put_segments(p);
}

/* Rule 4. Patterns and the text in them stay light in dark mode. */
static const char style[] =
	"<style>\n"
	"text{font:12px sans-serif;fill:#222}.title{font-size:16px;font-weight:bold}"
	".head{font-size:14px;font-weight:bold}.in{font-size:10px}"
	"rect{stroke:#333;stroke-width:.4}pattern rect,.back{stroke:none}.back{fill:#fff}"
	".header{fill:#222}.used{fill:#5b9bd5}.free{fill:url(#free)}.ahead{fill:url(#ahead)}"
	".mapped{fill:url(#mapped)}.small.used{fill:url(#busy)}.small.free{fill:url(#idle)}"
	".span{fill:url(#span)}.kept{fill:url(#kept)}\n"
	"@media (prefers-color-scheme:dark){"
	".back{fill:#161616}text:not(.in){fill:#eaeaea}.header{stroke:#aaa}}\n"
	"</style>\n"
	"<defs>\n"
	"<pattern id='free' width='6' height='6' patternUnits='userSpaceOnUse'>"
	"<rect width='6' height='6' fill='#fff'/><path d='M0 6L6 0' stroke='#999'/></pattern>\n"
	"<pattern id='ahead' width='6' height='6' patternUnits='userSpaceOnUse'>"
	"<rect width='6' height='6' fill='#fff'/><circle cx='3' cy='3' r='.7' "
	"fill='#888'/></pattern>\n"
	"<pattern id='mapped' width='6' height='6' patternUnits='userSpaceOnUse'>"
	"<rect width='6' height='6' fill='#f4b183'/><path d='M0 3H6' stroke='#a50'/></pattern>\n"
	"<pattern id='span' width='6' height='4' patternUnits='userSpaceOnUse'>"
	"<rect width='6' height='4' fill='#6fbf9f'/>"
	"<path d='M0 2H6' stroke='#063' stroke-width='.6'/></pattern>\n"
	"<pattern id='kept' width='4' height='6' patternUnits='userSpaceOnUse'>"
	"<rect width='4' height='6' fill='#fff'/><path d='M2 0V6' stroke='#063'/></pattern>\n"
	"<pattern id='busy' width='3' height='6' patternUnits='userSpaceOnUse'>"
	"<rect width='3' height='6' fill='#5b9bd5'/><path d='M1 0V6' stroke='#246'/></pattern>\n"
	"<pattern id='idle' width='3' height='6' patternUnits='userSpaceOnUse'>"
	"<rect width='3' height='6' fill='#fff'/><path d='M1 0V6' stroke='#999'/></pattern>\n"
	"</defs>\n";

void svg_write(FILE *out, const struct trace *t)
{
	struct picture p = {.meta = t->header->meta_size};
	size_t count, size;
	struct snapshot *all = snapshots_find(t, &count);
	struct snapshot shown = all[snapshots_peak(all, count)];
	struct trace_record *snapshot = snapshot_records(t, &shown, &count);
	char *body;

	p.records = snapshot;
	p.end = snapshot + count;
	p.out = open_memstream(&body, &size); /* the height comes first but is known last */
	if (!p.out)
		die("out of memory");
	draw(&p, t);
	if (fclose(p.out))
		die("out of memory");
	fprintf(out,
		"<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %.0f %.0f\" "
		"width=\"%.0f\" height=\"%.0f\" role=\"img\">\n<title>A heap</title>\n%s"
		"<rect class=\"back\" width=\"%.0f\" height=\"%.0f\"/>\n",
		WIDTH, p.y + BASELINE, WIDTH, p.y + BASELINE, style, WIDTH, p.y + BASELINE);
	fwrite(body, 1, size, out);
	fputs("</svg>\n", out);
	free(body);
	free(snapshot);
	free(all);
}
