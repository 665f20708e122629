/* SPDX-License-Identifier: BSD-3-Clause */

/* The body of a reply: memory of its own that grows. */

#pragma once

#include <stdbool.h>
#include <stddef.h>

struct text;

struct body {
	char *at; /* NULL: empty */
	size_t len, room; /* room: bytes mapped */
	bool is_cut; /* memory was exhausted: the end is missing */
};

/* Append len bytes. */
void body_add(struct body *b, const char *from, size_t len);

/* Append what fill adds to a text: any amount. */
void body_write(struct body *b, void (*fill)(struct text *t));

/* Release the memory. Idempotent. */
void body_drop(struct body *b);
