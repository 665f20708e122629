// SPDX-License-Identifier: BSD-3-Clause

/*
 * The picture of the heap at exit.
 *
 * 1. The regions of os_malloc are drawn in rows, to one scale: a block is as long as it is, header
 *    and payload. What would be thinner than MIN_WIDTH goes into one bar for all such neighbours.
 * 2. Slabs are summed by class: how much of their room is out, free, and not yet carved.
 * 3. Segments are drawn slot by slot, with the spans in them to scale; mappings as bars, the
 *    largest as wide as a row.
 * 4. Every kind has a pattern and a shade of its own, so that it reads without colour; titles say
 *    the figures to who points at something, or has it read out.
 *
 * It is drawn twice: first to nowhere, to know how high it will be.
 */

#include "picture.h"

#include <stdarg.h>
#include <string.h>

#include "inspect.h"
#include "printf.h"
#include "slab.h"

#define WIDTH 1000.0
#define LEFT 20.0
#define ROWS_MAX 32 /* of a heap's regions */
#define ROW_MIN (8 * KIB) /* bytes in a row, at least */
#define ROW_HEIGHT 16.0
#define ROW_STEP 20.0
#define LINE 18.0 /* of text */
#define MIN_WIDTH 0.5
#define LABEL_MIN 46.0 /* a block this wide has its size written into it */
#define SLOT_WIDTH 13.0
#define SEGMENTS_MAX 128
#define MAPPED_MAX 64
#define BAR_LEFT 170.0
#define BAR_WIDTH 420.0

struct drawing {
	struct sys_file *file; /* NULL: nowhere */
	bool is_whole; /* everything could be written */
	double y; /* where the next thing is drawn */
	size_t len;
	char text[8 * KIB];
};

static void flush(struct drawing *d)
{
	if (d->file && !sys_file_append(d->file, d->text, d->len))
		d->is_whole = false;
	d->len = 0;
}

static void put(struct drawing *d, const char *format, ...)
	__attribute__((format(__printf__, 2, 3)));

static void put(struct drawing *d, const char *format, ...)
{
	va_list args;
	int n;

	if (!d->file)
		return;
	if (d->len > sizeof(d->text) - KIB)
		flush(d);
	va_start(args, format);
	n = vsnprintf_(d->text + d->len, sizeof(d->text) - d->len, format, args);
	va_end(args);
	if (n > 0)
		d->len += (size_t)n;
}

/* Text of somebody else, cut to what is left of a line. */
static void put_escaped(struct drawing *d, const char *text)
{
	for (int i = 0; i < 200 && text[i]; i++) {
		if (strchr("<>&\"'", text[i]))
			put(d, "&#%d;", text[i]);
		else if (text[i] >= ' ' && text[i] < 0x7f)
			put(d, "%c", text[i]);
		else
			put(d, "?");
	}
}

/* 12345678 as 11.8 MiB, in one of a few places that take turns. */
static const char *readable(size_t bytes)
{
	static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
	static char texts[4][24];
	static unsigned int next;
	char *text = texts[next++ % 4];
	size_t unit = 0, whole = bytes, tenths = 0;

	for (; whole >= KIB && unit < 4; unit++) {
		tenths = whole % KIB * 10 / KIB;
		whole /= KIB;
	}
	if (unit)
		snprintf_(text, sizeof(texts[0]), "%zu.%zu %s", whole, tenths, units[unit]);
	else
		snprintf_(text, sizeof(texts[0]), "%zu bytes", bytes);
	return text;
}

static void put_bar(struct drawing *d, const char *class, double x, double width, const char *title)
{
	put(d,
	    "<rect class=\"%s\" x=\"%.2f\" y=\"%.1f\" width=\"%.2f\" "
	    "height=\"%.0f\"><title>%s</title></rect>\n",
	    class, x, d->y, width, ROW_HEIGHT, title);
}

static void put_line(struct drawing *d, const char *class, const char *text)
{
	d->y += LINE;
	put(d, "<text class=\"%s\" x=\"%.0f\" y=\"%.1f\">%s</text>\n", class, LEFT, d->y, text);
	d->y += 6;
}

/* Blocks of os_malloc: rule 1. */

struct rows {
	struct drawing *d;
	size_t bytes; /* in a row */
	size_t at; /* bytes of the region that are drawn */
	size_t small, small_free; /* bytes of thin blocks behind that, which wait for their bar */
};

static double x_of(const struct rows *r, size_t at)
{
	return LEFT + (WIDTH - 2 * LEFT) * (double)(at % r->bytes) / (double)r->bytes;
}

