/* SPDX-License-Identifier: BSD-3-Clause */

/* A strict parser of JSON (RFC 8259). Nodes are in the order of the text. */

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum json_kind {
	JSON_NULL,
	JSON_FALSE,
	JSON_TRUE,
	JSON_NUMBER,
	JSON_STRING,
	JSON_ARRAY,
	JSON_OBJECT
};

struct json_node {
	enum json_kind kind;
	size_t start, length; /* of its text; of a string without the quotes, as it is written */
	size_t next; /* the node behind it and all that is in it */
};

/* Node 0 is the whole. A member of an object is two nodes, the name and the value. */
struct json {
	const char *text;
	struct json_node *nodes;
	size_t count;
};

/* Parse a text, which must stay. False if it is not valid; either way json_free frees. */
bool json_parse(struct json *j, const char *text, size_t length);
void json_free(struct json *j);

#define JSON_NONE SIZE_MAX

/* The first node in an array or object, or JSON_NONE. */
size_t json_first(const struct json *j, size_t node);
/* The node behind one, inside of what contains both, or JSON_NONE. */
size_t json_next(const struct json *j, size_t container, size_t node);
/* The value of a member, or JSON_NONE. Accepts JSON_NONE. */
size_t json_member(const struct json *j, size_t node, const char *name);
/* A whole number of 64 bits, or or_else. Accepts JSON_NONE. */
uint64_t json_number(const struct json *j, size_t node, uint64_t or_else);
