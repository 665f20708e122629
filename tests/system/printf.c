// SPDX-License-Identifier: BSD-3-Clause
// Needs: objects

/* utils/printf.c against tables. */

#include "harness.h"

#include <errno.h>
#include <float.h>
#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <wchar.h>

#include "printf_same.h"

static void expect_at(int line, const char *want, const char *format, ...)
{
	char got[TEXT_MAX];
	va_list va;
	int len;

	va_start(va, format);
	len = vsnprintf_(got, sizeof(got), format, va);
	va_end(va);
	if (strcmp(got, want) != 0)
		test_fail(__FILE__, line, "%s: \"%s\"", format, got);
	if (len != (int)strlen(want))
		test_fail(__FILE__, line, "%s: returned %d", format, len);
}

/*
 * Ours prints want; EXPECT_SAME: and so does libc, so the table cannot be wrong. EXPECT_GLIBC: and
 * so does glibc, but not musl.
 */
#define EXPECT(want, ...) expect_at(__LINE__, want, __VA_ARGS__)
#define EXPECT_SAME(want, ...)                                                                     \
	do {                                                                                       \
		EXPECT(want, __VA_ARGS__);                                                         \
		same(__VA_ARGS__);                                                                 \
	} while (0)
#ifdef __GLIBC__
#define EXPECT_GLIBC EXPECT_SAME
#else
#define EXPECT_GLIBC EXPECT
#endif

/* Tables */

TEST(plain_text)
{
	EXPECT_SAME("", "%s", "");
	EXPECT_SAME("text", "text");
	EXPECT_SAME("%", "%%");
	EXPECT_GLIBC("%", "%5%");
	EXPECT_SAME("1%2", "%d%%%d", 1, 2);
	CHECK(snprintf_(NULL, 0, "%s", "") == 0);
}

TEST(decimal)
{
	EXPECT_SAME("0", "%d", 0);
	EXPECT_SAME("-1", "%i", -1);
	EXPECT_SAME("-2147483648", "%d", INT_MIN);
	EXPECT_SAME("4294967295", "%u", UINT_MAX);
	EXPECT_SAME("+1 +0 -1", "%+d %+d %+d", 1, 0, -1);
	EXPECT_SAME(" 1  0 -1", "% d % d % d", 1, 0, -1);
	EXPECT_SAME("+1", "%+ d", 1);
	EXPECT_SAME("1", "%+u", 1u);
	EXPECT_SAME("   42|42   |00042", "%5d|%-5d|%05d", 42, 42, 42);
	EXPECT_SAME("-0042|+0042|42   ", "%05d|%+05d|%-05d", -42, 42, 42);
	EXPECT_SAME("00042|   00042|   -00042", "%.5d|%8.5d|%9.5d", 42, 42, -42);
	EXPECT_SAME("   00042", "%08.5d", 42);
	EXPECT_SAME("||     |+", "%.0d|%.d|%5.0d|%+.0d", 0, 0, 0, 0);
	EXPECT_SAME("1234567", "%'d", 1234567);
}

TEST(bases)
{
	EXPECT_GLIBC("ff FF 377 11", "%x %X %o %b", 255, 255, 255, 3);
	EXPECT_GLIBC("0xff 0XFF 0377 0b11 0B11", "%#x %#X %#o %#b %#B", 255, 255, 255, 3, 3);
	EXPECT_GLIBC("0 0 0 0", "%#x %#X %#o %#b", 0, 0, 0, 0);
	EXPECT_GLIBC("|0||0x001|010|0010", "%#.0x|%#.0o|%#.0b|%#.3x|%#.3o|%#.4o", 0, 0, 0, 1, 8, 8);
	EXPECT_GLIBC("0x0000ff|  0xff|0xff  |0b00101", "%#08x|%#6x|%-#6x|%#07b", 255, 255, 255, 5);
	EXPECT_GLIBC("11111111111111111111111111111111", "%b", UINT_MAX);
	EXPECT_GLIBC("0b11111111111111111111111111111111"
		     "11111111111111111111111111111111",
		     "%#lb", ULONG_MAX);
	same("%lo|%lX", ULONG_MAX, ULONG_MAX);
}

