/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * The table of objects that have an entry of their own, by the address of their payload: open, with
 * linear probing, at most half full. Sizes are in bytes.
 *
 * Invariants, checked by mapping_table_check:
 *	L1 an entry is where a search for its payload finds it, and once
 *	L2 count, bytes and spare are those of the entries; used is at least count
 *
 * A fork may copy the table between any two stores. An entry is written before its payload, and
 * removed by that; while one moves it is in two places, never in none.
 */

#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What is accessible, its body, is start to start + bytes. */
struct mapping {
	_Atomic(uintptr_t) payload; /* 0: no entry */
	size_t size; /* of the payload, as told; hardened, what was asked for */
	size_t asked; /* by the last call: less than that is shrinking */
	char *start;
	size_t bytes;
	/* Hardened: */
	char *place; /* what is inaccessible before the body begins here; or NULL */
	size_t spare; /* inaccessible bytes behind the body: pages of zeroes to grow into */
	uint32_t behind; /* pages that are inaccessible behind the body, spare ones too */
	uint8_t align_shift; /* of the body */
	bool is_span; /* not a mapping, but a span of a segment */
};

/* Guarded by the lock of mapping.c, as all of this. */
struct mapping_table {
	struct mapping_room *_Atomic room;
	size_t used; /* entries, and those that are reserved */
	size_t count, bytes, spare; /* L2 */
};

/* The places of a table. */
struct mapping_room {
	size_t count; /* a power of two */
	struct mapping entries[];
};

void mapping_copy(struct mapping *to, const struct mapping *from);

/* Reserve an entry. False: no memory, errno is ENOMEM. */
bool mapping_table_reserve(struct mapping_table *t);

/* Insert m, for which an entry is reserved. */
void mapping_table_insert(struct mapping_table *t, const struct mapping *m);

/* The entry of payload p, or NULL. */
struct mapping *mapping_table_find(const struct mapping_table *t, const void *p);

/* Remove m, an entry, which leaves one reserved. */
void mapping_table_remove(struct mapping_table *t, struct mapping *m);

/* The entry from number *i on, and *i is behind it; NULL: there are no more. */
struct mapping *mapping_table_next(const struct mapping_table *t, size_t *i);

/* Make a table whole that a fork has copied while it was changed. */
void mapping_table_repair(struct mapping_table *t);

/* What the kernel gave for it. */
size_t mapping_table_bytes(const struct mapping_table *t);

/* NULL, or the text of what does not hold. */
const char *mapping_table_check(const struct mapping_table *t);
