/* SPDX-License-Identifier: BSD-3-Clause */

/* Signals and the stack of their handlers: what the kernel and the processor do. */

#pragma once

#include <signal.h>
#include <stdint.h>

#include "registers.h"

/* sigaction(2) of libc, under a name that no other library interposes. */
extern __typeof__(sigaction) __sigaction;

/* Send a signal to this process. */
void signals_send(int signal);

/* Block all signals of the calling thread. Returns the old mask for signals_restore. */
uint64_t signals_block(void);
void signals_restore(uint64_t mask);

/* Send info to the calling thread again, unchanged. It arrives when its signal is not blocked. */
void signals_resend(siginfo_t *info);

/* What the processor did when it faulted; context is the third argument of a handler. */
struct signals_fault {
	uintptr_t instruction; /* its address, or 0 if unknown */
	enum registers_access access;
};

struct signals_fault signals_get_fault(const void *context);
