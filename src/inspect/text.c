// SPDX-License-Identifier: BSD-3-Clause

#include "text.h"

#include <stdarg.h>

#include "printf.h"

void text_add(struct text *t, const char *format, ...)
{
	va_list args;
	size_t room;
	int n;

	if (t->flush && t->len > TEXT_SIZE - TEXT_PIECE)
		t->flush(t);
	room = TEXT_SIZE - t->len;
	va_start(args, format);
	n = vsnprintf_(t->at + t->len, room, format, args);
	va_end(args);
	if (n > 0)
		t->len += (size_t)n < room ? (size_t)n : room - 1;
}
