// SPDX-License-Identifier: BSD-3-Clause

/* Slabs and segments in the picture of a heap: rules 2 and 3 of heapview_svg.c. */

#include <stdlib.h>

#include "heapview_svg.h"

#define SLOTS 64 /* of a segment */
#define SLOT_SIZE (64 * KIB)
#define SLOTS_LEFT 140.0
#define SLOT_WIDTH 13.0
#define SEGMENTS_MAX 128
#define BAR_LEFT 170.0
#define BAR_WIDTH 420.0

/* ---- Slabs: rule 2 ---- */

struct class_sum {
	size_t cell, slabs, cells, carved, out, cached;
};

static int by_cell(const void *a, const void *b)
{
	const struct class_sum *x = a, *y = b;

	return x->cell < y->cell ? -1 : x->cell > y->cell;
}

static void put_class(struct picture *p, const struct class_sum *sum)
{
	const struct {
		const char *class;
		size_t cells;
	} parts[] = {
		{"used", sum->out - sum->cached},
		{"kept", sum->cached},
		{"free", sum->carved - sum->out},
		{"ahead", sum->cells - sum->carved},
	};
	double x = BAR_LEFT;
	char text[TITLE_SIZE];

	snprintf(text, sizeof(text), "%zu bytes", sum->cell);
	svg_text(p, "label", LEFT, text);
	snprintf(text, sizeof(text), "%zu of %zu cells live, %zu cached, %zu free, %zu never used",
		 parts[0].cells, sum->cells, parts[1].cells, parts[2].cells, parts[3].cells);
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		double width = BAR_WIDTH * (double)parts[i].cells / (double)sum->cells;

		if (parts[i].cells)
			svg_bar(p, parts[i].class, x, width, text);
		x += width;
	}
	snprintf(text, sizeof(text), "%zu live, %zu cached, of %zu cell%s in %zu slab%s",
		 parts[0].cells, sum->cached, sum->cells, sum->cells == 1 ? "" : "s", sum->slabs,
		 sum->slabs == 1 ? "" : "s");
	svg_text(p, "label", BAR_LEFT + BAR_WIDTH + 12, text);
	p->y += ROW_STEP;
}

/* The cells of that size that are cached: at most as many as are out. */
static size_t count_cached(const struct picture *p, size_t cell, size_t out)
{
	const struct trace_record *r = svg_find(p, p->records, TRACE_SNAP_CACHE);

	while (r && r->a != cell)
		r = svg_find(p, r + 1, TRACE_SNAP_CACHE);
	return !r ? 0 : r->b < out ? r->b : out;
}

/* Sum the program's slabs by cell size. Returns the number of sums. */
static size_t sum_slabs(const struct picture *p, struct class_sum *sums)
{
	const struct trace_record *s = svg_find(p, p->records, TRACE_SNAP_SLAB);
	size_t count = 0, kinds = 0;

	for (; s; s = svg_find(p, s + 1, TRACE_SNAP_SLAB))
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
	for (size_t i = 0; i < kinds; i++)
		sums[i].cached = count_cached(p, sums[i].cell, sums[i].out);
	return kinds;
}

void svg_slabs(struct picture *p)
{
	struct class_sum *sums = grow(NULL, (size_t)(p->end - p->records) + 1, sizeof(*sums));
	size_t count = sum_slabs(p, sums);

	if (count)
		svg_line(p, "head", "malloc: cells in slabs, by size");
	for (size_t i = 0; i < count; i++)
		put_class(p, &sums[i]);
	free(sums);
}

/* ---- Segments: rule 3 ---- */

static double slots_width(size_t bytes)
{
	return SLOT_WIDTH * (double)bytes / (double)SLOT_SIZE;
}

static void put_slot(const struct picture *p, unsigned int slot, bool is_dirty)
{
	const char *class = slot == 0 ? "header" : is_dirty ? "free" : "ahead";
	char title[TITLE_SIZE];

	snprintf(title, sizeof(title), "slot %u: %s", slot,
		 slot == 0  ? "records"
		 : is_dirty ? "free, dirty"
			    : "never used, or purged");
	svg_bar(p, class, SLOTS_LEFT + slots_width(slot * SLOT_SIZE), SLOT_WIDTH - 2, title);
}

