/* SPDX-License-Identifier: BSD-3-Clause */

/* For constructors of tests: glibc passes the program's arguments to them, musl does not. */

#pragma once

#include <stdint.h>
#include <unistd.h>

/* The kernel puts the environment behind argc, the arguments and a null. */
static inline char **program_arguments(int *argc)
{
	char **at = environ - 2;

	for (*argc = 0; *at != (char *)(intptr_t)*argc; ++*argc)
		at--;
	return at + 1;
}
