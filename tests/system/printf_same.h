/* SPDX-License-Identifier: BSD-3-Clause */

/* What tests of utils/printf.c share. */

#pragma once

#include "harness.h"

#include <float.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* Before printf.h gives the name to another. */
static int (*const libc_vsnprintf)(char *, size_t, const char *, va_list) = vsnprintf;

#include "printf.h"

#define TEXT_MAX 4096

/* What a test prints: of every kind something, and the most expensive conversions there are. */
#define EVERYTHING "%s|%-5d|%#x|%p|%c|%.1074f|%.767e|%g|%%\n"

#define EVERYTHING_ARGS "text", 42, 255u, (void *)0x1234, 'c', 3 * DBL_TRUE_MIN, DBL_MAX, 0.1

static inline void check_same(const char *format, const char *ours, int our_len, const char *theirs,
			      int their_len)
{
	CHECK_MSG(our_len == their_len, "%s: returned %d, libc %d", format, our_len, their_len);
	CHECK_MSG(strcmp(ours, theirs) == 0, "%s: \"%.150s\", libc \"%.150s\"", format, ours,
		  theirs);
}

/* The arguments must print the same as libc prints them. */
static inline void same(const char *format, ...)
{
	static char ours[TEXT_MAX], theirs[TEXT_MAX];
	int our_len, their_len;
	va_list va;

	va_start(va, format);
	our_len = vsnprintf_(ours, sizeof(ours), format, va);
	va_end(va);
	va_start(va, format);
	their_len = libc_vsnprintf(theirs, sizeof(theirs), format, va);
	va_end(va);
	check_same(format, ours, our_len, theirs, their_len);
}

/* The double n steps away from zero, or towards it. */
static inline double step(double x, int n)
{
	uint64_t bits;

	memcpy(&bits, &x, sizeof(bits));
	bits += (uint64_t)n;
	memcpy(&x, &bits, sizeof(bits));
	return x;
}
