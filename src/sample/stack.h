/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Call stacks of the calling thread. A frame is a return address: the address behind a call.
 * Any thread may call these functions at any time, also in a signal handler, in a forked child and
 * with any lock held. They do not allocate.
 */

#pragma once

#include <stdbool.h>
#include <stdint.h>

#define STACK_FRAMES_MAX 64 /* enough for any caller here; further frames are lost */

/*
 * Prepare stack_take. Idempotent; one thread at a time. False: there is no memory, and stacks
 * cannot be taken.
 */
bool stack_begin(void);

/*
 * Write up to max return addresses to frames, innermost first, without the frames of this library
 * at the top. So the first is in the caller of malloc or another exported function. (A program that
 * links the archive shows the library's frames as well.) Returns the number; 0: the stack cannot be
 * taken, or stack_begin was not called.
 */
unsigned int stack_take(uintptr_t *frames, unsigned int max);

/* Print the frames on standard error, one line each, with the names of exported functions. */
void stack_print(const uintptr_t *frames, unsigned int n);
