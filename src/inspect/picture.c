// SPDX-License-Identifier: BSD-3-Clause

/*
 * The picture of the heap at exit.
 *
 * 1. The regions of os_malloc are drawn in rows, to one scale: a block is as long as it is, header
 *    and payload. Neighbours that would be thinner than MIN_WIDTH share one bar.
 * 2. Slabs are summed by class: how much of their room is out, free, and not yet carved.
 * 3. Segments are drawn slot by slot, with the spans in them to scale; mappings as bars, the
 *    largest as wide as a row.
 * 4. Every kind has a pattern and a shade of its own, so that it reads without colour; titles give
 *    the figures to pointers and screen readers.
 *
 * It is drawn twice: first to nowhere, to know how high it will be.
 */

#include <stdarg.h>
#include <string.h>

#include "inspect.h"
#include "printf.h"
#include "slab/slab.h"
#include "text.h"

#define WIDTH 1000.0
#define LEFT 20.0
#define ROW_WIDTH (WIDTH - 2 * LEFT)
#define ROWS_MAX 32 /* of a heap's regions */
#define ROW_MIN (8 * KIB) /* bytes in a row, at least */
#define ROW_HEIGHT 16.0
#define ROW_STEP 20.0
#define LINE 18.0 /* of text, with a gap above it */
#define LINE_GAP 6.0
#define BASELINE 12.0 /* of text, from the top of its row */
#define MIN_WIDTH 0.5
#define LABEL_MIN 46.0 /* a block this wide has its size written into it */
#define SLOTS 64 /* of a segment */
#define SLOTS_LEFT 140.0
#define SLOT_WIDTH 13.0
#define SEGMENTS_MAX 128
#define MAPPED_MAX 64
#define BAR_LEFT 170.0
#define BAR_WIDTH 420.0

/* The picture under way: only the end of the process draws. */
static struct {
	struct text text;
	struct sys_file *file; /* NULL while the height is measured */
	bool is_whole; /* everything could be written */
	double y; /* the top of what is drawn next */
	const struct osmem_item *items, *end;
} picture;

static void flush(struct text *t)
{
	picture.is_whole &= sys_file_append(picture.file, t->at, t->len);
	t->len = 0;
}

__attribute__((format(__printf__, 1, 2))) static void put(const char *format, ...)
{
	va_list args;

	if (!picture.file)
		return;
	va_start(args, format);
	text_vadd(&picture.text, format, args);
	va_end(args);
}

/* A short text, in one of a few places that take turns. */
__attribute__((format(__printf__, 1, 2))) static const char *say(const char *format, ...)
{
	static char texts[8][160];
	static unsigned int next;
	char *text = texts[next++ % COUNT_OF(texts)];
	va_list args;

	if (!picture.file)
		return "";
	va_start(args, format);
	vsnprintf_(text, sizeof(texts[0]), format, args);
	va_end(args);
	return text;
}

/* 12345678 as 11.7 MiB. */
static const char *readable(size_t bytes)
{
	static const char units[] = "KMGT";
	const char *unit = units;

	if (bytes < KIB)
		return say("%zu bytes", bytes);
	for (; bytes >= MIB && unit[1]; unit++)
		bytes /= KIB;
	return say("%zu.%zu %ciB", bytes / KIB, bytes % KIB * 10 / KIB, *unit);
}

static void put_bar(const char *class, double x, double width, const char *title)
{
	put("<rect class=\"%s\" x=\"%.2f\" y=\"%.1f\" width=\"%.2f\" height=\"%.0f\">"
	    "<title>%s</title></rect>\n",
	    class, x, picture.y, width, ROW_HEIGHT, title);
}

static void put_text(const char *class, double x, const char *text)
{
	put("<text class=\"%s\" x=\"%.2f\" y=\"%.1f\">%s</text>\n", class, x, picture.y + BASELINE,
	    text);
}

/* A line of its own. */
static void put_line(const char *class, const char *text)
{
	picture.y += LINE_GAP;
	put_text(class, LEFT, text);
	picture.y += LINE;
}

static unsigned long address(const struct osmem_item *i)
{
	return (unsigned long)(uintptr_t)i->start;
}