static double width_of(const struct rows *r, size_t bytes)
{
	return (WIDTH - 2 * LEFT) * (double)bytes / (double)r->bytes;
}

/* A bar from at on, over as many rows as it takes; the last of them stays the current one. */
static void put_bytes(struct rows *r, const char *class, size_t size, const char *title,
		      const char *label)
{
	while (size) {
		size_t room = r->bytes - r->at % r->bytes, part = size < room ? size : room;

		put_bar(r->d, class, x_of(r, r->at), width_of(r, part), title);
		if (label && width_of(r, part) >= LABEL_MIN) {
			put(r->d, "<text class=\"in\" x=\"%.2f\" y=\"%.1f\">%s</text>\n",
			    x_of(r, r->at) + 4, r->d->y + 12, label);
			label = NULL;
		}
		r->at += part;
		size -= part;
		if (part == room)
			r->d->y += ROW_STEP;
	}
}

static void put_small(struct rows *r)
{
	char title[128];
	size_t size = r->small;

	if (!size)
		return;
	snprintf_(title, sizeof(title), "small blocks, %s, of which %s free", readable(size),
		  readable(r->small_free));
	r->small = 0;
	put_bytes(r, r->small_free * 2 > size ? "small free" : "small used", size, title, NULL);
	r->small_free = 0;
}

static void put_block(struct rows *r, const struct osmem_item *b)
{
	char title[128], label[24];
	size_t header = b->size - b->payload;

	if (width_of(r, b->size) < MIN_WIDTH) {
		r->small += b->size;
		r->small_free += b->status ? 0 : b->size;
		return;
	}
	put_small(r);
	snprintf_(title, sizeof(title), "%s block at 0x%lx, payload %zu bytes",
		  b->status ? "used" : "free", (unsigned long)(uintptr_t)b->start, b->payload);
	snprintf_(label, sizeof(label), "%zu", b->payload);
	put_bytes(r, "header", header, title, NULL);
	put_bytes(r, b->status ? "used" : "free", b->payload, title, label);
}

/* What is ahead of need, to the end of the row: the region's line says how much it is. */
static void put_ahead(struct rows *r, size_t ahead)
{
	size_t room = r->bytes - r->at % r->bytes;

	put_bytes(r, "ahead", ahead < room ? ahead : room, "ahead of need", NULL);
}

/* Draw the region at items[i], with the blocks behind it; the item behind them. */
static size_t put_region(struct drawing *d, const struct inspect_copy *copy, size_t i, size_t bytes)
{
	const struct osmem_item *region = &copy->items[i++];
	struct rows r = {.d = d, .bytes = bytes};
	char text[128];

	snprintf_(text, sizeof(text), "region at 0x%lx: %s, and %s ahead of need",
		  (unsigned long)(uintptr_t)region->start, readable(region->size),
		  readable(region->ahead));
	put_line(d, "note", text);
	for (; i < copy->count && copy->items[i].kind == OSMEM_BLOCK; i++)
		put_block(&r, &copy->items[i]);
	put_small(&r);
	put_ahead(&r, region->ahead);
	if (r.at % bytes)
		d->y += ROW_STEP;
	return i;
}

/* A power of two that draws total bytes in ROWS_MAX rows. */
static size_t bytes_in_row(size_t total)
{
	size_t bytes = ROW_MIN;

	while (total / bytes >= ROWS_MAX)
		bytes *= 2;
	return bytes;
}

static void put_regions(struct drawing *d, const struct inspect_copy *copy)
{
	size_t total = 0, bytes;
	char text[128];

	for (size_t i = 0; i < copy->count; i++)
		if (copy->items[i].kind == OSMEM_REGION)
			total += copy->items[i].size;
	if (!total)
		return;
	bytes = bytes_in_row(total);
	snprintf_(text, sizeof(text), "os_malloc: blocks in regions, a row is %s", readable(bytes));
	put_line(d, "head", text);
	for (size_t i = 0; i < copy->count;) {
		if (copy->items[i].kind == OSMEM_REGION)
			i = put_region(d, copy, i, bytes);
		else
			i++;
	}
}

/* Mappings: rule 3. */

