// SPDX-License-Identifier: BSD-3-Clause

#include "proto.h"

#include <errno.h>
#include <string.h>

#define VARINT_MAX 10

enum {
	NUMBER = 0,
	BYTES = 2
}; /* wire types */

/* Seven bits a byte, the lowest first. Returns the number of bytes. */
static size_t encode(unsigned char *to, uint64_t value)
{
	size_t n = 0;

	for (; value >= 0x80; value >>= 7)
		to[n++] = (unsigned char)(value | 0x80);
	to[n++] = (unsigned char)value;
	return n;
}

static size_t encode_key(unsigned char *to, unsigned int field, unsigned int type)
{
	return encode(to, field << 3 | type);
}

/* ---- Messages within another ---- */

void proto_add_number(struct proto_message *m, unsigned int field, uint64_t value)
{
	if (!value)
		return;
	m->len += encode_key(m->at + m->len, field, NUMBER);
	m->len += encode(m->at + m->len, value);
}

void proto_add_message(struct proto_message *m, unsigned int field,
		       const struct proto_message *part)
{
	m->len += encode_key(m->at + m->len, field, BYTES);
	m->len += encode(m->at + m->len, part->len);
	memcpy(m->at + m->len, part->at, part->len);
	m->len += part->len;
}

void proto_add_numbers(struct proto_message *m, unsigned int field, const uint64_t *values,
		       size_t count)
{
	unsigned char number[VARINT_MAX];
	size_t len = 0;

	for (size_t i = 0; i < count; i++)
		len += encode(number, values[i]);
	m->len += encode_key(m->at + m->len, field, BYTES);
	m->len += encode(m->at + m->len, len);
	for (size_t i = 0; i < count; i++)
		m->len += encode(m->at + m->len, values[i]);
}

/* ---- The outermost one ---- */

static void flush(struct proto *p)
{
	if (!p->error && p->len && !p->write(p->arg, p->buffer, p->len))
		p->error = errno;
	p->len = 0;
}

static void put(struct proto *p, const void *data, size_t len)
{
	if (p->len + len > PROTO_BUFFER)
		flush(p);
	memcpy(p->buffer + p->len, data, len);
	p->len += len;
}

static void put_bytes(struct proto *p, unsigned int field, const void *data, size_t len)
{
	unsigned char start[2 * VARINT_MAX];
	size_t n = encode_key(start, field, BYTES);

	n += encode(start + n, len);
	put(p, start, n);
	put(p, data, len);
}

void proto_put_number(struct proto *p, unsigned int field, uint64_t value)
{
	unsigned char start[2 * VARINT_MAX];
	size_t n = encode_key(start, field, NUMBER);

	n += encode(start + n, value);
	put(p, start, n);
}

void proto_put_message(struct proto *p, unsigned int field, const struct proto_message *m)
{
	put_bytes(p, field, m->at, m->len);
}

void proto_put_text(struct proto *p, unsigned int field, const char *text)
{
	put_bytes(p, field, text, strlen(text));
}

bool proto_finish(struct proto *p)
{
	flush(p);
	errno = p->error;
	return !p->error;
}