/* The first item of the kind from i on, or NULL. */
static const struct osmem_item *find_item(const struct osmem_item *i, enum osmem_kind kind)
{
	while (i < picture.end && i->kind != kind)
		i++;
	return i < picture.end ? i : NULL;
}

/* Blocks of os_malloc: rule 1. */

struct rows {
	size_t bytes; /* in a row */
	size_t at; /* bytes of the region that are drawn */
	size_t small, small_free; /* bytes of thin blocks behind that, which wait for their bar */
};

static double width_of(const struct rows *r, size_t bytes)
{
	return ROW_WIDTH * (double)bytes / (double)r->bytes;
}

/* A bar from at on, over as many rows as it takes; the last of them stays the current one. */
static void put_bytes(struct rows *r, const char *class, size_t size, const char *title,
		      const char *label)
{
	while (size) {
		size_t column = r->at % r->bytes, room = r->bytes - column;
		size_t part = size < room ? size : room;
		double x = LEFT + width_of(r, column), width = width_of(r, part);

		put_bar(class, x, width, title);
		if (label && width >= LABEL_MIN) {
			put_text("in", x + 4, label);
			label = NULL;
		}
		r->at += part;
		size -= part;
		if (part == room)
			picture.y += ROW_STEP;
	}
}

static void put_small(struct rows *r)
{
	const char *class = r->small_free * 2 > r->small ? "small free" : "small used";

	if (r->small)
		put_bytes(r, class, r->small,
			  say("small blocks, %s, of which %s free", readable(r->small),
			      readable(r->small_free)),
			  NULL);
	r->small = r->small_free = 0;
}

static void put_block(struct rows *r, const struct osmem_item *b)
{
	const char *class = b->status ? "used" : "free", *title;

	if (width_of(r, b->size) < MIN_WIDTH) {
		r->small += b->size;
		r->small_free += b->status ? 0 : b->size;
		return;
	}
	put_small(r);
	title = say("%s block at 0x%lx, payload %zu bytes", class, address(b), b->payload);
	put_bytes(r, "header", b->size - b->payload, title, NULL);
	put_bytes(r, class, b->payload, title, say("%zu", b->payload));
}

/* What is ahead of need is drawn to the end of the row only. */
static void put_region(const struct osmem_item *region, size_t row_bytes)
{
	struct rows r = {.bytes = row_bytes};
	size_t room;

	put_line("note", say("region at 0x%lx: %s, and %s ahead of need", address(region),
			     readable(region->size), readable(region->ahead)));
	for (const struct osmem_item *b = region + 1; b < picture.end && b->kind == OSMEM_BLOCK;
	     b++)
		put_block(&r, b);
	put_small(&r);
	room = row_bytes - r.at % row_bytes;
	put_bytes(&r, "ahead", region->ahead < room ? region->ahead : room, "ahead of need", NULL);
	if (r.at % row_bytes)
		picture.y += ROW_STEP;
}

static void put_regions(void)
{
	const struct osmem_item *const first = find_item(picture.items, OSMEM_REGION);
	size_t total = 0, row_bytes = ROW_MIN;

	for (const struct osmem_item *i = first; i; i = find_item(i + 1, OSMEM_REGION))
		total += i->size;
	if (!total)
		return;
	while (total / row_bytes >= ROWS_MAX)
		row_bytes *= 2;
	put_line("head", say("os_malloc: blocks in regions, a row is %s", readable(row_bytes)));
	for (const struct osmem_item *i = first; i; i = find_item(i + 1, OSMEM_REGION))
		put_region(i, row_bytes);
}

/* Mappings: rule 3. */

static void put_mapped_block(const struct osmem_item *m, size_t largest)
{
	double width = ROW_WIDTH * (double)m->mapping / (double)largest;

	put_bar("mapped", LEFT, width < 2 ? 2 : width,
		say("%s: mapped block at 0x%lx, payload %zu bytes, mapping %s",
		    m->heap == OSMEM_COURSE ? "os_malloc" : "malloc", address(m), m->payload,
		    readable(m->mapping)));
	put_text("in", LEFT + 6, say("%zu", m->payload));
	picture.y += ROW_STEP;
}