static void put_mapped_block(struct drawing *d, const struct osmem_item *m, size_t largest)
{
	char title[128];
	double width = (WIDTH - 2 * LEFT) * (double)m->mapping / (double)largest;

	snprintf_(title, sizeof(title), "%s: mapped block at 0x%lx, payload %zu bytes, mapping %s",
		  m->heap == OSMEM_COURSE ? "os_malloc" : "malloc",
		  (unsigned long)(uintptr_t)m->start, m->payload, readable(m->mapping));
	put_bar(d, "mapped", LEFT, width < 2 ? 2 : width, title);
	put(d, "<text class=\"in\" x=\"%.0f\" y=\"%.1f\">%zu</text>\n", LEFT + 6, d->y + 12,
	    m->payload);
	d->y += ROW_STEP;
}

static void put_mapped(struct drawing *d, const struct inspect_copy *copy)
{
	size_t count = 0, largest = 0, shown = 0;
	char text[128];

	for (size_t i = 0; i < copy->count; i++) {
		if (copy->items[i].kind != OSMEM_MAPPED)
			continue;
		count++;
		if (copy->items[i].mapping > largest)
			largest = copy->items[i].mapping;
	}
	if (!count)
		return;
	snprintf_(text, sizeof(text), "mappings: %zu%s, by length", count,
		  count > MAPPED_MAX ? ", the first of them drawn" : "");
	put_line(d, "head", text);
	for (size_t i = 0; i < copy->count && shown < MAPPED_MAX; i++) {
		if (copy->items[i].kind != OSMEM_MAPPED)
			continue;
		put_mapped_block(d, &copy->items[i], largest);
		shown++;
	}
}

/* Slabs: rule 2. */

struct class_sum {
	size_t slabs, cells, carved, out;
};

static void put_class(struct drawing *d, size_t cell, const struct class_sum *sum)
{
	double out = BAR_WIDTH * (double)sum->out / (double)sum->cells;
	double free = BAR_WIDTH * (double)(sum->carved - sum->out) / (double)sum->cells;
	char title[128];

	snprintf_(title, sizeof(title), "%zu of %zu cells out, %zu free, %zu never used", sum->out,
		  sum->cells, sum->carved - sum->out, sum->cells - sum->carved);
	put(d, "<text class=\"label\" x=\"%.0f\" y=\"%.1f\">%zu bytes</text>\n", LEFT, d->y + 12,
	    cell);
	put_bar(d, "used", BAR_LEFT, out, title);
	put_bar(d, "free", BAR_LEFT + out, free, title);
	put_bar(d, "ahead", BAR_LEFT + out + free, BAR_WIDTH - out - free, title);
	put(d,
	    "<text class=\"label\" x=\"%.0f\" y=\"%.1f\">%zu of %zu cells in %zu slab%s</text>\n",
	    BAR_LEFT + BAR_WIDTH + 12, d->y + 12, sum->out, sum->cells, sum->slabs,
	    sum->slabs == 1 ? "" : "s");
	d->y += ROW_STEP;
}

static void put_slabs(struct drawing *d, const struct inspect_copy *copy)
{
	static struct class_sum sums[CLASS_COUNT];
	bool is_any = false;

	memset(sums, 0, sizeof(sums));
	for (size_t i = 0; i < copy->count; i++) {
		const struct osmem_item *s = &copy->items[i];
		struct class_sum *sum;

		if (s->kind != OSMEM_SLAB || s->is_own)
			continue;
		is_any = true;
		sum = &sums[class_of_size(s->cell)];
		sum->slabs++;
		sum->cells += s->cells;
		sum->carved += s->carved;
		sum->out += s->out;
	}
	if (!is_any)
		return;
	put_line(d, "head", "malloc: cells in slabs, by size (out: with the program, or cached)");
	for (unsigned int class = 1; class < CLASS_COUNT; class += 1)
		if (sums[class].slabs)
			put_class(d, slab_classes[class].size, &sums[class]);
}

/* Segments: rule 3. */

/* Where a segment has the byte at p. */
static double segment_x(const struct osmem_item *segment, const void *p)
{
	size_t at = (uintptr_t)p - (uintptr_t)segment->start;

	return BAR_LEFT - 30 + (double)at / (double)SLAB_SIZE * SLOT_WIDTH;
}

/* Draw the span on top of its slots. */
static void put_span(struct drawing *d, const struct osmem_item *segment,
		     const struct osmem_item *span)
{
	double width = (double)span->size / (double)SLAB_SIZE * SLOT_WIDTH;
	char title[128];

	snprintf_(title, sizeof(title), "%s at 0x%lx, %s",
		  span->status ? "span" : "free span that is kept",
		  (unsigned long)(uintptr_t)span->start, readable(span->size));
	put_bar(d, span->status ? "span" : "kept", segment_x(segment, span->start), width, title);
}

