/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * A thread steps through its own instructions: SIGTRAP comes after each one between steps_begin and
 * steps_end. Other processors than x86_64 let only a debugger do that: steps_begin skips the test.
 */

#pragma once

#include <stddef.h>
#include <ucontext.h>

#include "harness.h"

#ifdef __x86_64__

static inline void steps_end(void)
{
	__asm__ volatile("lea -128(%%rsp), %%rsp; pushfq; andq $~0x100, (%%rsp); popfq; "
			 "lea 128(%%rsp), %%rsp" ::
				 : "memory", "cc");
}

static inline void steps_begin(void)
{
	__asm__ volatile("lea -128(%%rsp), %%rsp; pushfq; orq $0x100, (%%rsp); popfq; "
			 "lea 128(%%rsp), %%rsp" ::
				 : "memory", "cc");
}

/* The interrupted thread steps no more. */
static inline void steps_leave(ucontext_t *context)
{
	context->uc_mcontext.gregs[REG_EFL] &= ~0x100;
}

static inline void steps_copy(void *to, const void *from, size_t n)
{
	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n)::"memory");
}

static inline void steps_fill(void *to, int byte, size_t n)
{
	__asm__ volatile("rep stosb" : "+D"(to), "+c"(n) : "a"(byte) : "memory");
}

#else

static inline void steps_end(void)
{
}

static inline void steps_begin(void)
{
	test_skip("this processor lets no thread step through its own instructions");
}

static inline void steps_leave(ucontext_t *context)
{
	(void)context;
}

/* volatile: these must not become calls of memcpy and memset, which call them. */
static inline void steps_copy(void *to, const void *from, size_t n)
{
	for (size_t i = 0; i < n; i++)
		((volatile char *)to)[i] = ((const volatile char *)from)[i];
}

static inline void steps_fill(void *to, int byte, size_t n)
{
	for (size_t i = 0; i < n; i++)
		((volatile char *)to)[i] = (char)byte;
}

#endif