TEST(lengths)
{
	EXPECT_SAME("44 -1 255", "%hhd %hhd %hhu", 300, 255, 255);
	EXPECT_SAME("4464 -1 65535", "%hd %hd %hu", 70000, 65535, 65535);
	EXPECT_SAME("-9223372036854775808", "%ld", LONG_MIN);
	EXPECT_SAME("-9223372036854775808", "%lld", LLONG_MIN);
	EXPECT_SAME("18446744073709551615", "%llu", ULLONG_MAX);
	EXPECT_SAME("18446744073709551615 -1", "%zu %zd", SIZE_MAX, (ssize_t)-1);
	EXPECT_SAME("-5 ffffffffffffffff", "%td %tx", (ptrdiff_t)-5, (ptrdiff_t)-1);
	EXPECT_SAME("-7 ffffffffffffffff", "%jd %jx", (intmax_t)-7, UINTMAX_MAX);
	EXPECT_GLIBC("1099511627776", "%Ld", 1LL << 40);
	EXPECT_SAME("1.5 1.5", "%lg %Lg", 1.5, 1.5L);
	EXPECT_SAME("0xff", "%#hhx", 0x12ff);
}

TEST(stars)
{
	EXPECT_SAME("   42|42   |00042", "%*d|%*d|%0*d", 5, 42, -5, 42, 5, 42);
	EXPECT_SAME("00042|42|0|", "%.*d|%.*d|%.*d|%.*d", 5, 42, -5, 42, -1, 0, 0, 0);
	EXPECT_SAME("00042", "%05.*d", -1, 42);
	EXPECT_SAME("  001|001  ", "%*.*d|%-*.*d", 5, 3, 1, 5, 3, 1);
	EXPECT_SAME("ab|abc", "%.*s|%.*s", 2, "abc", -2, "abc");
	EXPECT_SAME("1.50|1.500000", "%.*f|%.*f", 2, 1.5, -2, 1.5);
}

TEST(strings)
{
	static const char unterminated[3] = {'a', 'b', 'c'};

	EXPECT_SAME("abc|  abc|abc  ", "%s|%5s|%-5s", "abc", "abc", "abc");
	EXPECT_SAME("ab|   ab||     ", "%.2s|%5.2s|%.0s|%5.s", "abc", "abc", "abc", "abc");
	EXPECT_SAME("  abc|abc|abc", "%05s|%+s|%#s", "abc", "abc", "abc");
	EXPECT_SAME("abc", "%.3s", unterminated);
	EXPECT_SAME("(null)|  (null)|(null)  ", "%s|%8s|%-8s", NULL, NULL, NULL);
	EXPECT_GLIBC("|(null)|        ", "%.5s|%.6s|%8.2s", NULL, NULL, NULL);
	EXPECT_SAME("x|    x|x    |    x", "%c|%5c|%-5c|%05c", 'x', 'x', 'x', 'x');
	CHECK(snprintf_(NULL, 0, "a%cb", '\0') == 3);
}

TEST(pointers)
{
	EXPECT_SAME("0x1234|0xffffffffffffffff", "%p|%p", (void *)0x1234, (void *)-1);
	EXPECT_SAME("    0x12|0x12    |0x000012", "%8p|%-8p|%08p", (void *)0x12, (void *)0x12,
		    (void *)0x12);
	EXPECT_GLIBC("+0x12| 0x12|0x0012", "%+p|% p|%.4p", (void *)0x12, (void *)0x12,
		     (void *)0x12);
	EXPECT_GLIBC("(nil)|   (nil)|(nil)   |   (nil)", "%p|%8p|%-8p|%08p", NULL, NULL, NULL,
		     NULL);
	EXPECT_GLIBC("(nil)|(nil)", "%.2p|%+p", NULL, NULL);
}

TEST(unknown)
{
	EXPECT("%y %ly %-+ #08.3y", "%y %ly %-+ #08.3y");
	EXPECT("%y5", "%y%d", 5);
	EXPECT("%*y5", "%*y%d", 7, 5);
	EXPECT("%a %C %S %m %1$d", "%a %C %S %m %1$d");
	EXPECT("%n5", "%n%d", (int *)NULL, 5);
	EXPECT("%ls5", "%ls%d", L"wide", 5);
	EXPECT("w5", "%lc%d", (wint_t)L'w', 5);
	EXPECT("100%", "100%");
	EXPECT("%-5", "%-5");
	EXPECT("%.", "%.");
	EXPECT("%l", "%l");
}

