/* SPDX-License-Identifier: BSD-3-Clause */

/* What tests of misused large objects share: up to SPAN_MAX a span, above it a mapping. */

#pragma once

#include <limits.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "harness.h"
#include "pointers.h"
#include "slab/slab.h"

#define PAGE ((size_t)4096)
#define SEGMENT (4 * MIB)
#define SLOT ((size_t)65536)
#define MAPPED (5 * MIB)
#define MEMORY_FREE "this memory is already free"

/* Sizes of whole spans; a thread keeps some of those up to KEPT_MAX. */
#define KEPT_MAX (512 * KIB)

static const size_t span_sizes[] = {9 * PAGE, 16 * PAGE,   20 * PAGE, 128 * KIB,
				    KEPT_MAX, 3 * MIB / 2, SPAN_MAX};

/* No sweep comes in between, which would give to the kernel what is free. */
static inline void never_sweep(void)
{
	CHECK(mallopt(M_TRIM_THRESHOLD, INT_MAX));
}

static inline char *new_object(size_t size)
{
	char *p = malloc(size);

	CHECK_MSG(p && malloc_usable_size(p) == size, "%zu bytes: %p", size, (void *)p);
	memset(p, 'a', size);
	return p;
}

/* n spans side by side, upwards. */
static inline void new_row(char **p, size_t n, size_t size)
{
	for (size_t i = 0; i < n; i++) {
		p[i] = new_object(size);
		CHECK(!i || p[i] == p[i - 1] + size);
	}
}

static inline void expect_memory_free(void *p)
{
	expect_all(&libc, p, false, MEMORY_FREE);
}
