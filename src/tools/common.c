// SPDX-License-Identifier: BSD-3-Clause

/* Errors and memory. */

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "heapview.h"
#include "live.h"

void die(const char *format, ...)
{
	va_list args;

	live_restore();
	fputs("heapview: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(1);
}

void *grow(void *p, size_t count, size_t size)
{
	p = reallocarray(p, count, size);
	if (!p)
		die("out of memory");
	return p;
}
