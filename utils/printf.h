/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * A printf that never allocates, for allocators and their tests. It takes no locks, calls only
 * write(2), mem*() and str*(), and needs less than 3 KiB of stack. So it may be called anywhere:
 * inside malloc, from a signal handler, in a forked child.
 *
 * A conversion is %[flags][width][.precision][length]conversion, as in ISO C:
 *
 *	flags		- + space # 0 (and ', which means nothing without a locale)
 *	width		a number, or * (negative: flag - and its absolute value)
 *	precision	a number, nothing (0), or * (negative: as if left out)
 *	length		hh h l ll z t j; L (a long double, rounded to double; or a long long)
 *	conversion	d i u o x X b B c s p f F e E g G %
 *
 * The result is what glibc prints in the C locale and the default rounding mode: floating point is
 * rounded correctly, halves to even, at any precision; # gives %b the prefix 0b; %p of NULL is
 * "(nil)", and %s of NULL is "(null)", or nothing if the precision is below 6.
 *
 * %n and %ls are not supported: they take their argument and are printed as they stand. So is
 * anything else that is unknown or cut short, %a and %1$d among them; it takes no argument. %lc is
 * like %c.
 *
 * Every function returns the number of characters of the whole text, without the terminating null.
 * If that does not fit in an int it returns -1 with errno EOVERFLOW, and part of the text has been
 * written; there are no other errors, and errno is otherwise preserved. All are thread-safe and
 * async-signal-safe, as long as _putchar or out is.
 */

#pragma once

#include <stdarg.h>
#include <stddef.h>
/* Before the macros below, which would rename its declarations and inline functions. */
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Output of printf_ and vprintf_, one character. The library's definition writes to file descriptor
 * 1 and ignores errors. It is weak: a program may define another.
 */
void _putchar(char character);

/* Print to _putchar. Output of several threads may interleave. */
int printf_(const char *format, ...) __attribute__((__format__(__printf__, 1, 2)));
int vprintf_(const char *format, va_list va) __attribute__((__format__(__printf__, 1, 0)));

/* Print to buffer, which must have room for everything and a null. */
int sprintf_(char *buffer, const char *format, ...) __attribute__((__format__(__printf__, 2, 3)));

/*
 * Print at most count - 1 characters and a null to buffer. With count 0 nothing is written and
 * buffer may be NULL. The text was truncated if the return value is count or more.
 */
int snprintf_(char *buffer, size_t count, const char *format, ...)
	__attribute__((__format__(__printf__, 3, 4)));
int vsnprintf_(char *buffer, size_t count, const char *format, va_list va)
	__attribute__((__format__(__printf__, 3, 0)));

/* Call out(character, arg) for each character, without a terminating null. */
int fctprintf(void (*out)(char character, void *arg), void *arg, const char *format, ...)
	__attribute__((__format__(__printf__, 3, 4)));

#define printf printf_
#define sprintf sprintf_
#define snprintf snprintf_
#define vsnprintf vsnprintf_
#define vprintf vprintf_

#ifdef __cplusplus
}
#endif