TEST(special_floats)
{
	EXPECT_SAME("inf -inf INF", "%f %e %G", INFINITY, -INFINITY, INFINITY);
	EXPECT_SAME("nan -nan NAN", "%f %g %E", copysign(NAN, 1), copysign(NAN, -1),
		    copysign(NAN, 1));
	EXPECT_SAME("  inf|inf  |  inf|+inf| inf", "%5f|%-5f|%05f|%+f|% f", INFINITY, INFINITY,
		    INFINITY, INFINITY, INFINITY);
	EXPECT_SAME("inf", "%#.3f", INFINITY);
	EXPECT_SAME("0.000000 -0.000000 +0.000000", "%f %f %+f", 0.0, -0.0, 0.0);
	EXPECT_SAME("0.000000e+00 -0e+00 0 -0", "%e %.0e %g %g", 0.0, -0.0, 0.0, -0.0);
	EXPECT_SAME("0 0. 0.00000 0.e+00", "%.0f %#.0f %#g %#.0e", 0.0, 0.0, 0.0, 0.0);
}

TEST(float_styles)
{
	EXPECT_SAME("1.500000 -2.25 1e+10 1.", "%f %.2f %.0e %#.0f", 1.5, -2.25, 1e10, 1.0);
	EXPECT_SAME("1.000000e-05 1.5E+100 1.e+00", "%e %.1E %#.0e", 1e-5, 1.5e100, 1.0);
	EXPECT_SAME("100000 1e+06 0.0001 1e-05", "%g %g %g %g", 1e5, 1e6, 1e-4, 1e-5);
	EXPECT_SAME("0.1 1.00 1.00000 100000.", "%g %#.3g %#g %#g", 0.1, 1.0, 1.0, 100000.0);
	EXPECT_SAME("1e+01 1e+02 2 1E-07", "%.0g %.1g %.1g %G", 10.0, 99.0, 1.5, 1e-7);
}

TEST(carry_changes_style)
{
	EXPECT_SAME("1e+12 999999999999.9999", "%.12g %.16g", 999999999999.9999, 999999999999.9999);
	EXPECT("1.00000000000e+12 10.", "%#.12g %#.2g", 999999999999.9999, 9.96);
	EXPECT_SAME("0.0001 0.000100000", "%g %#g", 0.00009999999, 0.00009999999);
}

TEST(float_fields)
{
	EXPECT_SAME("    1.50|1.50    |00001.50", "%8.2f|%-8.2f|%08.2f", 1.5, 1.5, 1.5);
	EXPECT_SAME("+1.5| 1.5|-0001.5|+001.5", "%+g|% g|%07g|%+06g", 1.5, 1.5, -1.5, 1.5);
	EXPECT_SAME("  1.5e+00|1.5e+00  |001.5e+00", "%9.1e|%-9.1e|%09.1e", 1.5, 1.5, 1.5);
}

TEST(rounding)
{
	EXPECT_SAME("0 2 2 4 4", "%.0f %.0f %.0f %.0f %.0f", 0.5, 1.5, 2.5, 3.5, 4.5);
	EXPECT_SAME("0.12 0.38 0.62 0.88", "%.2f %.2f %.2f %.2f", 0.125, 0.375, 0.625, 0.875);
	EXPECT_SAME("0.9 9.9 10.0 100", "%.1f %.1f %.1f %.0f", 0.95, 9.95, 9.96, 99.5);
	EXPECT_SAME("1 0 0 0.1", "%.0f %.0f %.0f %.1f", 0.51, 0.49, 0.0001, 0.05);
	EXPECT_SAME("1e+01 2e+00 2e+00 1.0e+10", "%.0e %.0e %.0e %.1e", 9.5, 1.5, 2.5, 9.99e9);
	EXPECT_SAME("0.1000000000000000055511151231257827", "%.34f", 0.1);
	EXPECT_SAME("9007199254740992.0", "%.1f", 9007199254740992.0);
}

TEST(extreme_floats)
{
	static const double values[] = {
		DBL_MAX,
		-DBL_MAX,
		DBL_MIN,
		DBL_TRUE_MIN,
		DBL_MIN - DBL_TRUE_MIN,
		DBL_EPSILON,
		1 - DBL_EPSILON / 2,
		1e22,
		1e23,
		9.999999999999999e307,
		1e308,
	};
	static const char *const formats[] = {
		"%f",	   "%.0f", "%.1100f", "%e",	  "%.0e",
		"%.1100e", "%g",   "%.1100g", "%#.1100g", "%.17g",
	};

	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++)
		for (size_t j = 0; j < sizeof(formats) / sizeof(formats[0]); j++)
			same(formats[j], values[i]);
	same("%.3000f|%.3000e", DBL_TRUE_MIN, 1.0);
}

/* Every power of two and its neighbours: the longest expansions and every exponent there is. */
TEST(powers_of_two)
{
	for (int i = DBL_MIN_EXP - DBL_MANT_DIG; i < DBL_MAX_EXP; i++) {
		double x = ldexp(1, i);

		same("%.1080f", x);
		same("%.800e", step(x, 1));
		same("%.767g", step(x, -1));
		same("%#.*g", i & 31, x);
	}
}

