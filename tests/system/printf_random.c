// SPDX-License-Identifier: BSD-3-Clause
// Needs: objects

/* utils/printf.c against libc's own printf, at random. */

#include "harness.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "printf_same.h"

#define INTEGER_ROUNDS 1000000
#define STRING_ROUNDS 200000
#define FLOAT_ROUNDS 300000

/* Random formats against libc. musl has no %b, and another text for null pointers and for %+p. */
#ifdef __GLIBC__
#define INTEGER_CONVERSIONS "diuoxXb"
#define STRING_CONVERSIONS "scp"
#define HAS_SAME_NULL 1
#else
#define INTEGER_CONVERSIONS "diuoxX"
#define STRING_CONVERSIONS "sc"
#define HAS_SAME_NULL 0
#endif

static uint64_t random_state;

static char random_of(const char *choices)
{
	return choices[random_below(&random_state, (unsigned int)strlen(choices))];
}

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
		*end++ = random_of(flags);
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
		char conv = random_of(INTEGER_CONVERSIONS);
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
		const char *s = random_below(&random_state, 20) || !HAS_SAME_NULL
					? text + random_below(&random_state, sizeof(text))
					: NULL;
		char conv = random_of(STRING_CONVERSIONS);
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
