/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Objects from any public function that allocates, full of a cookie that every touch verifies, and
 * given back by any function that may: what the soak and the fuzzers make and break. Sizes are in
 * bytes. What is wrong ends in finding().
 */

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common.h"

struct object {
	unsigned char *p; /* NULL: os_malloc(0) and its like */
	size_t size; /* as asked for */
	size_t filled; /* what holds the cookie: size, or all that may be written */
	size_t align; /* as asked for, or what the function promises */
	uint64_t cookie;
	unsigned int form; /* the function it is from */
};

/* Say what is wrong and what it takes to repeat it, and abort(). The program has it. */
void finding(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));

enum family {
	FAMILY_COURSE,
	FAMILY_LIBC,
	FAMILY_CXX,
	FAMILIES,
};

enum family object_family(const struct object *o);

/* Memory may be refused: NULL with ENOMEM is no finding. Throwing operators are not called. */
extern bool objects_may_fail;

/* How many functions make objects; and make one by one of these. False: refused. */
unsigned int objects_forms(void);
bool object_make(struct object *o, unsigned int form, size_t size, uint64_t *random);

/* Make an object of size bytes by some function of the family. */
void object_get(struct object *o, enum family family, size_t size, uint64_t *random);

/* Resize it, where its family can, else nothing. */
void object_resize(struct object *o, size_t size, uint64_t *random);

/* Verify what it holds; object_renew also writes something else, at times to all that is usable. */
void object_check(const struct object *o);
void object_renew(struct object *o, uint64_t *random);

/* Verify it and give it back by some function that may. */
void object_drop(struct object *o, uint64_t *random);

/* Sizes that cannot be, products that overflow, alignments that are none. */
void objects_refused(uint64_t *random);