/* A slab on top of its slots: the parts of it that are live, cached and free. */
static void put_slab(const struct picture *p, const struct trace_record *slab, size_t offset)
{
	size_t cell = (uint32_t)slab->b, out = (uint16_t)(slab->c >> 32), cached;
	double size = (double)(slab->b >> 32) * (double)SLOT_SIZE,
	       x = SLOTS_LEFT + slots_width(offset);
	double width = slots_width((slab->b >> 32) * SLOT_SIZE) - 2, live;
	struct class_sum sum = {.cell = cell};
	char title[TITLE_SIZE];

	if (slab->c >> 48) {
		svg_bar(p, "header", x, width, "slab of the library's own objects");
		return;
	}
	for (const struct trace_record *s = p->records; (s = svg_find(p, s, TRACE_SNAP_SLAB)); s++)
		sum.out += !(s->c >> 48) && (uint32_t)s->b == cell ? (uint16_t)(s->c >> 32) : 0;
	cached = sum.out ? count_cached(p, cell, sum.out) * out / sum.out : 0;
	snprintf(title, sizeof(title),
		 "slab of %zu bytes a cell: about %zu live, %zu cached, %zu free", cell,
		 out - cached, cached, (size_t)(uint16_t)slab->c - out);
	live = width * (double)((out - cached) * cell) / size;
	svg_bar(p, "free", x, width, title);
	svg_bar(p, "used", x, live, title);
	if (cached)
		svg_bar(p, "kept", x + live, width * (double)(cached * cell) / size, title);
}

static void put_span(const struct picture *p, const struct trace_record *span, size_t offset)
{
	char title[TITLE_SIZE];

	snprintf(title, sizeof(title), "%s at 0x%zx, %s", span->c ? "live span" : "cached span",
		 (size_t)span->a, svg_readable(span->b).text);
	svg_bar(p, span->c ? "span" : "kept", SLOTS_LEFT + slots_width(offset),
		slots_width(span->b), title);
}

/* The slabs and spans of a segment are drawn on top of its slots. */
static void put_segment(struct picture *p, const struct trace_record *segment, size_t number)
{
	const struct trace_record *i = segment + 1;
	char label[32];

	snprintf(label, sizeof(label), "segment %zu", number);
	svg_text(p, "label", LEFT, label);
	for (unsigned int slot = 0; slot < SLOTS; slot++)
		put_slot(p, slot, segment->c >> slot & 1);
	for (; i < p->end && i->kind == TRACE_SNAP_SLAB; i++)
		if (i->a - segment->a < SLOTS * SLOT_SIZE && (i->b >> 32) <= SLOTS && (i->b >> 32))
			put_slab(p, i, i->a - segment->a);
	for (; i < p->end && i->kind == TRACE_SNAP_SPAN; i++)
		put_span(p, i, i->a - segment->a);
	p->y += ROW_STEP;
}

void svg_segments(struct picture *p)
{
	const struct trace_record *i = svg_find(p, p->records, TRACE_SNAP_SPAN);
	size_t count[2] = {0}, bytes[2] = {0}; /* of spans: cached, live */
	size_t segments = 0;
	char text[TITLE_SIZE];

	for (; i; i = svg_find(p, i + 1, TRACE_SNAP_SPAN)) {
		count[!!i->c]++;
		bytes[!!i->c] += i->b;
	}
	for (i = p->records; (i = svg_find(p, i, TRACE_SNAP_SEGMENT)); i++)
		segments++;
	if (!segments)
		return;
	i = svg_find(p, p->records, TRACE_SNAP_SEGMENT);
	snprintf(text, sizeof(text),
		 "segments of 4 MiB: 64 slots of 64 KiB each; live spans: %zu (%s), cached: %zu "
		 "(%s)%s",
		 count[1], svg_readable(bytes[1]).text, count[0], svg_readable(bytes[0]).text,
		 segments > SEGMENTS_MAX ? "; the first of them drawn" : "");
	svg_line(p, "head", text);
	for (size_t n = 0; i && n < SEGMENTS_MAX; i = svg_find(p, i + 1, TRACE_SNAP_SEGMENT), n++)
		put_segment(p, i, n + 1);
}
