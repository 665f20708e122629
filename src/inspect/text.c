// SPDX-License-Identifier: BSD-3-Clause

#include "text.h"

#include "printf.h"

void text_vadd(struct text *t, const char *format, va_list args)
{
	size_t room;
	int n;

	if (t->flush && t->len > TEXT_SIZE - TEXT_PIECE)
		t->flush(t);
	room = TEXT_SIZE - t->len;
	n = vsnprintf_(t->at + t->len, room, format, args);
	if (n > 0)
		t->len += (size_t)n < room ? (size_t)n : room - 1;
}

void text_add(struct text *t, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	text_vadd(t, format, args);
	va_end(args);
}
