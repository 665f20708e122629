/* SPDX-License-Identifier: BSD-3-Clause */

/* What tests of misused blocks and cells share. */

#pragma once

#include <malloc.h>
#include <stdlib.h>

#include "block_meta.h"
#include "harness.h"
#include "osmem.h"
#include "pointers.h"

#define META sizeof(struct block_meta)
#define LARGE ((size_t)1 << 20) /* mapped, of os_malloc */
#define SEARCHED ((size_t)125000) /* a search for it finds nothing free */

#define SMALL ((size_t)112)
#define MEDIUM ((size_t)0x570)

/* A live block's header. */
static inline struct block_meta *header(void *p)
{
	return (struct block_meta *)p - 1;
}

/* n live blocks of size bytes in a row, and one behind them. */
static inline void alloc_row(char **p, size_t n, size_t size)
{
	for (size_t i = 0; i < n; i++) {
		p[i] = os_malloc(size);
		CHECK(p[i]);
		CHECK(!i || p[i] == p[i - 1] + size + META);
	}
	CHECK(os_malloc(size) == p[n - 1] + size + META);
}

static inline void expect_strange(const struct family *f, const struct family *other, void *p)
{
	expect_all(f, p, false, "a block of %s, not of %s", other->allocator, f->allocator);
}

static const size_t cell_sizes[] = {16, 112, 1024, 1152, 8192, 10240, CELL_MAX};

#define EACH_CELL_SIZE(size)                                                                       \
	for (const size_t *size##_at = cell_sizes,                                                 \
			  *size##_end = cell_sizes + COUNT_OF(cell_sizes);                         \
	     size##_at < size##_end; size##_at++)                                                  \
		for (size_t size = *size##_at, once = 1; once; once = 0)

static inline char *new_cell(size_t size)
{
	char *p = malloc(size);

	CHECK(p && malloc_usable_size(p) == size);
	return p;
}
