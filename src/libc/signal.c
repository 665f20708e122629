// SPDX-License-Identifier: BSD-3-Clause

/*
 * The C library's functions that set or query a signal's action. Guarded blocks have a handler of
 * SIGSEGV, which these hide (sample/guard_signal.c). All else is passed to the C library, under
 * names of the same functions that no other library interposes.
 */

#include <errno.h>
#include <signal.h>

#include "compat.h"
#include "helpers.h"
#include "record.h"
#include "sample/guard.h"
#include "sys_signals.h"

/* signal(2) in a strictly conforming program. Weak: in an archive, libc's is not. */
#pragma weak __sysv_signal

static inline bool is_hidden(int number)
{
	return number == SIGSEGV && guard_area.size;
}

static int set_action(int number, const struct sigaction *new, struct sigaction *old)
{
	return unlikely(is_hidden(number)) ? guard_sigaction(new, old)
					   : compat_sigaction(number, new, old);
}

/* sigaction(2). */
EXPORT int sigaction(int number, const struct sigaction *new, struct sigaction *old)
{
	return set_action(number, new, old);
}

/* signal(2), as in BSD. ssignal is another name of it. */
EXPORT sighandler_t signal(int number, sighandler_t handler)
{
	return unlikely(is_hidden(number)) ? guard_signal(handler) : compat_signal(number, handler);
}

/* As in System V: the handler runs once, and its signal is not blocked meanwhile. */
EXPORT sighandler_t __sysv_signal(int number, sighandler_t handler)
{
	struct sigaction action = {.sa_handler = handler,
				   .sa_flags = (int)SA_RESETHAND | SA_NODEFER | SA_INTERRUPT};
	struct sigaction old;

	if (handler == SIG_ERR) {
		errno = EINVAL;
		return SIG_ERR;
	}
	return set_action(number, &action, &old) == 0 ? old.sa_handler : SIG_ERR;
}
