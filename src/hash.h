/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * The hash of tables, priorities and checksums: multiplication by odd constants. A keyed hash
 * combines its input with a secret. Only the canary of hardened blocks has a secret factor
 * (canary.h).
 */

#pragma once

#include <stdint.h>

#define HASH_FACTOR UINT64_C(0x9e3779b97f4a7c15) /* 2^64 / golden ratio */
#define HASH_FACTOR2 UINT64_C(0xd6e8feb86659fd93) /* for a second word, or a second round */
#define HASH_FACTOR3 UINT64_C(0xbf58476d1ce4e5b9)

/* The upper bits depend on all bits of x. */
static inline uint64_t hash_fast(uint64_t x)
{
	return x * HASH_FACTOR;
}

/* The lower bits do, too. */
static inline uint64_t hash_full(uint64_t x)
{
	uint64_t h = x * HASH_FACTOR;

	return (h ^ h >> 32) * HASH_FACTOR2;
}
