/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Test and clear memory in units of 16 bytes, aligned to 16. First and last lanes overlap: a loop
 * over lanes, or a call, would be half of the time of small cells.
 */

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint64_t zero_lane __attribute__((vector_size(16), may_alias));

static inline zero_lane zero_four(const zero_lane *at)
{
	return at[0] | at[1] | at[2] | at[3];
}

/* The bitwise or of size bytes at p, at least 16: zero if all are. */
static inline __attribute__((always_inline)) zero_lane zero_lanes(const char *p, size_t size)
{
	const zero_lane *at = (const zero_lane *)(const void *)p;
	const zero_lane *end = (const zero_lane *)(const void *)(p + size);
	zero_lane any = {0};

	if (size <= 48) /* no branch on the number of lanes, 1 to 3 */
		return at[0] | *(const zero_lane *)(const void *)(p + (size / 2 & ~15ul)) | end[-1];
	if (size > 128) {
		for (; end - at > 8; at += 8)
			any |= zero_four(at) | zero_four(at + 4);
		return any | zero_four(end - 8) | zero_four(end - 4);
	}
	return zero_four(at) | zero_four(end - 4);
}

static inline bool is_zero(const void *p, size_t size)
{
	zero_lane any = {0};

	if (size)
		any = zero_lanes(p, size);
	return !(any[0] | any[1]);
}

/* The first 16 bytes of pages [p, p + size) that are not zero, or NULL. */
static inline const void *first_not_zero(const char *p, size_t size)
{
	for (const char *end = p + size; p < end; p += sizeof(zero_lane))
		if ((uintptr_t)p % 4096 == 0 && is_zero(p, 4096))
			p += 4096 - sizeof(zero_lane);
		else if (!is_zero(p, sizeof(zero_lane)))
			return p;
	return NULL;
}

#define ZERO_FEW ((size_t)128)

/* Zero size bytes at p, 16 < size <= ZERO_FEW. */
static inline void zero_few(void *p, size_t size)
{
	zero_lane *at = p, *end = at + size / sizeof(*at), none = {0};

	at[0] = at[1] = end[-2] = end[-1] = none;
	if (size > 64)
		at[2] = at[3] = end[-4] = end[-3] = none;
}
