/* SPDX-License-Identifier: BSD-3-Clause */

/* Invariants broken on purpose: a checker must name the one that is, and none before and after. */

#pragma once

#include <stddef.h>
#include <string.h>

#include "harness.h"

/* NULL, or the text of the first invariant that does not hold; it starts with its number. */
typedef const char *checker(void);

static inline void expect_fault(checker *check, const char *number)
{
	const char *fault = check();

	CHECK_MSG(fault && strncmp(fault, number, strlen(number)) == 0, "expected %s, not %s",
		  number, fault ? fault : "no fault");
}

static inline void expect_sound(checker *check)
{
	const char *fault = check();

	CHECK_MSG(!fault, "%s", fault);
}

/* Write value over size bytes at at: the checker names number. Then put back what was there. */
static inline void break_bytes(checker *check, void *at, const void *value, size_t size,
			       const char *number)
{
	char saved[64];

	CHECK(size <= sizeof(saved));
	expect_sound(check);
	memcpy(saved, at, size);
	memcpy(at, value, size);
	expect_fault(check, number);
	memcpy(at, saved, size);
	expect_sound(check);
}

/* As break_bytes, for an object and the value of its type that breaks it. */
#define BREAK_BY(check, lvalue, wrong, number)                                                     \
	break_bytes(check, &(lvalue), &(__typeof__((void)0, lvalue)){wrong}, sizeof(lvalue), number)
