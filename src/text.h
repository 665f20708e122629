/* SPDX-License-Identifier: BSD-3-Clause */

/* A text that grows by formatted pieces and is cut off rather than overrun. */

#pragma once

#include <stddef.h>

#define TEXT_SIZE 4096

struct text {
	size_t len; /* below TEXT_SIZE */
	char at[TEXT_SIZE];
};

/* Append; format is one of utils/printf.c. */
void text_add(struct text *t, const char *format, ...) __attribute__((format(__printf__, 2, 3)));
