/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Stops all other threads of the process for a while.
 *
 * Each thread gets a signal whose handler waits. It is the signal that libc uses for setuid(2):
 * libc does not let programs block it. ptrace(2) would interrupt fewer system calls, but sandboxes
 * and Linux security modules refuse it, a debugger or strace excludes it, and some filters kill the
 * process for it. What a signal costs: calls that SA_RESTART does not restart return EINTR, and
 * these do not stop: a thread that has blocked all signals without libc, waits for a child of
 * vfork, or is stopped by a debugger.
 */

#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct stopped_thread {
	_Atomic(uint32_t) id; /* 0: this entry is not filled in */
	/* Its stack pointer; 0 in a handler with a stack of its own (sigaltstack). */
	uintptr_t stack;
	uintptr_t self; /* its pthread_self(): on the stack that libc made for it */
	uintptr_t signal_stack; /* the other stack, if it has one, in use or not */
	uintptr_t saved, saved_end; /* its registers, and the part of the other stack in use */
};

/* The result of stop_begin. */
struct stop {
	const struct stopped_thread *threads;
	size_t count;
	size_t running; /* other threads that did not stop in time */
	size_t bytes; /* of memory at threads */
};

/*
 * Stop all other threads. True even if some do not stop. False with errno: no memory, or /proc
 * cannot be read; then none is stopped. Until stop_end, the caller may only call what takes no lock
 * of libc. One thread of the process may call at a time.
 */
bool stop_begin(struct stop *s);

/* Let them go on. */
void stop_end(struct stop *s);

/*
 * Fill in t for the calling thread. stack is its stack pointer when all registers were on the
 * stack.
 */
void stop_note_own(struct stopped_thread *t, uintptr_t stack);
