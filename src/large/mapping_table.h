/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Hash table of mappings by payload address: open addressing, linear probing, at most half full.
 * Sizes are in bytes.
 *
 * Invariants, checked by mapping_table_check:
 *	L1 a search for the payload of an entry finds it, and no payload occurs twice
 *	L2 count, bytes and spare are sums over the entries; used is at least count
 *
 * For a fork between any two stores: an entry is written before its payload and removed by clearing
 * it. An entry that moves is duplicated, never missing.
 */

#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The body, [start, start + bytes), is accessible. */
struct mapping {
	_Atomic(uintptr_t) payload; /* 0: no entry */
	size_t size; /* usable size of the payload; hardened, the size requested */
	size_t asked; /* size requested last: a smaller one is shrinking */
	char *start;
	size_t bytes;
	/* Hardened: */
	char *place; /* start of the inaccessible memory before the body, or NULL */
	size_t spare; /* inaccessible zero bytes behind the body, to grow into */
	uint32_t behind; /* inaccessible pages behind the body, including spare ones */
	uint8_t align_shift; /* of the body */
	bool is_span; /* a span of a segment, not a mapping */
};

/* Guarded by the lock of mapping.c, like its entries. */
struct mapping_table {
	struct mapping_room *_Atomic room;
	size_t used; /* entries and reservations */
	size_t count, bytes, spare; /* L2 */
};

/* The slots of a table. */
struct mapping_room {
	size_t count; /* a power of two */
	struct mapping entries[];
};

void mapping_copy(struct mapping *to, const struct mapping *from);

/* Reserve an entry. False with errno ENOMEM. */
bool mapping_table_reserve(struct mapping_table *t);

/* Insert m, for which an entry is reserved. */
void mapping_table_insert(struct mapping_table *t, const struct mapping *m);

/* The entry of payload p, or NULL. */
struct mapping *mapping_table_find(const struct mapping_table *t, const void *p);

/* Remove entry m; it stays reserved. */
void mapping_table_remove(struct mapping_table *t, struct mapping *m);

/* The first entry at index *i or above, or NULL; *i advances behind it. */
struct mapping *mapping_table_next(const struct mapping_table *t, size_t *i);

/* Repair a table that a fork copied during a change. */
void mapping_table_repair(struct mapping_table *t);

/* Bytes of memory of the table. */
size_t mapping_table_bytes(const struct mapping_table *t);

/* Verify L1 and L2. Returns NULL, or a text on the first violation. */
const char *mapping_table_check(const struct mapping_table *t);
