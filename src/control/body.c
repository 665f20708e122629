// SPDX-License-Identifier: BSD-3-Clause

#include "body.h"

#include <string.h>

#include "helpers.h"
#include "inspect/text.h"

#define FIRST_ROOM (64 * KIB)

/* Make room for len more bytes. False when memory is exhausted. */
static bool grow(struct body *b, size_t len)
{
	size_t room = b->room ? b->room : FIRST_ROOM;
	char *at;

	while (room - b->len < len)
		room *= 2;
	if (room == b->room)
		return true;
	at = b->at ? sys_remap(b->at, b->room, room) : sys_map(room);
	if (!at)
		return false;
	b->at = at;
	b->room = room;
	return true;
}

void body_add(struct body *b, const char *from, size_t len)
{
	if (b->is_cut || !len)
		return;
	if (!grow(b, len)) {
		b->is_cut = true;
		return;
	}
	memcpy(b->at + b->len, from, len);
	b->len += len;
}

/* A text whose pieces are moved to a body. */
struct moved_text {
	struct text text; /* first */
	struct body *to;
};

static void move(struct text *t)
{
	body_add(((struct moved_text *)(void *)t)->to, t->at, t->len);
	t->len = 0;
}

void body_write(struct body *b, void (*fill)(struct text *t))
{
	struct moved_text moved;

	moved.text.flush = move;
	moved.text.len = 0;
	moved.to = b;
	fill(&moved.text);
	move(&moved.text);
}

void body_drop(struct body *b)
{
	if (b->at)
		sys_release(b->at, b->room);
	*b = (struct body){0};
}
