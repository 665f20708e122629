// SPDX-License-Identifier: BSD-3-Clause

#include "text.h"

#include <stdarg.h>

#include "helpers.h"
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

void text_print(struct text *t)
{
	sys_print(t->at, t->len);
	t->len = 0;
}

struct text_number text_grouped(size_t n)
{
	struct text_number number = {.text = ""};
	size_t power = 1, len;

	while (n / power >= 1000)
		power *= 1000;
	len = (size_t)snprintf_(number.text, sizeof(number.text), "%zu", n / power);
	while (power /= 1000)
		len += (size_t)snprintf_(number.text + len, sizeof(number.text) - len, ",%03zu",
					 n / power % 1000);
	return number;
}