/* The slots of the slabs behind the segment at items[i]. */
static uint64_t slab_slots(const struct inspect_copy *copy, size_t i)
{
	const struct osmem_item *segment = &copy->items[i++], *s;
	uint64_t slots = 0;

	for (; i < copy->count && copy->items[i].kind == OSMEM_SLAB; i++) {
		s = &copy->items[i];
		for (size_t at = 0; at < s->size; at += SLAB_SIZE)
			slots |= (uint64_t)1
				 << ((uintptr_t)s->start + at - (uintptr_t)segment->start) /
					    SLAB_SIZE;
	}
	return slots;
}

static const char *slot_kind(const struct osmem_item *segment, uint64_t slabs, unsigned int slot)
{
	if (slot == 0)
		return "header";
	if (slabs >> slot & 1)
		return "used";
	return segment->dirty >> slot & 1 ? "free" : "ahead";
}

/* Draw the segment at items[i], with the slabs and spans behind it. */
static void put_segment(struct drawing *d, const struct inspect_copy *copy, size_t i)
{
	const struct osmem_item *segment = &copy->items[i];
	uint64_t slabs = slab_slots(copy, i);
	char title[128];

	put(d, "<text class=\"label\" x=\"%.0f\" y=\"%.1f\">0x%lx</text>\n", LEFT, d->y + 12,
	    (unsigned long)(uintptr_t)segment->start);
	for (unsigned int slot = 0; slot < 64; slot++) {
		const char *kind = slot_kind(segment, slabs, slot);

		snprintf_(title, sizeof(title), "slot %u: %s", slot,
			  slot == 0	 ? "records"
			  : *kind == 'u' ? "slab"
			  : *kind == 'f' ? "free, its pages still here"
					 : "not touched, or given back");
		put_bar(d, kind, BAR_LEFT - 30 + slot * SLOT_WIDTH, SLOT_WIDTH - 2, title);
	}
	while (++i < copy->count && copy->items[i].kind != OSMEM_SEGMENT)
		if (copy->items[i].kind == OSMEM_SPAN)
			put_span(d, segment, &copy->items[i]);
	d->y += ROW_STEP;
}

static void put_segments_head(struct drawing *d, const struct inspect_copy *copy)
{
	size_t live = 0, live_bytes = 0, kept = 0, kept_bytes = 0;
	char text[200];

	for (size_t i = 0; i < copy->count; i++) {
		if (copy->items[i].kind != OSMEM_SPAN)
			continue;
		*(copy->items[i].status ? &live : &kept) += 1;
		*(copy->items[i].status ? &live_bytes : &kept_bytes) += copy->items[i].size;
	}
	snprintf_(text, sizeof(text),
		  "segments of 4 MiB: 64 slots of 64 KiB each; %zu spans (%s), %zu kept (%s)", live,
		  readable(live_bytes), kept, readable(kept_bytes));
	put_line(d, "head", text);
}

static void put_segments(struct drawing *d, const struct inspect_copy *copy)
{
	size_t shown = 0;

	for (size_t i = 0; i < copy->count && shown < SEGMENTS_MAX; i++) {
		if (copy->items[i].kind != OSMEM_SEGMENT)
			continue;
		if (!shown++)
			put_segments_head(d, copy);
		put_segment(d, copy, i);
	}
}

/* The whole. */

static void put_legend(struct drawing *d)
{
	static const struct {
		double place; /* 0 begins a row */
		const char *class, *text;
	} kinds[] = {
		{0, "header", "header, records"},
		{130, "used", "used, slab"},
		{230, "free", "free"},
		{300, "ahead", "not yet used, or given back"},
		{500, "small used", "small blocks, mostly used"},
		{700, "small free", "mostly free"},
		{0, "span", "span"},
		{130, "kept", "free span that is kept"},
		{350, "mapped", "mapped"},
	};

	d->y += 12 - ROW_STEP;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		double x = LEFT + kinds[i].place;

		d->y += kinds[i].place > 0 ? 0 : ROW_STEP;
		put_bar(d, kinds[i].class, x, 20, kinds[i].text);
		put(d, "<text class=\"label\" x=\"%.0f\" y=\"%.1f\">%s</text>\n", x + 25, d->y + 12,
		    kinds[i].text);
	}
	d->y += ROW_STEP;
}

static void put_title(struct drawing *d)
{
	struct osmem_stats stats = {0};
	char program[256];

	inspect_get_stats(&stats);
	sys_program(program, sizeof(program));
	d->y = 8 + LINE;
	put(d, "<text class=\"title\" x=\"%.0f\" y=\"%.1f\">", LEFT, d->y);
	put_escaped(d, program);
	put(d, ", process %u: %s live, %s held</text>\n", (unsigned int)sys_process(),
	    readable(stats.live_bytes), readable(stats.held_bytes));
}

