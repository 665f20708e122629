// SPDX-License-Identifier: BSD-3-Clause

/*
 * The picture of a heap: the snapshot of a map or trace with the most live bytes, as SVG.
 *
 * 1. Regions of os_malloc are drawn in rows. Headers and payloads are to scale. Adjacent blocks
 *    that would be thinner than MIN_WIDTH share one bar. A long free block is one torn bar.
 * 2. Slabs are summed by cell size: live, cached and free cells, and cells not yet carved.
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

#include "heapview_svg.h"

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

#define ROWS_MAX 32 /* of a heap's regions */
#define ROW_MIN (8 * KIB) /* minimum of bytes in a row */
#define LINE 18.0 /* of text, with a gap above it */
#define LINE_GAP 6.0
#define TOP 14.0
#define BASELINE 12.0 /* of text, below the top of its row */
#define MIN_WIDTH 0.5
#define TORN_ROWS 2 /* a longer free block is a torn bar */
#define MAPPED_MAX 64
#define SMALL 10.0 /* sizes of letters */
#define NORMAL 12.0
#define LETTER 0.68 /* of the size: no usual letter is wider on average */

struct readable svg_readable(size_t bytes)
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

void svg_bar(const struct picture *p, const char *class, double x, double width, const char *title)
{
	fprintf(p->out,
		"<rect class=\"%s\" x=\"%.2f\" y=\"%.1f\" width=\"%.2f\" height=\"%.0f\">"
		"<title>%s</title></rect>\n",
		class, x, p->y, width, ROW_HEIGHT, title);
}

void svg_text(const struct picture *p, const char *class, double x, const char *text)
{
	fprintf(p->out, "<text class=\"%s\" x=\"%.2f\" y=\"%.1f\">%s</text>\n", class, x,
		p->y + BASELINE, text);
}

void svg_line(struct picture *p, const char *class, const char *text)
{
	p->y += LINE_GAP;
	svg_text(p, class, LEFT, text);
	p->y += LINE;
}

bool svg_fits(const char *text, double size, double width)
{
	return (double)strlen(text) * size * LETTER <= width;
}

const struct trace_record *svg_find(const struct picture *p, const struct trace_record *r,
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
	while ((r = svg_find(p, r, TRACE_SNAP_REGION)) && r->what != TRACE_HEAP_COURSE)
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

		svg_bar(p, class, x, width, title);
		if (label && svg_fits(label, SMALL, width - 4)) {
			svg_text(p, "in", x + 4, label);
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
		 svg_readable(r->small).text, svg_readable(r->small_free).text);
	put_bytes(p, r, class, r->small, title, NULL);
	r->small = r->small_free = 0;
}

static bool is_torn(const struct trace_record *b, size_t row_bytes)
{
	return !b->c && b->b / row_bytes >= TORN_ROWS;
}

/* A long free block: the rest of the row, with a tear in the middle, or a row if that is short. */
static void put_torn(struct picture *p, struct rows *r, size_t size, const char *title)
{
	size_t room = r->bytes - r->at % r->bytes;
	double x, width;
	char label[48];

	if (room < r->bytes / 4) {
		put_bytes(p, r, "free", room, title, NULL);
		room = r->bytes;
	}
	x = LEFT + width_of(r, r->at % r->bytes);
	width = width_of(r, room);
	snprintf(label, sizeof(label), "free, %s", svg_readable(size).text);
	svg_bar(p, "free", x, width, title);
	fprintf(p->out,
		"<path class=\"torn\" d=\"M%.2f %.1fl5 5l-8 6l5 6h7l-5 -6l8 -6l-5 -5z\"/>\n",
		x + width / 2, p->y - 0.5);
	svg_text(p, "in", x + 4, label);
	r->at += room;
	p->y += ROW_STEP;
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
	if (is_torn(b, r->bytes))
		put_torn(p, r, b->b, title);
	else
		put_bytes(p, r, class, b->b, title, label);
}

/* The reserve is drawn up to the end of the row only. */
static void put_region(struct picture *p, const struct trace_record *region, size_t row_bytes)
{
	struct rows r = {.bytes = row_bytes, .left = difference(region->b, region->a)};
	size_t ahead = difference(region->c, region->b), room;
	char text[TITLE_SIZE];

	snprintf(text, sizeof(text), "region of %s, and %s in reserve", svg_readable(r.left).text,
		 svg_readable(ahead).text);
	svg_line(p, "note", text);
	for (const struct trace_record *b = region + 1; b < p->end && b->kind == TRACE_SNAP_BLOCK;
	     b++)
		put_block(p, &r, b);
	put_small(p, &r);
	room = row_bytes - r.at % row_bytes;
	put_bytes(p, &r, "ahead", ahead < room ? ahead : room, "reserve", NULL);
	if (r.at % row_bytes)
		p->y += ROW_STEP;
}

