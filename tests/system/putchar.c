// SPDX-License-Identifier: BSD-3-Clause
// Needs: objects

/* A program that defines _putchar itself. */

#include "harness.h"

#include <stdarg.h>
#include <string.h>

#include "printf.h"

static char text[64];
static size_t len;

void _putchar(char character)
{
	text[len++] = character;
}

__attribute__((format(__printf__, 1, 2))) static int call_vprintf(const char *format, ...)
{
	va_list va;
	int n;

	va_start(va, format);
	n = vprintf_(format, va);
	va_end(va);
	return n;
}

TEST(program_defines_putchar)
{
	CHECK(printf("%s %d", "text", 42) == 7);
	CHECK(call_vprintf("%5.1f", 1.25) == 5);
	CHECK(len == 12 && strcmp(text, "text 42  1.2") == 0);
}