static void draw(struct drawing *d, const struct inspect_copy *copy)
{
	put_title(d);
	put_legend(d);
	put_regions(d, copy);
	put_mapped(d, copy);
	put_slabs(d, copy);
	put_segments(d, copy);
	d->y += 12;
}

/* Shades that differ in print, and patterns: rule 4. */
static const char style[] =
	"<style>\n"
	"text{font:12px sans-serif;fill:#222}.title{font-size:16px;font-weight:bold}"
	".head{font-size:14px;font-weight:bold}.in{font-size:10px}"
	"rect{stroke:#333;stroke-width:.4}.header{fill:#222}.used{fill:#5b9bd5}"
	".free{fill:url(#free)}.ahead{fill:url(#ahead)}.mapped{fill:url(#mapped)}"
	".small.used{fill:url(#busy)}.small.free{fill:url(#idle)}"
	".span{fill:url(#span)}.kept{fill:url(#kept)}\n"
	"</style>\n"
	"<defs>\n"
	"<pattern id=\"free\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\">"
	"<rect width=\"6\" height=\"6\" style=\"fill:#fff;stroke:none\"/>"
	"<path d=\"M0 6L6 0\" stroke=\"#999\"/></pattern>\n"
	"<pattern id=\"ahead\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\">"
	"<rect width=\"6\" height=\"6\" style=\"fill:#fff;stroke:none\"/>"
	"<circle cx=\"3\" cy=\"3\" r=\".7\" fill=\"#888\"/></pattern>\n"
	"<pattern id=\"mapped\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\">"
	"<rect width=\"6\" height=\"6\" style=\"fill:#f4b183;stroke:none\"/>"
	"<path d=\"M0 3H6\" stroke=\"#a50\"/></pattern>\n"
	"<pattern id=\"span\" width=\"6\" height=\"4\" patternUnits=\"userSpaceOnUse\">"
	"<rect width=\"6\" height=\"4\" style=\"fill:#6fbf9f;stroke:none\"/>"
	"<path d=\"M0 2H6\" stroke=\"#063\" stroke-width=\".6\"/></pattern>\n"
	"<pattern id=\"kept\" width=\"4\" height=\"6\" patternUnits=\"userSpaceOnUse\">"
	"<rect width=\"4\" height=\"6\" style=\"fill:#fff;stroke:none\"/>"
	"<path d=\"M2 0V6\" stroke=\"#063\"/></pattern>\n"
	"<pattern id=\"busy\" width=\"3\" height=\"6\" patternUnits=\"userSpaceOnUse\">"
	"<rect width=\"3\" height=\"6\" style=\"fill:#5b9bd5;stroke:none\"/>"
	"<path d=\"M1 0V6\" stroke=\"#246\"/></pattern>\n"
	"<pattern id=\"idle\" width=\"3\" height=\"6\" patternUnits=\"userSpaceOnUse\">"
	"<rect width=\"3\" height=\"6\" style=\"fill:#fff;stroke:none\"/>"
	"<path d=\"M1 0V6\" stroke=\"#999\"/></pattern>\n"
	"</defs>\n";

static bool write_picture(struct drawing *d, struct sys_file *f, const struct inspect_copy *copy)
{
	double height;

	draw(d, copy);
	height = d->y;
	*d = (struct drawing){.file = f, .is_whole = true};
	put(d,
	    "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %.0f %.0f\" width=\"%.0f\" "
	    "height=\"%.0f\" role=\"img\">\n",
	    WIDTH, height, WIDTH, height);
	put(d, "<title>The heap at exit</title>\n");
	flush(d);
	d->is_whole &= sys_file_append(f, style, sizeof(style) - 1);
	put(d, "<rect width=\"%.0f\" height=\"%.0f\" style=\"fill:#fff;stroke:none\"/>\n", WIDTH,
	    height);
	draw(d, copy);
	put(d, "</svg>\n");
	flush(d);
	return d->is_whole;
}

bool picture_write(struct sys_file *f)
{
	static struct drawing drawing; /* only the end of the process draws */
	struct inspect_copy copy;
	bool is_whole;

	if (!inspect_copy_all(&copy))
		return false;
	drawing = (struct drawing){0};
	is_whole = write_picture(&drawing, f, &copy);
	inspect_drop(&copy);
	return is_whole;
}
