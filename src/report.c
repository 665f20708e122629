// SPDX-License-Identifier: BSD-3-Clause

/*
 * Reports: one line on standard error. Those of misuse:
 *
 * 1. Damage (an overwritten header, canary or mark) ends the process: nobody knows what else is
 *    damaged.
 * 2. A call with a wrong argument ends the process, too, unless misuse is tolerated. Then it is
 *    reported, and the call does nothing.
 * 3. Tolerated, each call site is reported once, and MISUSE_LINES sites at most. The call site is
 *    the return address of the public function.
 */

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "compat.h"
#include "helpers.h"
#include "printf.h"
#include "tunables.h"

#define PREFIX "osmem: "
#define LINE_SIZE 512 /* the list of all options fits into it */
#define TEXT_SIZE 256
#define UNKNOWN_SITE 1

#define THREADS 4096 /* a power of two; threads whose ids differ by a multiple share an entry */
#define SITE_BITS 48

void (*sys_on_fatal)(void);

/*
 * NULL: misuse is not tolerated. The current sites are no thread-local variable, because there is
 * little room for those, and most programs do not need it.
 */
static struct {
	_Atomic(uintptr_t) reported[MISUSE_LINES]; /* in this order; zeroes behind them */
	/* By thread id: the rest of the id, and the site in the low SITE_BITS. */
	_Atomic(uint64_t) current[THREADS];
} * sites;

bool sys_tolerate_misuse(void)
{
	if (!sites)
		sites = sys_map(sizeof(*sites));
	return sites;
}

void sys_note_call_site(const void *site)
{
	uint64_t thread = sys_thread();

	if (sites)
		sites->current[thread % THREADS] =
			thread / THREADS << SITE_BITS | (uint64_t)(uintptr_t)site;
}

/* If another thread has taken the entry, the site is unknown, and the call is reported. */
static uintptr_t call_site(void)
{
	uint64_t thread = sys_thread(), site = sites->current[thread % THREADS];
	bool is_own = site >> SITE_BITS == thread / THREADS;

	site &= (UINT64_C(1) << SITE_BITS) - 1;
	return is_own && site ? (uintptr_t)site : UNKNOWN_SITE;
}

/* The number of the line that site gets, from 1; 0: none. */
static unsigned int line_of(uintptr_t site)
{
	for (unsigned int i = 0; i < MISUSE_LINES; i++) {
		uintptr_t known = 0;

		if (atomic_compare_exchange_strong(&sites->reported[i], &known, site))
			return i + 1;
		if (known == site && site != UNKNOWN_SITE)
			return 0;
	}
	return 0;
}

void sys_report(const char *format, ...)
{
	char line[LINE_SIZE] = PREFIX;
	size_t n = strlen(PREFIX);
	va_list args;

	va_start(args, format);
	vsnprintf_(line + n, sizeof(line) - n - 1, format, args);
	va_end(args);
	n = strlen(line);
	line[n] = '\n';
	sys_print(line, n + 1);
}

const char *sys_error_name(int error)
{
	const char *name = compat_error_name(error);

	return name ? name : "an unknown error";
}

static void print(const char *call, const void *p, const char *what, va_list args, const char *end)
{
	int saved_errno = errno;
	char text[TEXT_SIZE];

	vsnprintf_(text, sizeof(text), what, args);
	/* Not %p: its format depends on the course's printf.c. */
	sys_report("%s(0x%lx): %s%s", call, (unsigned long)(uintptr_t)p, text, end);
	if (sys_on_fatal)
		sys_on_fatal();
	errno = saved_errno;
}

void sys_fatal(const char *call, const void *p, const char *what, ...)
{
	va_list args;

	va_start(args, what);
	print(call, p, what, args, "");
	va_end(args);
	abort();
}

void sys_misuse(const char *call, const void *p, const char *what, ...)
{
	const char *end = "";
	unsigned int line = 0;
	va_list args;

	if (sites) {
		line = line_of(call_site());
		if (!line)
			return;
		if (line == MISUSE_LINES)
			end = "; further misuse is not reported";
	}
	va_start(args, what);
	print(call, p, what, args, end);
	va_end(args);
	if (!sites)
		abort();
}
