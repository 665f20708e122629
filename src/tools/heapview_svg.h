/* SPDX-License-Identifier: BSD-3-Clause */

/* What the parts of the picture of a heap share: heapview_svg.c, heapview_svg_cells.c. */

#pragma once

#include "heapview.h"

#define KIB ((size_t)1024)
#define MIB (1024 * KIB)

#define WIDTH 1000.0
#define LEFT 20.0
#define ROW_WIDTH (WIDTH - 2 * LEFT)
#define ROW_HEIGHT 16.0
#define ROW_STEP 20.0
#define TITLE_SIZE 240

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

struct readable svg_readable(size_t bytes);

/* A bar of the current row. title is for pointers and screen readers. */
void svg_bar(const struct picture *p, const char *class, double x, double width, const char *title);
void svg_text(const struct picture *p, const char *class, double x, const char *text);
/* A separate line. */
void svg_line(struct picture *p, const char *class, const char *text);
/* Whether a text of size pixels surely fits in the width: an upper bound of its letters' widths. */
bool svg_fits(const char *text, double size, double width);

/* The first record of the kind at or after r, or NULL. */
const struct trace_record *svg_find(const struct picture *p, const struct trace_record *r,
				    enum trace_kind kind);

/* Slabs by the size of their cells, and segments. */
void svg_slabs(struct picture *p);
void svg_segments(struct picture *p);
