/* SPDX-License-Identifier: BSD-3-Clause */

/* A text buffer that formatted pieces are appended to. */

#pragma once

#include <stddef.h>

#define TEXT_SIZE 4096
#define TEXT_PIECE 2048 /* the longest piece that is never truncated */

struct text {
	/* Called if a piece may not fit; sets len to 0. NULL: the text is truncated instead. */
	void (*flush)(struct text *t);
	size_t len; /* below TEXT_SIZE */
	char at[TEXT_SIZE];
};

/* Room for any number with separators, and for any size with its unit. */
struct text_number {
	char text[32];
};

/* Write the text to standard error, and empty it. May be its flush. */
void text_print(struct text *t);

/* n in groups of three digits: "1,234,567". */
struct text_number text_grouped(size_t n);

/* Append a piece. utils/printf.c defines the format. */
void text_add(struct text *t, const char *format, ...) __attribute__((format(__printf__, 2, 3)));
