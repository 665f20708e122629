/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * printf without a heap; printf.h defines the conversions.
 *
 * 1. A call has one struct out, which counts every character and passes it to emit.
 * 2. A conversion is parsed into a struct spec, and its argument is printed as a field:
 *
 *	spaces | prefix (sign, 0x) | zeros | body | spaces
 *
 *    with the width made up by one of the three paddings.
 * 3. A double is a finite decimal fraction. It is written out exactly, as a string of digits made
 *    by shifting the mantissa in decimal, and then rounded; so there is no error to reason about.
 */

#include "printf.h"

#include <errno.h>
#include <float.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

struct out {
	void (*emit)(char character, void *arg);
	void *arg;
	size_t limit; /* characters to emit; the others are only counted */
	size_t len; /* characters so far, at most INT_MAX */
	bool overflow; /* the text is longer than that; nothing more is emitted */
};

/* The bits of spec.flags are in the order of flag_chars. */
static const char flag_chars[] = "-+ #0'";

#define FLAG_LEFT (1u << 0)
#define FLAG_PLUS (1u << 1)
#define FLAG_SPACE (1u << 2)
#define FLAG_ALT (1u << 3)
#define FLAG_ZERO (1u << 4)

/* The first match wins. */
static const struct length {
	char name[3];
	unsigned char size; /* of an integer, in bytes */
} lengths[] = {
	{"hh", sizeof(char)},	  {"h", sizeof(short)},	    {"ll", sizeof(long long)},
	{"l", sizeof(long)},	  {"j", sizeof(intmax_t)},  {"z", sizeof(size_t)},
	{"t", sizeof(ptrdiff_t)}, {"L", sizeof(long long)}, {"", sizeof(int)},
};

struct spec {
	unsigned int flags;
	size_t width;
	int prec; /* -1: none given */
	const struct length *length;
	char conv; /* 0: the format ended too early */
};

static size_t min_size(size_t a, size_t b)
{
	return a < b ? a : b;
}

static int min_int(int a, int b)
{
	return a < b ? a : b;
}

/* Output */

/* Count n more characters. Returns the number to emit. */
static size_t out_claim(struct out *o, size_t n)
{
	size_t room = o->len < o->limit ? o->limit - o->len : 0;

	if (n > INT_MAX - o->len)
		o->overflow = true;
	if (o->overflow)
		return 0;
	o->len += n;
	return min_size(n, room);
}

static void out_text(struct out *o, const char *text, size_t n)
{
	for (n = out_claim(o, n); n; n--)
		o->emit(*text++, o->arg);
}

static void out_fill(struct out *o, char c, size_t n)
{
	for (n = out_claim(o, n); n; n--)
		o->emit(c, o->arg);
}

/* Print a field up to its body of len characters. Returns the number of spaces behind it. */
static size_t open_field(struct out *o, const struct spec *s, const char *prefix, size_t len)
{
	size_t prefix_len = strlen(prefix);
	size_t pad = s->width > prefix_len + len ? s->width - prefix_len - len : 0;

	if (!(s->flags & (FLAG_LEFT | FLAG_ZERO)))
		out_fill(o, ' ', pad);
	out_text(o, prefix, prefix_len);
	if (s->flags & FLAG_LEFT)
		return pad;
	if (s->flags & FLAG_ZERO)
		out_fill(o, '0', pad);
	return 0;
}

/* Text is never padded with zeros. */
static void print_text(struct out *o, struct spec *s, const char *prefix, const char *text,
		       size_t len)
{
	size_t right;

	s->flags &= ~FLAG_ZERO;
	right = open_field(o, s, prefix, len);
	out_text(o, text, len);
	out_fill(o, ' ', right);
}

static void print_string(struct out *o, struct spec *s, const char *text)
{
	size_t limit = s->prec < 0 ? SIZE_MAX : (size_t)s->prec;

	if (!text)
		text = limit < strlen("(null)") ? "" : "(null)";
	print_text(o, s, "", text, strnlen(text, limit));
}

/* Integers */

