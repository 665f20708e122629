// SPDX-License-Identifier: BSD-3-Clause

#include "compat.h"

#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "elf_symbol.h"
#include "handler.h"
#include "helpers.h"

/* ---- Names of errors ---- */

/* Those that a system call of the library may return. */
static const struct {
	int number;
	char name[16];
} errors[] = {
#define E(number)                                                                                  \
	{                                                                                          \
		number, #number                                                                    \
	}
	E(EPERM),	 E(ENOENT),	E(ESRCH),	 E(EINTR),	E(EIO),
	E(ENXIO),	 E(EBADF),	E(EAGAIN),	 E(ENOMEM),	E(EACCES),
	E(EFAULT),	 E(EBUSY),	E(EEXIST),	 E(EXDEV),	E(ENODEV),
	E(ENOTDIR),	 E(EISDIR),	E(EINVAL),	 E(ENFILE),	E(EMFILE),
	E(ENOTTY),	 E(ETXTBSY),	E(EFBIG),	 E(ENOSPC),	E(ESPIPE),
	E(EROFS),	 E(EMLINK),	E(EPIPE),	 E(EDEADLK),	E(ENAMETOOLONG),
	E(ENOLCK),	 E(ENOSYS),	E(ELOOP),	 E(EOVERFLOW),	E(ENOTSOCK),
	E(EPROTOTYPE),	 E(EOPNOTSUPP), E(EAFNOSUPPORT), E(EADDRINUSE), E(EADDRNOTAVAIL),
	E(ECONNREFUSED), E(ECONNRESET), E(ENOBUFS),	 E(ENOTCONN),	E(ETIMEDOUT),
	E(ESTALE),	 E(EDQUOT),
#undef E
};

const char *compat_error_name(int error)
{
	for (size_t i = 0; i < COUNT_OF(errors); i++)
		if (errors[i].number == error)
			return errors[i].name;
	return NULL;
}

#ifdef __GLIBC__

/*
 * Not a destructor, and not atexit(), which libc runs with the destructors of this object: handlers
 * of on_exit() that are registered before main are the last, and may change the exit status. The
 * one that is registered last runs first.
 */
static void call(int status, void *function)
{
	(void)status;
	(*(void (**)(void))function)();
}

bool compat_at_end(void (*last)(void), void (*first)(void))
{
	static void (*functions[2])(void);

	functions[0] = last;
	functions[1] = first;
	return on_exit(call, &functions[0]) == 0 && on_exit(call, &functions[1]) == 0;
}

/* On Linux, exit() in a handler runs the rest of them only. */
void compat_end(int status)
{
	exit(status);
}

#else

/* ---- Signals ---- */

typedef int sigaction_function(int number, const struct sigaction *new, struct sigaction *old);

/* In an archive. It may be absent, because nothing in a program need call it. */
extern sigaction_function __sigaction __attribute__((weak));

static sigaction_function *find_sigaction(void)
{
	sigaction_function *found = __sigaction;

	if (!found)
		*(void **)&found = elf_libc_symbol("sigaction");
	return found ? found : handler_sigaction;
}

int compat_sigaction(int number, const struct sigaction *new, struct sigaction *old)
{
	static _Atomic(sigaction_function *) function;
	sigaction_function *f = atomic_load_explicit(&function, memory_order_relaxed);

	if (!f) {
		f = find_sigaction();
		atomic_store_explicit(&function, f, memory_order_relaxed);
	}
	return f(number, new, old);
}

sighandler_t compat_signal(int number, sighandler_t handler)
{
	struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART}, old;

	return compat_sigaction(number, &action, &old) == 0 ? old.sa_handler : SIG_ERR;
}

/* ---- Start and end of the process ---- */

/* The kernel writes argc, argv, a null, and the environment there. */
void *compat_stack_end;

__attribute__((constructor(SYS_BEGIN_BLOCK))) static void find_stack_end(void)
{
	char **end = environ - 1, **at = end - 1;

	if (!environ || *end)
		return; /* another constructor has moved the environment */
	while (*at != (char *)(uintptr_t)(end - at - 1))
		at--;
	compat_stack_end = at;
}

/* Destructors run behind all handlers, and those of a preloaded library behind all others. */
static void (*end_functions[2])(void);

bool compat_at_end(void (*last)(void), void (*first)(void))
{
	end_functions[0] = first;
	end_functions[1] = last;
	return true;
}

__attribute__((destructor(SYS_BEGIN_BLOCK))) static void call_end_functions(void)
{
	for (size_t i = 0; i < COUNT_OF(end_functions); i++)
		if (end_functions[i])
			end_functions[i]();
}

/* exit() cannot be called again. All that it would do now is to write what stdio has buffered. */
void compat_end(int status)
{
	fflush(NULL);
	_exit(status);
}

#endif