static void put_mapped(void)
{
	const struct osmem_item *const first = find_item(picture.items, OSMEM_MAPPED), *i;
	size_t count = 0, largest = 0;

	for (i = first; i; i = find_item(i + 1, OSMEM_MAPPED)) {
		count++;
		largest = i->mapping > largest ? i->mapping : largest;
	}
	if (!count)
		return;
	put_line("head", say("mappings: %zu%s, by length", count,
			     count > MAPPED_MAX ? ", the first of them drawn" : ""));
	count = 0;
	for (i = first; i && count < MAPPED_MAX; i = find_item(i + 1, OSMEM_MAPPED), count++)
		put_mapped_block(i, largest);
}

/* Slabs: rule 2. */

struct class_sum {
	size_t slabs, cells, carved, out;
};

static void put_class(size_t cell, const struct class_sum *sum)
{
	double out = BAR_WIDTH * (double)sum->out / (double)sum->cells;
	double free = BAR_WIDTH * (double)(sum->carved - sum->out) / (double)sum->cells;
	const char *title = say("%zu of %zu cells out, %zu free, %zu never used", sum->out,
				sum->cells, sum->carved - sum->out, sum->cells - sum->carved);

	put_text("label", LEFT, say("%zu bytes", cell));
	put_bar("used", BAR_LEFT, out, title);
	put_bar("free", BAR_LEFT + out, free, title);
	put_bar("ahead", BAR_LEFT + out + free, BAR_WIDTH - out - free, title);
	put_text("label", BAR_LEFT + BAR_WIDTH + 12,
		 say("%zu of %zu cells in %zu slab%s", sum->out, sum->cells, sum->slabs,
		     sum->slabs == 1 ? "" : "s"));
	picture.y += ROW_STEP;
}

static void put_slabs(void)
{
	static struct class_sum sums[CLASS_COUNT];
	bool is_any = false;

	memset(sums, 0, sizeof(sums));
	for (const struct osmem_item *s = picture.items; s < picture.end; s++) {
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
	if (is_any)
		put_line("head",
			 "malloc: cells in slabs, by size (out: with the program, or cached)");
	for (unsigned int class = 1; class < CLASS_COUNT; class += 1)
		if (sums[class].slabs)
			put_class(slab_classes[class].size, &sums[class]);
}

/* Segments: rule 3. */

static size_t offset_in(const struct osmem_item *segment, const struct osmem_item *i)
{
	return (uintptr_t)i->start - (uintptr_t)segment->start;
}

/* How wide so many bytes of a segment are. */
static double slots_width(size_t bytes)
{
	return SLOT_WIDTH * (double)bytes / (double)SLAB_SIZE;
}

static void put_slot(unsigned int slot, bool is_slab, bool is_dirty)
{
	static const struct {
		const char *class, *title;
	} kinds[] = {
		{"header", "records"},
		{"used", "slab"},
		{"free", "free, its pages still here"},
		{"ahead", "not touched, or given back"},
	};
	unsigned int kind = slot == 0 ? 0 : is_slab ? 1 : is_dirty ? 2 : 3;

	put_bar(kinds[kind].class, SLOTS_LEFT + slots_width(slot * SLAB_SIZE), SLOT_WIDTH - 2,
		say("slot %u: %s", slot, kinds[kind].title));
}

static void put_span(const struct osmem_item *span, size_t offset)
{
	put_bar(span->status ? "span" : "kept", SLOTS_LEFT + slots_width(offset),
		slots_width(span->size),
		say("%s at 0x%lx, %s", span->status ? "span" : "free span that is kept",
		    address(span), readable(span->size)));
}

/* The spans of a segment, which are behind its slabs, are drawn on top of its slots. */
static void put_segment(const struct osmem_item *segment)
{
	const struct osmem_item *i = segment + 1;
	uint64_t slabs = 0;

	for (; i < picture.end && i->kind == OSMEM_SLAB; i++)
		for (size_t at = 0; at < i->size; at += SLAB_SIZE)
			slabs |= (uint64_t)1 << (offset_in(segment, i) + at) / SLAB_SIZE;
	put_text("label", LEFT, say("0x%lx", address(segment)));
	for (unsigned int slot = 0; slot < SLOTS; slot++)
		put_slot(slot, slabs >> slot & 1, segment->dirty >> slot & 1);
	for (; i < picture.end && i->kind == OSMEM_SPAN; i++)
		put_span(i, offset_in(segment, i));
	picture.y += ROW_STEP;
}

static void put_segments(void)
{
	const struct osmem_item *i = find_item(picture.items, OSMEM_SPAN);
	size_t count[2] = {0}, bytes[2] = {0}; /* of spans: kept, live */

	for (; i; i = find_item(i + 1, OSMEM_SPAN)) {
		count[!!i->status]++;
		bytes[!!i->status] += i->size;
	}
	i = find_item(picture.items, OSMEM_SEGMENT);
	if (!i)
		return;
	put_line("head",
		 say("segments of 4 MiB: 64 slots of 64 KiB each; %zu spans (%s), %zu kept (%s)",
		     count[1], readable(bytes[1]), count[0], readable(bytes[0])));
	for (size_t n = 0; i && n < SEGMENTS_MAX; i = find_item(i + 1, OSMEM_SEGMENT), n++)
		put_segment(i);
}

/* The whole. */

static void put_legend(void)
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

	for (size_t i = 0; i < COUNT_OF(kinds); i++) {
		double x = LEFT + kinds[i].place;

		picture.y += i > 0 && kinds[i].place == 0 ? ROW_STEP : 0;
		put_bar(kinds[i].class, x, 20, kinds[i].text);
		put_text("label", x + 25, kinds[i].text);
	}
	picture.y += ROW_STEP;
}