/* The sign to print, or 0 for none. */
static char sign_of(const struct spec *s, bool negative)
{
	if (negative)
		return '-';
	if (s->flags & FLAG_PLUS)
		return '+';
	return s->flags & FLAG_SPACE ? ' ' : '\0';
}

static unsigned int base_of(char conv)
{
	if (strchr("xXp", conv))
		return 16;
	if (strchr("bB", conv))
		return 2;
	return conv == 'o' ? 8 : 10;
}

/* sign is 0 for none. */
static void print_integer(struct out *o, struct spec *s, char sign, uintmax_t value)
{
	const char *digits = s->conv == 'X' ? "0123456789ABCDEF" : "0123456789abcdef";
	unsigned int base = base_of(s->conv);
	bool alt = s->flags & FLAG_ALT;
	char text[sizeof(value) * CHAR_BIT], prefix[4] = "", *end = prefix;
	size_t at = sizeof(text), len, zeros, right;

	if (sign)
		*end++ = sign;
	if (s->conv == 'p' || (alt && value && (base == 2 || base == 16))) {
		*end++ = '0';
		*end++ = s->conv == 'p' ? 'x' : s->conv;
	}
	for (; value; value /= base)
		text[--at] = digits[value % base];
	len = sizeof(text) - at;
	if (s->prec >= 0)
		s->flags &= ~FLAG_ZERO;
	else
		s->prec = 1;
	zeros = (size_t)s->prec > len ? (size_t)s->prec - len : 0;
	if (base == 8 && alt && !zeros)
		zeros = 1;
	right = open_field(o, s, prefix, zeros + len);
	out_fill(o, '0', zeros);
	out_text(o, text + at, len);
	out_fill(o, ' ', right);
}

static void print_signed(struct out *o, struct spec *s, intmax_t value)
{
	uintmax_t magnitude = value < 0 ? -(uintmax_t)value : (uintmax_t)value;

	print_integer(o, s, sign_of(s, value < 0), magnitude);
}

static void print_pointer(struct out *o, struct spec *s, const void *p)
{
	if (p)
		print_integer(o, s, sign_of(s, false), (uintptr_t)p);
	else
		print_text(o, s, "", "(nil)", strlen("(nil)"));
}

/* Floating point: the exact value */

_Static_assert(FLT_RADIX == 2 && DBL_MANT_DIG == 53 && DBL_MAX_EXP == 1024 && sizeof(double) == 8,
	       "double must be IEEE 754 binary64");

#define FRACTION_BITS (DBL_MANT_DIG - 1)
#define EXPONENT_MASK 0x7ff
#define LEAST_EXPONENT (DBL_MIN_EXP - DBL_MANT_DIG) /* all doubles are multiples of 2 to this */

/*
 * The decimal digits of a number, in ASCII:
 *
 *	0       first            UNITS           end
 *	+- - - -+----------------+-+-------------+- - - - -
 *	| zeros | digits         | | digits      | zeros
 *	+- - - -+----------------+-+-------------+- - - - -
 *	                            point
 *
 * Neither digit[first] nor digit[end - 1] is '0' between two operations. Zero has no digits, and
 * first at UNITS unless it came of rounding. first may be behind UNITS, and end in front of it.
 *
 * 2^-n has n digits behind the point. In front of it, DBL_MAX rounded up is no longer than before:
 * it begins with a 1.
 */
#define UNITS DBL_MAX_10_EXP

struct decimal {
	int first, end;
	char digit[UNITS + 1 - LEAST_EXPONENT];
};

/* A digit with its carry or remainder, shifted by this, is below 10 << 60 and fits in 64 bits. */
#define SHIFT_MAX 60

static void decimal_prepend(struct decimal *d, uint64_t value)
{
	for (; value; value /= 10)
		d->digit[--d->first] = '0' + value % 10;
}

static void decimal_shift_left(struct decimal *d, int bits)
{
	uint64_t carry = 0;

	for (int i = d->end - 1; i >= d->first; i--) {
		carry += (uint64_t)(d->digit[i] - '0') << bits;
		d->digit[i] = '0' + carry % 10;
		carry /= 10;
	}
	decimal_prepend(d, carry);
}

