// SPDX-License-Identifier: BSD-3-Clause

/*
 * The least that could be a course's printf.c: %c %d %s %u %x with l, and widths that are ignored.
 * It leaves _putchar to its user.
 */

#include "printf.h"

#include <stdint.h>

struct sink {
	void (*out)(char character, void *arg);
	void *arg;
	int count;
};

struct buffer {
	char *at;
	size_t room;
};

static void put(struct sink *s, char c)
{
	s->out(c, s->arg);
	s->count++;
}

static void put_number(struct sink *s, unsigned long n, unsigned int base)
{
	if (n >= base)
		put_number(s, n / base, base);
	put(s, "0123456789abcdef"[n % base]);
}

static void put_signed(struct sink *s, long n)
{
	if (n < 0)
		put(s, '-');
	put_number(s, n < 0 ? -(unsigned long)n : (unsigned long)n, 10);
}

static void put_string(struct sink *s, const char *text)
{
	while (*text)
		put(s, *text++);
}

/* One conversion; *va is moved behind its argument. */
static void convert(struct sink *s, char c, int is_long, va_list *va)
{
	if (c == 'c')
		put(s, (char)va_arg(*va, int));
	else if (c == 's')
		put_string(s, va_arg(*va, const char *));
	else if (c == 'd')
		put_signed(s, is_long ? va_arg(*va, long) : va_arg(*va, int));
	else if (c == 'u' || c == 'x')
		put_number(s, is_long ? va_arg(*va, unsigned long) : va_arg(*va, unsigned int),
			   c == 'u' ? 10 : 16);
	else
		put(s, c);
}

static int format_to(struct sink *s, const char *format, va_list va)
{
	va_list copy;

	va_copy(copy, va);
	for (; *format; format++) {
		int is_long = 0;

		if (*format != '%') {
			put(s, *format);
			continue;
		}
		for (format++; *format == '-' || (*format >= '0' && *format <= '9'); format++)
			;
		for (; *format == 'l'; format++)
			is_long = 1;
		convert(s, *format, is_long, &copy);
	}
	va_end(copy);
	return s->count;
}

static void to_buffer(char character, void *arg)
{
	struct buffer *b = arg;

	if (b->room <= 1)
		return;
	*b->at++ = character;
	b->room--;
}

static void to_putchar(char character, void *arg)
{
	(void)arg;
	_putchar(character);
}

int vsnprintf_(char *buffer, size_t count, const char *format, va_list va)
{
	struct buffer b = {.at = buffer, .room = count};
	struct sink s = {.out = to_buffer, .arg = &b};
	int n = format_to(&s, format, va);

	if (count)
		*b.at = '\0';
	return n;
}

int vprintf_(const char *format, va_list va)
{
	struct sink s = {.out = to_putchar};

	return format_to(&s, format, va);
}

int printf_(const char *format, ...)
{
	va_list va;
	int n;

	va_start(va, format);
	n = vprintf_(format, va);
	va_end(va);
	return n;
}

int sprintf_(char *buffer, const char *format, ...)
{
	va_list va;
	int n;

	va_start(va, format);
	n = vsnprintf_(buffer, SIZE_MAX, format, va);
	va_end(va);
	return n;
}

int snprintf_(char *buffer, size_t count, const char *format, ...)
{
	va_list va;
	int n;

	va_start(va, format);
	n = vsnprintf_(buffer, count, format, va);
	va_end(va);
	return n;
}

int fctprintf(void (*out)(char character, void *arg), void *arg, const char *format, ...)
{
	struct sink s = {.out = out, .arg = arg};
	va_list va;

	va_start(va, format);
	format_to(&s, format, va);
	va_end(va);
	return s.count;
}
