/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * What tests of the block heap share: block headers, the heap as text, recognisable contents.
 *
 * A test states what the heap must look like as text, worked out by hand from the rules:
 *
 *	EXPECT_HEAP(p, "a104 f130904");
 *
 * says that the list p is in has exactly an allocated block of 104 payload bytes and a free one of
 * 130904 right behind it. " | " in place of the space stands for a gap, where a new region begins.
 *
 * Handy sums: a header is 32 bytes, first use makes 131040 payload bytes, and n bytes taken from a
 * free block of f leave f - n - 32.
 */

#pragma once

#include "block_meta.h"

#include <stdbool.h>
#include <stddef.h>

#define META sizeof(struct block_meta)
#define INITIAL ((size_t)131072) /* what first use raises the break by */
#define THRESHOLD ((size_t)131072) /* chunks from here on are mapped, except by os_calloc */

struct block_meta *header(const void *p);

/* The first address behind p's block. */
char *end_of(const void *p);

bool is_in_heap(const void *p);
bool is_mapped(const void *p);

/* Is the page at p gone from the address space? */
bool is_unmapped(void *p);

size_t page_size(void);

/*
 * Fill size bytes at p with a sequence that seed chooses; holds() tells whether it is still there.
 */
void fill(void *p, size_t size, unsigned int seed);
bool holds(const void *p, size_t size, unsigned int seed);
bool is_zero(const void *p, size_t size);

/* Grow the heap past 1 MiB without a hole, and a little beyond the last exact growth. */
char *pass_1_mib(void);

/* The first block of the list that p is in. */
struct block_meta *first_block(const void *p);

/* The list that p, a payload, is in, as text; also checks its links. Valid until the next call. */
const char *heap_text(const void *p);

/* The list reads as text, and the break is where the last block ends: so in a heap up to 1 MiB. */
#define EXPECT_HEAP(p, text) expect_heap(__FILE__, __LINE__, p, text, true)

/* The list reads as text, wherever the break is. */
#define EXPECT_BLOCKS(p, text) expect_heap(__FILE__, __LINE__, p, text, false)

void expect_heap(const char *file, int line, const void *p, const char *text, bool is_exact);

/* The call must return NULL with errno ENOMEM. */
#define EXPECT_REFUSED(call)                                                                       \
	do {                                                                                       \
		errno = 0;                                                                         \
		CHECK(!(call));                                                                    \
		CHECK(errno == ENOMEM);                                                            \
	} while (0)
