/* SPDX-License-Identifier: BSD-3-Clause */

/* From a frame of the calling thread's stack to its caller's. */

#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "registers.h"

struct unwind {
	struct registers at; /* of a frame */
	uintptr_t start,
		end; /* pages of the stack that can be read: sp is in them, or at the end */
	bool is_own; /* these are of the thread's own stack, which lasts as long as the thread */
	bool is_exact; /* at.pc is no return address: a signal came there */
	bool is_above; /* sp is higher than at.sp, which is the end of a frame record */
	bool is_guess; /* a frame pointer led to at.pc, which may be wrong */
};

/* Prepare unwind_step. Idempotent. False: out of memory. */
bool unwind_begin(void);

/* Complete *u, of which the registers are filled in: registers_take. */
void unwind_first(struct unwind *u);

/*
 * Replace the registers by those of the caller. False: there is none, or it cannot be found; then
 * at.pc is wrong if is_guess.
 */
bool unwind_step(struct unwind *u);

/* Remember the pages for the thread's next walk. */
void unwind_last(const struct unwind *u);