static void decimal_shift_right(struct decimal *d, int bits)
{
	uint64_t rest = 0;

	for (int i = d->first; i < d->end || rest; i++) {
		if (i == d->end)
			d->digit[d->end++] = '0';
		rest = rest * 10 + (uint64_t)(d->digit[i] - '0');
		d->digit[i] = '0' + (rest >> bits);
		rest &= ((uint64_t)1 << bits) - 1;
	}
	while (d->first < d->end && d->digit[d->first] == '0')
		d->first++;
}

static void decimal_trim(struct decimal *d)
{
	while (d->end > d->first && d->digit[d->end - 1] == '0')
		d->end--;
}

/* d = mantissa * 2^exponent */
static void decimal_set(struct decimal *d, uint64_t mantissa, int exponent)
{
	d->first = d->end = mantissa ? UNITS + 1 : UNITS;
	decimal_prepend(d, mantissa);
	for (int bits = exponent; bits > 0; bits -= SHIFT_MAX)
		decimal_shift_left(d, min_int(bits, SHIFT_MAX));
	for (int bits = -exponent; bits > 0; bits -= SHIFT_MAX)
		decimal_shift_right(d, min_int(bits, SHIFT_MAX));
	decimal_trim(d);
}

/* Whether to round up at digit at: more than half a unit, or half and the digit before is odd. */
static bool rounds_up(const struct decimal *d, int at)
{
	if (at < d->first)
		return false;
	if (d->digit[at] != '5' || at + 1 < d->end)
		return d->digit[at] >= '5';
	return at > d->first && (d->digit[at - 1] - '0') % 2;
}

/* Round to the digits in front of at. */
static void decimal_round(struct decimal *d, int64_t at)
{
	bool up;

	if (at >= d->end)
		return;
	up = rounds_up(d, (int)at);
	d->end = at > d->first ? (int)at : d->first;
	if (!up) {
		decimal_trim(d);
		return;
	}
	while (d->end > d->first && d->digit[d->end - 1] == '9')
		d->end--;
	if (d->end > d->first)
		d->digit[d->end - 1]++;
	else
		d->digit[--d->first] = '1';
}

/* Floating point: the three styles */

/* Print n digits from index from on. Digits outside of d are zeros. */
static void out_digits(struct out *o, const struct decimal *d, int from, size_t n)
{
	size_t zeros = from < d->first ? min_size((size_t)(d->first - from), n) : 0;
	size_t have;

	out_fill(o, '0', zeros);
	from += (int)zeros;
	n -= zeros;
	have = from < d->end ? min_size((size_t)(d->end - from), n) : 0;
	out_text(o, d->digit + from, have);
	out_fill(o, '0', n - have);
}

static bool is_upper(const struct spec *s)
{
	return s->conv >= 'A' && s->conv <= 'Z';
}

/* The exponent of the scientific style: e+05, E-308. */
static void set_tail(char tail[6], char letter, int exponent)
{
	int power = exponent < 0 ? -exponent : exponent;

	*tail++ = letter;
	*tail++ = exponent < 0 ? '-' : '+';
	if (power >= 100)
		*tail++ = '0' + power / 100;
	*tail++ = '0' + power / 10 % 10;
	*tail++ = '0' + power % 10;
	*tail = '\0';
}

/* Print in fixed or scientific style with prec digits after the point. Rounds d to that. */
static void print_decimal(struct out *o, const struct spec *s, const char *sign,
			  const struct decimal *d, bool fixed, size_t prec)
{
	int last = fixed ? UNITS : d->first; /* in front of the point */
	int from = min_int(d->first, last);
	size_t point = prec || s->flags & FLAG_ALT, whole = (size_t)(last + 1 - from), right;
	char tail[6] = "";

	if (!fixed)
		set_tail(tail, is_upper(s) ? 'E' : 'e', UNITS - d->first);
	right = open_field(o, s, sign, whole + point + prec + strlen(tail));
	out_digits(o, d, from, whole);
	out_text(o, ".", point);
	out_digits(o, d, last + 1, prec);
	out_text(o, tail, strlen(tail));
	out_fill(o, ' ', right);
}

