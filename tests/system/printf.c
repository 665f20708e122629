// SPDX-License-Identifier: BSD-3-Clause
// Needs: objects

/*
 * utils/printf.c against tables, against libc's own printf, and where a printf is hard to have: in
 * a process that may do nothing but write, and in a signal handler on a small stack.
 */

#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <float.h>
#include <limits.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <wchar.h>

#include <linux/seccomp.h>

/* Before printf.h gives the name to another. */
static int (*const libc_vsnprintf)(char *, size_t, const char *, va_list) = vsnprintf;

#include "printf.h"

#define INTEGER_ROUNDS 1000000
#define STRING_ROUNDS 200000
#define FLOAT_ROUNDS 300000

#define STACK_NEED 3072 /* what printf.h promises */
#define TEXT_MAX 4096

/* What a test prints: of every kind something, and the most expensive conversions there are. */
#define EVERYTHING "%s|%-5d|%#x|%p|%c|%.1074f|%.767e|%g|%%\n"
#define EVERYTHING_ARGS "text", 42, 255u, (void *)0x1234, 'c', 3 * DBL_TRUE_MIN, DBL_MAX, 0.1

static void check_same(const char *format, const char *ours, int our_len, const char *theirs,
		       int their_len)
{
	CHECK_MSG(our_len == their_len, "%s: returned %d, libc %d", format, our_len, their_len);
	CHECK_MSG(strcmp(ours, theirs) == 0, "%s: \"%.150s\", libc \"%.150s\"", format, ours,
		  theirs);
}

/* The arguments must print the same as libc prints them. */
static void same(const char *format, ...)
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

/* Ours prints want; EXPECT_SAME: and so does libc, so the table cannot be wrong. */
#define EXPECT(want, ...) expect_at(__LINE__, want, __VA_ARGS__)
#define EXPECT_SAME(want, ...)                                                                     \
	do {                                                                                       \
		EXPECT(want, __VA_ARGS__);                                                         \
		same(__VA_ARGS__);                                                                 \
	} while (0)

/* Nothing but write */

static void enter_strict_mode(void)
{
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) != 0)
		_exit(1);
}

static void print_in_strict_mode(void *arg)
{
	static char text[TEXT_MAX];

	(void)arg;
	dup2(STDERR_FILENO, STDOUT_FILENO);
	enter_strict_mode();
	snprintf_(text, sizeof(text), EVERYTHING, EVERYTHING_ARGS);
	printf_(EVERYTHING, EVERYTHING_ARGS);
	syscall(SYS_exit, 0);
}

static void allocate_in_strict_mode(void *arg)
{
	void *volatile p;

	(void)arg;
	enter_strict_mode();
	p = malloc(100);
	(void)p;
	syscall(SYS_exit, 0);
}

/*
 * Strict mode kills whoever makes any system call but read, write and exit: memory that has to come
 * from the kernel, or a lock that has to be waited for. The first test, so that there is no memory
 * left over from others.
 */
TEST(only_writes)
{
	static char want[TEXT_MAX], got[TEXT_MAX];
	int status;

	snprintf_(want, sizeof(want), EVERYTHING, EVERYTHING_ARGS);
	status = test_in_child(allocate_in_strict_mode, NULL, got, sizeof(got));
	if (WIFEXITED(status))
		test_skip("malloc is not stopped: exit status %d", WEXITSTATUS(status));
	status = test_in_child(print_in_strict_mode, NULL, got, sizeof(got));
	CHECK_MSG(status == 0, "wait status 0x%x", status);
	CHECK(strcmp(got, want) == 0);
}

/* Tables */