/* How many rows the regions need, about. */
static size_t count_rows(const struct picture *p, size_t row_bytes)
{
	double rows = 0;

	for (const struct trace_record *r = find_region(p, p->records); r;
	     r = find_region(p, r + 1))
		for (const struct trace_record *b = r + 1;
		     b < p->end && b->kind == TRACE_SNAP_BLOCK; b++)
			rows += is_torn(b, row_bytes) ? 1 : (double)b->b / (double)row_bytes;
	return rows < 1e9 ? (size_t)rows : (size_t)1e9;
}

static void put_regions(struct picture *p)
{
	const struct trace_record *const first = find_region(p, p->records);
	size_t row_bytes = ROW_MIN;
	char text[TITLE_SIZE];

	if (!first)
		return;
	while (count_rows(p, row_bytes) >= ROWS_MAX && row_bytes < SIZE_MAX / 4)
		row_bytes *= 2;
	snprintf(text, sizeof(text), "os_malloc: blocks in regions, a row is %s",
		 svg_readable(row_bytes).text);
	svg_line(p, "head", text);
	for (const struct trace_record *i = first; i; i = find_region(p, i + 1))
		put_region(p, i, row_bytes);
}

/* ---- Mappings: rule 3 ---- */

static void put_mapped_block(struct picture *p, const struct trace_record *m, size_t largest)
{
	double width = ROW_WIDTH * (double)m->c / (double)largest;
	bool is_wide;
	char title[TITLE_SIZE], label[32];

	snprintf(title, sizeof(title), "%s: mapped block at 0x%zx, payload %zu bytes, mapping %s",
		 m->what == TRACE_HEAP_COURSE ? "os_malloc" : "malloc", (size_t)m->a, (size_t)m->b,
		 svg_readable(m->c).text);
	snprintf(label, sizeof(label), "%zu", (size_t)m->b);
	is_wide = svg_fits(label, SMALL, width - 6);
	svg_bar(p, "mapped", LEFT, width < 2 ? 2 : width, title);
	svg_text(p, is_wide ? "in" : "label", LEFT + (is_wide ? 0 : width) + 6, label);
	p->y += ROW_STEP;
}

static void put_mapped(struct picture *p)
{
	const struct trace_record *const first = svg_find(p, p->records, TRACE_SNAP_MAPPED), *i;
	size_t count = 0, largest = 0;
	char text[TITLE_SIZE];

	for (i = first; i; i = svg_find(p, i + 1, TRACE_SNAP_MAPPED)) {
		count++;
		largest = i->c > largest ? i->c : largest;
	}
	if (!count)
		return;
	snprintf(text, sizeof(text), "mappings: %zu%s, by length", count,
		 count > MAPPED_MAX ? ", the first of them drawn" : "");
	svg_line(p, "head", text);
	count = 0;
	for (i = first; i && count < MAPPED_MAX; i = svg_find(p, i + 1, TRACE_SNAP_MAPPED), count++)
		put_mapped_block(p, i, largest);
}

/* ---- The picture ---- */

