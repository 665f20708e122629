/* SPDX-License-Identifier: BSD-3-Clause */

/* A text that grows by formatted pieces. */

#pragma once

#include <stddef.h>

#define TEXT_SIZE 4096
#define TEXT_PIECE 2048 /* the longest piece that is never cut off */

struct text {
	/* Called where a piece may not fit; sets len to 0. NULL: the text is cut off instead. */
	void (*flush)(struct text *t);
	size_t len; /* below TEXT_SIZE */
	char at[TEXT_SIZE];
};

/* Append; format is one of utils/printf.c. */
void text_add(struct text *t, const char *format, ...) __attribute__((format(__printf__, 2, 3)));
