/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Signal handlers that are installed by the system call itself. Neither libc nor a library that
 * replaces its functions knows of them.
 */

#pragma once

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include "arch.h"

/* The kernel's struct sigaction. */
struct handler {
	void (*function)(int signal, siginfo_t *info, void *context);
	unsigned long flags;
#if ARCH_HAS_RESTORER
	void (*restorer)(void);
#endif
	uint64_t mask;
};

/*
 * Install function for signal, also for those that libc reserves. All signals are blocked while it
 * runs; none with SA_NODEFER. Stores the handler before it. False with errno.
 */
bool handler_set(int signal, void (*function)(int signal, siginfo_t *info, void *context),
		 int flags, struct handler *old);

void handler_restore(int signal, const struct handler *old);

/* sigaction(2). */
int handler_sigaction(int signal, const struct sigaction *new, struct sigaction *old);

/*
 * Reads of memory that may not be there. Between fault_begin and fault_end, which one thread of the
 * process may call at a time, fault_try(function, arg) calls function(arg), and returns false if
 * that was ended by a fault. Other signals of the calling thread wait.
 */
struct fault_state {
	struct handler segv, bus;
	uint64_t mask;
};

void fault_begin(struct fault_state *state);
bool fault_try(void (*function)(void *arg), void *arg);
void fault_end(const struct fault_state *state);