/* %g: prec significant digits, in the style that ISO C selects; # keeps trailing zeros. */
static void print_general(struct out *o, const struct spec *s, const char *sign, struct decimal *d,
			  int64_t prec)
{
	int exponent, last;
	bool fixed;

	if (!prec)
		prec = 1;
	decimal_round(d, d->first + prec);
	exponent = UNITS - d->first;
	fixed = exponent >= -4 && exponent < prec;
	last = fixed ? UNITS : d->first;
	prec -= last + 1 - d->first;
	if (!(s->flags & FLAG_ALT) && d->end - (last + 1) < prec)
		prec = d->end > last + 1 ? d->end - (last + 1) : 0;
	print_decimal(o, s, sign, d, fixed, (size_t)prec);
}

static void print_finite(struct out *o, const struct spec *s, const char *sign, struct decimal *d)
{
	int64_t prec = s->prec < 0 ? 6 : s->prec;
	bool fixed = strchr("fF", s->conv);

	if (strchr("gG", s->conv)) {
		print_general(o, s, sign, d, prec);
		return;
	}
	decimal_round(d, prec + 1 + (fixed ? UNITS : d->first));
	print_decimal(o, s, sign, d, fixed, (size_t)prec);
}

/* Not inlined, so that other conversions do not need its stack. */
static __attribute__((noinline)) void print_double(struct out *o, struct spec *s, double value)
{
	uint64_t bits, mantissa;
	struct decimal d;
	char sign[2] = "";
	int exponent;

	memcpy(&bits, &value, sizeof(bits));
	sign[0] = sign_of(s, bits >> 63);
	exponent = (int)(bits >> FRACTION_BITS) & EXPONENT_MASK;
	mantissa = bits & (((uint64_t)1 << FRACTION_BITS) - 1);
	if (exponent == EXPONENT_MASK) {
		const char *names = is_upper(s) ? "INFNAN" : "infnan";

		print_text(o, s, sign, mantissa ? names + 3 : names, 3);
		return;
	}
	if (exponent)
		mantissa |= (uint64_t)1 << FRACTION_BITS;
	else
		exponent = 1;
	decimal_set(&d, mantissa, exponent - 1 + LEAST_EXPONENT);
	print_finite(o, s, sign, &d);
}

/* Formats */

static uintmax_t integer_arg(const struct spec *s, va_list *ap)
{
	size_t size = s->length->size;
	unsigned int unused = (unsigned int)(sizeof(uintmax_t) - size) * CHAR_BIT;
	uintmax_t value;

	_Static_assert(sizeof(uintmax_t) == sizeof(long long), "one of two sizes is passed");
	if (size > sizeof(int))
		value = va_arg(*ap, unsigned long long);
	else
		value = va_arg(*ap, unsigned int);
	value <<= unused;
	return strchr("di", s->conv) ? (uintmax_t)((intmax_t)value >> unused) : value >> unused;
}

static double double_arg(const struct spec *s, va_list *ap)
{
	if (s->length->name[0] == 'L')
		return (double)va_arg(*ap, long double);
	return va_arg(*ap, double);
}

/* Print one argument. False if the conversion is unknown. */
static bool print_arg(struct out *o, struct spec *s, va_list *ap)
{
	bool is_wide = s->length->name[0] == 'l';
	char c = s->conv;

	if (!c)
		return false;
	if (c == 'n' || (c == 's' && is_wide)) {
		(void)va_arg(*ap, void *); /* skip it, so that later conversions get theirs */
		return false;
	}
	if (strchr("di", c)) {
		print_signed(o, s, (intmax_t)integer_arg(s, ap));
	} else if (strchr("uoxXbB", c)) {
		print_integer(o, s, '\0', integer_arg(s, ap));
	} else if (strchr("fFeEgG", c)) {
		print_double(o, s, double_arg(s, ap));
	} else if (c == 'p') {
		print_pointer(o, s, va_arg(*ap, const void *));
	} else if (c == 's') {
		print_string(o, s, va_arg(*ap, const char *));
	} else if (c == 'c') {
		c = (char)va_arg(*ap, int);
		print_text(o, s, "", &c, 1);
	} else if (c == '%') {
		out_text(o, "%", 1);
	} else {
		return false;
	}
	return true;
}

