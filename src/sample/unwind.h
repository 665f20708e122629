/* SPDX-License-Identifier: BSD-3-Clause */

/* From a frame of the calling thread's stack to its caller's. */

#pragma once

#include <stdbool.h>
#include <stdint.h>

/* The registers of a frame that the next step needs. */
struct unwind {
	uintptr_t rip, rsp, rbp, rbx;
	uintptr_t start,
		end; /* pages of the stack that can be read: rsp is in them, or at the end */
	bool is_own; /* these are of the thread's own stack, which lasts as long as the thread */
	bool is_exact; /* rip is no return address: a signal came there */
	bool is_guess; /* a frame pointer led to rip, which may be wrong */
};

/* Prepare unwind_step. Idempotent. False: out of memory. */
bool unwind_begin(void);

/* Complete *u, of which the registers are filled in. */
void unwind_first(struct unwind *u);

/*
 * Replace the registers by those of the caller. False: there is none, or it cannot be found; then
 * rip is wrong if is_guess.
 */
bool unwind_step(struct unwind *u);

/* Remember the pages for the thread's next walk. */
void unwind_last(const struct unwind *u);
