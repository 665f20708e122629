/* SPDX-License-Identifier: BSD-3-Clause */

/* Requests of HTTP/1.0, parsed in place. */

#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "words.h"

enum method {
	METHOD_OTHER,
	METHOD_GET,
	METHOD_HEAD,
	METHOD_POST,
};

struct request {
	enum method method;
	struct word path; /* without the host and the query */
	struct word query; /* behind "?"; empty if there is none */
	struct word body;
};

enum request_state {
	REQUEST_INCOMPLETE,
	REQUEST_COMPLETE,
	REQUEST_MALFORMED,
	REQUEST_TOO_LARGE, /* it will not fit into room bytes */
};

/* Parse the len bytes at text, of which there may be up to room. Lines end in \n or \r\n. */
enum request_state request_parse(struct request *r, const char *text, size_t len, size_t room);

/*
 * Write the value of name, in the query or the body, to value, with %XX decoded. Any other % stays.
 * False if there is none. Empty: it is invalid, or does not fit into size bytes with its null.
 */
bool request_value(const struct request *r, const char *name, char *value, size_t size);