/* Parse a width or precision; 0 if there is none. A number above INT_MAX is an overflow. */
static const char *parse_number(struct out *o, const char *p, va_list *ap, int *value)
{
	if (*p == '*') {
		*value = va_arg(*ap, int);
		return p + 1;
	}
	for (*value = 0; *p >= '0' && *p <= '9'; p++) {
		int digit = *p - '0';

		if (*value > (INT_MAX - digit) / 10)
			o->overflow = true;
		else
			*value = *value * 10 + digit;
	}
	return p;
}

static bool starts_with(const char *text, const char *start)
{
	return !strncmp(text, start, strlen(start));
}

/* Parse a conversion behind its %. Returns its end. */
static const char *parse_spec(struct out *o, const char *p, va_list *ap, struct spec *s)
{
	const char *flag;
	int width;

	s->flags = 0;
	for (; *p && (flag = strchr(flag_chars, *p)); p++)
		s->flags |= 1u << (flag - flag_chars);
	p = parse_number(o, p, ap, &width);
	s->width = (size_t)width;
	if (width < 0) {
		s->flags |= FLAG_LEFT;
		s->width = -s->width;
	}
	s->prec = -1;
	if (*p == '.')
		p = parse_number(o, p + 1, ap, &s->prec);
	for (s->length = lengths; !starts_with(p, s->length->name); s->length++)
		;
	p += strlen(s->length->name);
	s->conv = *p;
	return *p ? p + 1 : p;
}

/* The common part of all public functions. */
static int print_format(struct out *o, const char *format, va_list va)
{
	const char *p = format, *start;
	struct spec s;
	va_list ap; /* va may be an array that decayed to a pointer; this one has an address */

	va_copy(ap, va);
	while (*p && !o->overflow) {
		for (start = p; *p && *p != '%'; p++)
			;
		out_text(o, start, (size_t)(p - start));
		if (!*p)
			break;
		start = p;
		p = parse_spec(o, p + 1, &ap, &s);
		if (!print_arg(o, &s, &ap))
			out_text(o, start, (size_t)(p - start));
	}
	va_end(ap);
	if (!o->overflow)
		return (int)o->len;
	errno = EOVERFLOW;
	return -1;
}

/* The public functions */

__attribute__((weak)) void _putchar(char character)
{
	int saved = errno;

	/* A single byte cannot be a short write. */
	while (write(STDOUT_FILENO, &character, 1) < 0 && errno == EINTR)
		;
	errno = saved;
}

static void emit_putchar(char character, void *arg)
{
	(void)arg;
	_putchar(character);
}

static void emit_buffer(char character, void *arg)
{
	char **end = arg;

	*(*end)++ = character;
}

int vprintf_(const char *format, va_list va)
{
	struct out o = {.emit = emit_putchar, .limit = SIZE_MAX};

	return print_format(&o, format, va);
}

int printf_(const char *format, ...)
{
	va_list va;
	int len;

	va_start(va, format);
	len = vprintf_(format, va);
	va_end(va);
	return len;
}

int vsnprintf_(char *buffer, size_t count, const char *format, va_list va)
{
	struct out o = {.emit = emit_buffer, .arg = &buffer, .limit = count ? count - 1 : 0};
	int len = print_format(&o, format, va);

	if (count)
		*buffer = '\0';
	return len;
}

int snprintf_(char *buffer, size_t count, const char *format, ...)
{
	va_list va;
	int len;

	va_start(va, format);
	len = vsnprintf_(buffer, count, format, va);
	va_end(va);
	return len;
}

int sprintf_(char *buffer, const char *format, ...)
{
	va_list va;
	int len;

	va_start(va, format);
	len = vsnprintf_(buffer, SIZE_MAX, format, va);
	va_end(va);
	return len;
}

int fctprintf(void (*out)(char character, void *arg), void *arg, const char *format, ...)
{
	struct out o = {.emit = out, .arg = arg, .limit = SIZE_MAX};
	va_list va;
	int len;

	va_start(va, format);
	len = print_format(&o, format, va);
	va_end(va);
	return len;
}
