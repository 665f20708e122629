/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * What tests of bad pointers share: the calls that take a pointer, of both families, os_* and the
 * C library's names, and the line that each of them has to end with.
 */

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "harness.h"

#define CELL_MAX ((size_t)32768) /* as src/slab/README.md says */

#define ALREADY_FREE "this block is already free"
#define FOREIGN "not a block of this allocator"

struct call {
	const char *name; /* as the message gives it */
	void (*run)(void *p);
	bool allows_free; /* rule 16 */
};

struct family {
	const char *allocator; /* as messages give it */
	size_t grain;
	void *(*alloc)(size_t size);
	void (*free)(void *p);
	void *(*realloc)(void *p, size_t size);
	const struct call *calls; /* up to one without a name */
};

extern const struct family course, libc;

void free_sized(void *p, size_t size);
void free_aligned_sized(void *p, size_t align, size_t size);

/* call with p ends in that line, and abort. */
void expect_line(const struct call *call, void *p, const char *what);

/* Every call of the family but, where p is a free block, those that rule 16 allows. */
void expect_all(const struct family *f, void *p, bool is_free, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

void expect_free(const struct family *f, void *p);

/* kind: "one", or "a free one". */
void expect_inside(const struct family *f, void *p, const char *kind, void *payload, size_t size);
