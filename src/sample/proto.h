/* SPDX-License-Identifier: BSD-3-Clause */

/* An encoder of protocol buffers: what profile.proto needs of it. It does not allocate. */

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PROTO_MESSAGE_MAX 1024 /* bytes of a message within another */
#define PROTO_BUFFER (16 * 1024) /* texts are shorter */

/* A message within another: its length comes first, so it is complete before it is written. */
struct proto_message {
	size_t len;
	unsigned char at[PROTO_MESSAGE_MAX];
};

/* What does not fit is a bug: callers know what they add. Fields of value 0 are left out. */
void proto_add_number(struct proto_message *m, unsigned int field, uint64_t value);
void proto_add_message(struct proto_message *m, unsigned int field,
		       const struct proto_message *part);

/* All values, as one packed field. */
void proto_add_numbers(struct proto_message *m, unsigned int field, const uint64_t *values,
		       size_t count);

/* The outermost message, which is written piece by piece. */
struct proto {
	bool (*write)(void *arg, const void *data, size_t len); /* false with errno */
	void *arg;
	int error; /* errno of write, or 0; then nothing more is written */
	size_t len;
	unsigned char buffer[PROTO_BUFFER];
};

void proto_put_number(struct proto *p, unsigned int field, uint64_t value);
void proto_put_message(struct proto *p, unsigned int field, const struct proto_message *m);
void proto_put_text(struct proto *p, unsigned int field, const char *text);

/* Write the rest. False with errno if anything could not be written. */
bool proto_finish(struct proto *p);