static void put_legend(struct picture *p)
{
	static const struct {
		const char *class, *text;
	} kinds[] = {
		{"used", "live"},
		{"kept", "cached"},
		{"free", "free"},
		{"header", "metadata"},
		{"mapped", "mapped"},
		{"small used", "small blocks, mostly used"},
		{"small free", "mostly free"},
		{"ahead", "never used, or purged"},
	};
	double x = LEFT;

	for (size_t i = 0; i < COUNT_OF(kinds); i++) {
		double width = 25 + (double)strlen(kinds[i].text) * NORMAL * LETTER + 14;

		if (x + width > WIDTH - LEFT) {
			x = LEFT;
			p->y += ROW_STEP;
		}
		svg_bar(p, kinds[i].class, x, 20, kinds[i].text);
		svg_text(p, "label", x + 25, kinds[i].text);
		x += width;
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

static void put_title(struct picture *p, const struct trace *t, const struct trace_record *figures)
{
	fprintf(p->out, "<text class=\"title\" x=\"%.0f\" y=\"%.1f\">", LEFT, p->y + BASELINE);
	put_escaped(p->out, t->header->program, sizeof(t->header->program));
	fprintf(p->out, ", process %u</text>\n", t->header->pid);
	p->y += LINE + LINE_GAP;
	if (!figures[0].kind)
		return;
	fprintf(p->out, "<text x=\"%.0f\" y=\"%.1f\">%s held: %s live", LEFT, p->y + BASELINE - 4,
		svg_readable(figures[0].b).text, svg_readable(figures[0].a).text);
	if (figures[2].kind)
		fprintf(p->out, ", %s cached, %s free, %s metadata",
			svg_readable(figures[2].a).text, svg_readable(figures[2].b).text,
			svg_readable(figures[2].c).text);
	fputs("</text>\n", p->out);
	p->y += LINE;
}

static void draw(struct picture *p, const struct trace *t, const struct trace_record *figures)
{
	p->y = TOP;
	put_title(p, t, figures);
	put_legend(p);
	put_regions(p);
	put_mapped(p);
	svg_slabs(p);
	svg_segments(p);
}

/* Rule 4. */
static const char style[] =
	"text{font:12px "
	"system-ui,sans-serif;fill:var(--text)}.title{font-size:16px;font-weight:600}"
	".head{font-size:14px;font-weight:600}.in{font-size:10px}"
	"rect{stroke:var(--edge);stroke-width:.5}pattern rect,.back{stroke:none}"
	".back{fill:var(--back)}.header{fill:var(--metadata)}.used{fill:var(--live)}"
	".free{fill:url(#free)}.ahead{fill:url(#ahead)}.mapped{fill:url(#mapped)}"
	".small.used{fill:url(#busy)}.small.free{fill:url(#idle)}.span{fill:url(#span)}"
	".kept{fill:url(#kept)}.f-free{fill:var(--free)}.f-live{fill:var(--live)}"
	".f-mapped{fill:var(--mapped)}.f-cached{fill:var(--cached)}.f-unused{fill:var(--unused)}"
	".mark{stroke:var(--text);stroke-opacity:.25;fill:none}.dot{fill:var(--text);fill-opacity:."
	"3}"
	".torn{fill:var(--back);stroke:var(--edge);stroke-width:.5}\n";

static const char patterns[] =
	"<defs>\n"
	"<pattern id='free' width='6' height='6' patternUnits='userSpaceOnUse'>"
	"<rect class='f-free' width='6' height='6'/><circle class='dot' cx='3' cy='3' r='.7'/>"
	"</pattern>\n"
	"<pattern id='ahead' width='6' height='6' patternUnits='userSpaceOnUse'>"
	"<rect class='f-unused' width='6' height='6'/></pattern>\n"
	"<pattern id='mapped' width='6' height='6' patternUnits='userSpaceOnUse'>"
	"<rect class='f-mapped' width='6' height='6'/><path class='mark' d='M0 3H6M3 0V6'/>"
	"</pattern>\n"
	"<pattern id='span' width='6' height='4' patternUnits='userSpaceOnUse'>"
	"<rect class='f-live' width='6' height='4'/><path class='mark' d='M0 2H6'/></pattern>\n"
	"<pattern id='kept' width='4' height='6' patternUnits='userSpaceOnUse'>"
	"<rect class='f-cached' width='4' height='6'/><path class='mark' d='M2 0V6'/></pattern>\n"
	"<pattern id='busy' width='3' height='6' patternUnits='userSpaceOnUse'>"
	"<rect class='f-live' width='3' height='6'/><path class='mark' d='M1 0V6'/></pattern>\n"
	"<pattern id='idle' width='3' height='6' patternUnits='userSpaceOnUse'>"
	"<rect class='f-free' width='3' height='6'/><path class='mark' d='M1 0V6'/></pattern>\n"
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
	draw(&p, t, shown.figures);
	if (fclose(p.out))
		die("out of memory");
	fprintf(out,
		"<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %.0f %.0f\" "
		"width=\"%.0f\" height=\"%.0f\" role=\"img\">\n<title>A heap</title>\n<style>\n",
		WIDTH, p.y + BASELINE, WIDTH, p.y + BASELINE);
	palette_write(out, style);
	fprintf(out, "</style>\n%s<rect class=\"back\" width=\"%.0f\" height=\"%.0f\"/>\n",
		patterns, WIDTH, p.y + BASELINE);
	fwrite(body, 1, size, out);
	fputs("</svg>\n", out);
	free(body);
	free(snapshot);
	free(all);
}
