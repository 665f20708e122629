/* SPDX-License-Identifier: BSD-3-Clause */

/* What all kinds of tests use: sizes, and random numbers that are the same in every run. */

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KIB ((size_t)1024)
#define MIB (KIB * KIB)
#define GIB (MIB * KIB)

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* The next of 64 random bits each (splitmix64). A state may begin with any value. */
static inline uint64_t random_next(uint64_t *state)
{
	uint64_t x = *state += 0x9e3779b97f4a7c15u;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

/* A random number below n, which is not 0. */
static inline size_t random_below(uint64_t *state, size_t n)
{
	return (size_t)(random_next(state) % n); // NOLINT(clang-analyzer-core.DivideZero)
}

/* True once in n times. */
static inline bool one_in(uint64_t *state, size_t n)
{
	return random_below(state, n) == 0;
}

/* Is each of size bytes this one? */
static inline bool is_all(const void *p, size_t size, unsigned char byte)
{
	const unsigned char *bytes = p;

	for (size_t i = 0; i < size; i++)
		if (bytes[i] != byte)
			return false;
	return true;
}