/* Text of somebody else. */
static void put_escaped(const char *text)
{
	for (; *text; text++)
		put(strchr("<>&\"'", *text) ? "&#%d;" : "%c",
		    *text >= ' ' && *text < 0x7f ? *text : '?');
}

static void put_title(void)
{
	struct osmem_stats stats = {0};
	char program[201];

	inspect_get_stats(&stats);
	sys_program(program, sizeof(program));
	put("<text class=\"title\" x=\"%.0f\" y=\"%.1f\">", LEFT, picture.y + BASELINE);
	put_escaped(program);
	put(", process %u: %s live, %s held</text>\n", (unsigned int)sys_process(),
	    readable(stats.live_bytes), readable(stats.held_bytes));
	picture.y += LINE + LINE_GAP;
}

static void draw(struct sys_file *f)
{
	picture.file = f;
	picture.y = 14;
	put_title();
	put_legend();
	put_regions();
	put_mapped();
	put_slabs();
	put_segments();
}

/* Shades that differ in print, and patterns: rule 4. */
static const char style[] =
	"<style>\n"
	"text{font:12px sans-serif;fill:#222}.title{font-size:16px;font-weight:bold}"
	".head{font-size:14px;font-weight:bold}.in{font-size:10px}"
	"rect{stroke:#333;stroke-width:.4}pattern rect{stroke:none}.header{fill:#222}"
	".used{fill:#5b9bd5}.free{fill:url(#free)}.ahead{fill:url(#ahead)}.mapped{fill:url(#mapped)"
	"}"
	".small.used{fill:url(#busy)}.small.free{fill:url(#idle)}"
	".span{fill:url(#span)}.kept{fill:url(#kept)}\n"
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

bool picture_write(struct sys_file *f)
{
	struct item_list copy;
	double height;

	if (!inspect_copy_all(&copy))
		return false;
	picture.text.flush = flush;
	picture.is_whole = true;
	picture.items = copy.items;
	picture.end = copy.items + copy.count;
	draw(NULL);
	height = picture.y + BASELINE;
	picture.file = f;
	put("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %.0f %.0f\" width=\"%.0f\" "
	    "height=\"%.0f\" role=\"img\">\n<title>The heap at exit</title>\n",
	    WIDTH, height, WIDTH, height);
	put("%s", style);
	put("<rect width=\"%.0f\" height=\"%.0f\" style=\"fill:#fff;stroke:none\"/>\n", WIDTH,
	    height);
	draw(f);
	put("</svg>\n");
	flush(&picture.text);
	inspect_drop(&copy);
	return picture.is_whole;
}