/* Ties at every place of a decimal, all of them exact in binary. */
TEST(exact_ties)
{
	for (int places = 0; places < 8; places++)
		for (int i = 1; i < 2000; i += 2)
			same("%.*f|%.*g", places, ldexp(i, -places - 1), places + 1,
			     ldexp(i, -places - 1));
}

/* Where the text goes */

/* At every size the part that fits, a null, and nothing behind it. */
TEST(truncation)
{
	static char whole[TEXT_MAX], part[TEXT_MAX];
	int len = snprintf_(whole, sizeof(whole), EVERYTHING, EVERYTHING_ARGS);

	CHECK(len > 1800 && (size_t)len == strlen(whole));
	for (int size = 1; size <= len + 2; size++) {
		int kept = size <= len ? size - 1 : len;

		memset(part, '~', sizeof(part));
		CHECK(snprintf_(part, (size_t)size, EVERYTHING, EVERYTHING_ARGS) == len);
		CHECK(memcmp(part, whole, (size_t)kept) == 0);
		CHECK(part[kept] == '\0' && part[kept + 1] == '~' && part[len + 2] == '~');
	}
}

TEST(count_zero)
{
	char c = '~';

	CHECK(snprintf_(NULL, 0, "%d %s %f", 42, "text", 1.5) == 16);
	CHECK(snprintf_(&c, 0, "%d", 42) == 2);
	CHECK(c == '~');
}

TEST(sprintf_writes_everything)
{
	static char want[TEXT_MAX], got[TEXT_MAX];
	int len = snprintf_(want, sizeof(want), EVERYTHING, EVERYTHING_ARGS);

	CHECK(sprintf_(got, EVERYTHING, EVERYTHING_ARGS) == len);
	CHECK(strcmp(got, want) == 0);
}

/* The plain names are ours: libc's would print the wide string. */
TEST(macros)
{
	char got[8];

	CHECK(snprintf(got, sizeof(got), "%ls", L"wide") == 3);
	CHECK(sprintf(got, "%ls", L"wide") == 3);
	CHECK(strcmp(got, "%ls") == 0);
}

struct collector {
	char text[TEXT_MAX];
	size_t len;
};

static void collect(char character, void *arg)
{
	struct collector *c = arg;

	c->text[c->len++] = character;
}

TEST(fctprintf_calls_out)
{
	static struct collector c;
	static char want[TEXT_MAX];
	int len = snprintf_(want, sizeof(want), EVERYTHING, EVERYTHING_ARGS);

	memset(c.text, '~', sizeof(c.text));
	CHECK(fctprintf(collect, &c, EVERYTHING, EVERYTHING_ARGS) == len);
	CHECK(c.len == (size_t)len);
	CHECK(memcmp(c.text, want, c.len) == 0);
	CHECK(c.text[c.len] == '~');
}

/* Without the attribute that would make the compiler warn of what is tested. */
static int print_short(char got[8], const char *format, ...)
{
	va_list va;
	int len;

	va_start(va, format);
	len = vsnprintf_(got, 8, format, va);
	va_end(va);
	return len;
}

TEST(longest_text)
{
	char got[8];

	errno = 0;
	CHECK(print_short(got, "%2147483647d", 1) == INT_MAX);
	CHECK(print_short(got, "%.2147483645f", 1.0) == INT_MAX);
	CHECK(print_short(got, "%.2147483647g", 1.0) == 1);
	CHECK(errno == 0);
}

TEST(overflow)
{
	char got[8];

	errno = 0;
	CHECK(print_short(got, "%2147483647d ", 1) == -1);
	CHECK(errno == EOVERFLOW && strcmp(got, "       ") == 0);
	errno = 0;
	CHECK(print_short(got, "ab%2147483648dcd", 1) == -1);
	CHECK(errno == EOVERFLOW && strcmp(got, "ab") == 0);
	CHECK(print_short(got, "%.99999999999999999999d", 1) == -1);
	CHECK(print_short(got, "%.2147483647d%d", 1, 1) == -1);
	CHECK(print_short(got, "%.2147483647f", 1.0) == -1);
	CHECK(print_short(got, "%.2147483647e", 1.0) == -1);
	CHECK(print_short(got, "%#.2147483647g", 1.0) == -1);
	CHECK(print_short(got, "%*d", INT_MIN, 1) == -1);
	CHECK(print_short(got, "%*s", INT_MAX, "") == INT_MAX);
}