TEST(plain_text)
{
	EXPECT_SAME("", "%s", "");
	EXPECT_SAME("text", "text");
	EXPECT_SAME("%", "%%");
	EXPECT_SAME("%", "%5%");
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
	EXPECT_SAME("ff FF 377 11", "%x %X %o %b", 255, 255, 255, 3);
	EXPECT_SAME("0xff 0XFF 0377 0b11 0B11", "%#x %#X %#o %#b %#B", 255, 255, 255, 3, 3);
	EXPECT_SAME("0 0 0 0", "%#x %#X %#o %#b", 0, 0, 0, 0);
	EXPECT_SAME("|0||0x001|010|0010", "%#.0x|%#.0o|%#.0b|%#.3x|%#.3o|%#.4o", 0, 0, 0, 1, 8, 8);
	EXPECT_SAME("0x0000ff|  0xff|0xff  |0b00101", "%#08x|%#6x|%-#6x|%#07b", 255, 255, 255, 5);
	EXPECT_SAME("11111111111111111111111111111111", "%b", UINT_MAX);
	same("%#lb|%lo|%lX", ULONG_MAX, ULONG_MAX, ULONG_MAX);
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
	EXPECT_SAME("1099511627776", "%Ld", 1LL << 40);
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
	EXPECT_SAME("|(null)|        ", "%.5s|%.6s|%8.2s", NULL, NULL, NULL);
	EXPECT_SAME("x|    x|x    |    x", "%c|%5c|%-5c|%05c", 'x', 'x', 'x', 'x');
	CHECK(snprintf_(NULL, 0, "a%cb", '\0') == 3);
}

