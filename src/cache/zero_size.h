/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * malloc(0) of hardened mode: inaccessible addresses, 16 bytes apart. Any thread may call. call is
 * the public function that a misuse report names.
 */

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ZERO_SIZE_BYTES ((size_t)16 << 20) /* of addresses */

extern char *zero_size_area; /* NULL: not hardened, or addresses were refused */

/* Reserve the addresses. Called once, before all others. */
void zero_size_start(void);

/* An address that is not in use, or NULL. */
void *zero_size_alloc(void);

static inline bool zero_size_has(const void *p)
{
	return zero_size_area && (uintptr_t)p - (uintptr_t)zero_size_area < ZERO_SIZE_BYTES;
}

/* Whether p, for which zero_size_has holds, is in use; otherwise it was reported. */
bool zero_size_check(const char *call, const void *p);
void zero_size_free(const char *call, const void *p);
