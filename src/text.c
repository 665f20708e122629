// SPDX-License-Identifier: BSD-3-Clause

#include "text.h"

#include <stdarg.h>

#include "printf.h"

void text_add(struct text *t, const char *format, ...)
{
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf_(t->at + t->len, TEXT_SIZE - t->len, format, args);
	va_end(args);
	if (n > 0)
		t->len += (size_t)n < TEXT_SIZE - t->len ? (size_t)n : TEXT_SIZE - t->len - 1;
}