TEST(pointers)
{
	EXPECT_SAME("0x1234|0xffffffffffffffff", "%p|%p", (void *)0x1234, (void *)-1);
	EXPECT_SAME("    0x12|0x12    |0x000012", "%8p|%-8p|%08p", (void *)0x12, (void *)0x12,
		    (void *)0x12);
	EXPECT_SAME("+0x12| 0x12|0x0012", "%+p|% p|%.4p", (void *)0x12, (void *)0x12, (void *)0x12);
	EXPECT_SAME("(nil)|   (nil)|(nil)   |   (nil)", "%p|%8p|%-8p|%08p", NULL, NULL, NULL, NULL);
	EXPECT_SAME("(nil)|(nil)", "%.2p|%+p", NULL, NULL);
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

/* The double n steps away from zero, or towards it. */
static double step(double x, int n)
{
	uint64_t bits;

	memcpy(&bits, &x, sizeof(bits));
	bits += (uint64_t)n;
	memcpy(&x, &bits, sizeof(bits));
	return x;
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

/* Random formats against libc */

static uint64_t random_state;

struct random_format {
	char text[64];
	int stars; /* 0 to 2 of the arguments below come first */
	int star[2];
};

static void random_star(struct random_format *f, char **end, int value)
{
	if (random_below(&random_state, 2)) {
		*end += sprintf_(*end, "*");
		f->star[f->stars++] = value;
	} else if (value >= 0) {
		*end += sprintf_(*end, "%d", value);
	}
}

/*
 * %g goes without #: glibc 2.36 prints 1.e+12 for %#.12g of 999999999999.9999, where rounding
 * changes the style, instead of 1.00000000000e+12.
 */
static void random_format(struct random_format *f, int max_precision, const char *length, char conv)
{
	const char *flags = conv == 'g' || conv == 'G' ? "-+ 0" : "-+ #0";
	char *end = f->text;

	f->stars = 0;
	end += sprintf_(end, "<%%");
	for (unsigned int i = random_below(&random_state, 4); i > 0; i--)
		*end++ = flags[random_below(&random_state, (unsigned int)strlen(flags))];
	if (random_below(&random_state, 2))
		random_star(f, &end, (int)random_below(&random_state, 60) - 20);
	if (random_below(&random_state, 2)) {
		*end++ = '.';
		random_star(f, &end,
			    (int)random_below(&random_state, (unsigned int)max_precision + 3) - 2);
	}
	sprintf_(end, "%s%c>", length, conv);
}

/* A macro because value has the type that the format says. */
#define SAME_WITH_STARS(f, value)                                                                  \
	do {                                                                                       \
		if ((f)->stars == 0)                                                               \
			same((f)->text, value);                                                    \
		else if ((f)->stars == 1)                                                          \
			same((f)->text, (f)->star[0], value);                                      \
		else                                                                               \
			same((f)->text, (f)->star[0], (f)->star[1], value);                        \
	} while (0)

TEST(random_integers)
{
	static const char *const lengths[] = {"", "hh", "h", "l", "ll", "z", "t", "j"};

	random_state = 1;
	for (int i = 0; i < INTEGER_ROUNDS; i++) {
		unsigned int length = random_below(&random_state, 8);
		uint64_t value = random_next(&random_state) >> random_below(&random_state, 64);
		char conv = "diuoxXb"[random_below(&random_state, 7)];
		struct random_format f;

		if (random_below(&random_state, 2))
			value = -value;
		random_format(&f, 70, lengths[length], conv);
		if (length < 3)
			SAME_WITH_STARS(&f, (int)value);
		else
			SAME_WITH_STARS(&f, (long long)value);
	}
}

TEST(random_strings)
{
	static const char text[] = "the quick brown fox jumps over the lazy dog";

	random_state = 2;
	for (int i = 0; i < STRING_ROUNDS; i++) {
		const char *s = random_below(&random_state, 20)
					? text + random_below(&random_state, sizeof(text))
					: NULL;
		char conv = "scp"[random_below(&random_state, 3)];
		struct random_format f;

		random_format(&f, 50, "", conv);
		if (conv == 'c')
			SAME_WITH_STARS(&f, 1 + (int)random_below(&random_state, 255));
		else
			SAME_WITH_STARS(&f, s);
	}
}

static double power_of_ten(int exponent)
{
	char text[8];

	sprintf_(text, "1e%d", exponent);
	return strtod(text, NULL);
}

/* Half of them any bits at all, the others of the kinds where rounding goes wrong. */
static double random_double(void)
{
	uint64_t bits = random_next(&random_state);
	double value;

	switch (random_below(&random_state, 8)) {
	case 0: /* a short decimal */
		return (double)(bits >> random_below(&random_state, 64)) /
		       power_of_ten((int)random_below(&random_state, 20));
	case 1: /* a short binary fraction: ties */
		return ldexp((double)(bits >> (32 + random_below(&random_state, 32))),
			     -(int)random_below(&random_state, 40));
	case 2: /* a little off a power of ten: carries */
		return step(power_of_ten((int)random_below(&random_state, 600) - 300),
			    bits & 1 ? -1 : 1);
	case 3: /* of the size one prints */
		return (double)(int64_t)bits * 0x1p-50;
	default:
		memcpy(&value, &bits, sizeof(value));
		return value;
	}
}

TEST(random_floats)
{
	random_state = 3;
	for (int i = 0; i < FLOAT_ROUNDS; i++) {
		int max_precision = random_below(&random_state, 16) ? 25 : 1100;
		char conv = "fFeEgG"[random_below(&random_state, 6)];
		double value = random_double();
		struct random_format f;

		if (random_below(&random_state, 16)) {
			random_format(&f, max_precision, "", conv);
			SAME_WITH_STARS(&f, value);
		} else {
			random_format(&f, max_precision, "L", conv);
			SAME_WITH_STARS(&f, (long double)value);
		}
	}
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

/* Let fd 1 be the writing end of a new pipe; returns the reading end. */
static int pipe_stdout(void)
{
	int fds[2];

	CHECK(pipe(fds) == 0);
	CHECK(dup2(fds[1], STDOUT_FILENO) == STDOUT_FILENO);
	close(fds[1]);
	return fds[0];
}

__attribute__((format(__printf__, 1, 2))) static int call_vprintf(const char *format, ...)
{
	va_list va;
	int len;

	va_start(va, format);
	len = vprintf_(format, va);
	va_end(va);
	return len;
}

TEST(printf_writes_to_fd_1)
{
	int fd = pipe_stdout();
	char got[64] = "";

	CHECK(printf_("%s %d\n", "text", 42) == 8);
	CHECK(call_vprintf("%5.1f", 1.25) == 5);
	_putchar('!');
	CHECK(read(fd, got, sizeof(got) - 1) == 14);
	CHECK(strcmp(got, "text 42\n  1.2!") == 0);
}

TEST(putchar_keeps_errno)
{
	close(STDOUT_FILENO);
	errno = ENOTTY;
	_putchar('x');
	CHECK(errno == ENOTTY);
	CHECK(printf_("%d", 42) == 2);
	CHECK(errno == ENOTTY);
}

/* Signals */

static volatile sig_atomic_t signals;

static void count_signal(int sig)
{
	(void)sig;
	signals++;
}

static void handle(int sig, void (*handler)(int), int flags)
{
	struct sigaction action = {.sa_handler = handler, .sa_flags = flags};

	CHECK(sigaction(sig, &action, NULL) == 0);
}

/* Exit with 0 if what comes through fd is the numbers from 0 to count; interrupt who sends them. */
static void read_numbers(int fd, int count)
{
	FILE *in = fdopen(fd, "r");
	int number;

	for (int i = 0; i < count; i++) {
		if (i % 100 == 0) {
			usleep(300);
			kill(getppid(), SIGUSR1);
		}
		if (fscanf(in, "%d", &number) != 1 || number != i)
			_exit(1);
	}
	_exit(fgetc(in) == '\n' && fgetc(in) == EOF ? 0 : 1);
}

/* Writes to a full pipe are interrupted, and no character is lost. */
TEST(putchar_retries)
{
	int fd = pipe_stdout(), status;
	pid_t reader;

	fcntl(fd, F_SETPIPE_SZ, 4096);
	handle(SIGUSR1, count_signal, 0); /* no SA_RESTART */
	reader = fork();
	CHECK(reader >= 0);
	if (reader == 0) {
		close(STDOUT_FILENO);
		read_numbers(fd, 10000);
	}
	close(fd); /* so that a reader who gives up ends this, too */
	for (int i = 0; i < 10000; i++)
		CHECK(printf_("%d\n", i) > 0);
	close(STDOUT_FILENO);
	while (waitpid(reader, &status, 0) < 0)
		CHECK(errno == EINTR);
	CHECK(status == 0);
	CHECK(signals > 5);
}

static char everything[TEXT_MAX]; /* as it must be */

static void print_everything(int sig)
{
	char got[TEXT_MAX];

	(void)sig;
	snprintf_(got, sizeof(got), EVERYTHING, EVERYTHING_ARGS);
	if (strcmp(got, everything) != 0)
		abort();
	signals++;
}

/* A handler prints while what it interrupts is printing. */
TEST(reentrant)
{
	pid_t signaller;

	snprintf_(everything, sizeof(everything), EVERYTHING, EVERYTHING_ARGS);
	handle(SIGUSR1, print_everything, 0);
	signaller = fork();
	CHECK(signaller >= 0);
	while (signaller == 0) {
		kill(getppid(), SIGUSR1);
		usleep(200);
	}
	while (signals < 200) {
		char got[TEXT_MAX];

		snprintf_(got, sizeof(got), EVERYTHING, EVERYTHING_ARGS);
		CHECK(strcmp(got, everything) == 0);
	}
	kill(signaller, SIGKILL);
}

/* Of the sanitizers' run-time library, where there is one. */
extern void __sanitizer_print_stack_trace(void) __attribute__((weak));

static char on_small_stack[TEXT_MAX];
static char *volatile handler_frame;

static void print_on_small_stack(int sig)
{
	(void)sig;
	handler_frame = __builtin_frame_address(0);
	snprintf_(on_small_stack, sizeof(on_small_stack), EVERYTHING, EVERYTHING_ARGS);
}

/* A stack of size bytes, filled with '~', right above a page that must not be touched. */
static char *small_stack(size_t size)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *p =
		mmap(NULL, page + size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(p != MAP_FAILED);
	CHECK(mprotect(p, page, PROT_NONE) == 0);
	memset(p + page, '~', size);
	return p + page;
}

TEST(small_signal_stack)
{
	size_t frame = getauxval(AT_MINSIGSTKSZ) ? getauxval(AT_MINSIGSTKSZ) : MINSIGSTKSZ;
	stack_t stack = {.ss_size = frame + STACK_NEED + 256}; /* the handler needs some too */
	char *lowest;

	if (__sanitizer_print_stack_trace)
		test_skip("sanitizers need a larger stack");
	/* Once before, so that the dynamic linker has resolved what it calls. */
	snprintf_(everything, sizeof(everything), EVERYTHING, EVERYTHING_ARGS);
	lowest = stack.ss_sp = small_stack(stack.ss_size);
	CHECK(sigaltstack(&stack, NULL) == 0);
	handle(SIGUSR1, print_on_small_stack, SA_ONSTACK);
	CHECK(raise(SIGUSR1) == 0);
	CHECK(strcmp(on_small_stack, everything) == 0);
	while (*lowest == '~')
		lowest++;
	CHECK_MSG(handler_frame - lowest < STACK_NEED, "%ld bytes", (long)(handler_frame - lowest));
}
