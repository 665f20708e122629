/* SPDX-License-Identifier: BSD-3-Clause */

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Whether the size bytes at p are zero; both are multiples of 16. */
static inline bool is_zero(const void *p, size_t size)
{
	typedef uint64_t pair __attribute__((vector_size(16), may_alias));
	const pair *at = p, *end = at + size / sizeof(pair);
	pair any = {0}, more = {0};

	for (; end - at >= 4; at += 4) {
		any |= at[0] | at[1];
		more |= at[2] | at[3];
	}
	for (; at < end; at++)
		any |= *at;
	any |= more;
	return !(any[0] | any[1]);
}
