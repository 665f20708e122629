// SPDX-License-Identifier: BSD-3-Clause

/*
 * The C library's functions that set or query a signal's action. Guarded blocks have a handler of
 * SIGSEGV, which these hide (sample/guard_signal.c). All else is passed to the C library, by names
 * of the same functions that no other library interposes.
 */

#include <signal.h>

#include "helpers.h"
#include "record.h"
#include "sample/guard.h"

extern __typeof__(sigaction) __sigaction;
extern __typeof__(signal) __sysv_signal; /* signal, in a strictly conforming program */

static inline bool is_guarded(int number)
{
	return number == SIGSEGV && guard_area.size;
}

/* sigaction(2). */
EXPORT int sigaction(int number, const struct sigaction *new, struct sigaction *old)
{
	return unlikely(is_guarded(number)) ? guard_sigaction(new, old)
					    : __sigaction(number, new, old);
}

/* signal(2). */
EXPORT __sighandler_t signal(int number, __sighandler_t handler)
{
	return unlikely(is_guarded(number)) ? guard_signal(ssignal, handler)
					    : ssignal(number, handler);
}

EXPORT __sighandler_t __sysv_signal(int number, __sighandler_t handler)
{
	return unlikely(is_guarded(number)) ? guard_signal(sysv_signal, handler)
					    : sysv_signal(number, handler);
}
