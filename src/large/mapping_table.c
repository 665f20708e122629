// SPDX-License-Identifier: BSD-3-Clause

#include "mapping_table.h"

#include <string.h>

#include "hash.h"
#include "helpers.h"

#define FIRST_ROOM (8 * KIB) /* bytes of the first table */

static size_t room_bytes(size_t count)
{
	return sizeof(struct mapping_room) + count * sizeof(struct mapping);
}

void mapping_copy(struct mapping *to, const struct mapping *from)
{
	atomic_store_explicit(&to->payload, 0, memory_order_relaxed);
	atomic_thread_fence(memory_order_release);
	memcpy(&to->size, &from->size, sizeof(*to) - offsetof(struct mapping, size));
	atomic_store_explicit(&to->payload, from->payload, memory_order_release);
}

static size_t home_of(const struct mapping_room *room, uintptr_t payload)
{
	return hash_fast(payload >> 4) >> 20 & (room->count - 1);
}

/* The entry of payload, or the free slot for it. */
static struct mapping *place_of(struct mapping_room *room, uintptr_t payload)
{
	size_t i = home_of(room, payload);

	while (room->entries[i].payload && room->entries[i].payload != payload)
		i = (i + 1) & (room->count - 1);
	return &room->entries[i];
}

static size_t count_for(size_t bytes)
{
	size_t count = 1;

	while (room_bytes(2 * count) <= bytes)
		count *= 2;
	return count;
}

/* Move all entries to a larger table; false with errno ENOMEM. */
static bool grow(struct mapping_table *t)
{
	struct mapping_room *old = t->room, *room;
	size_t count = old ? 2 * old->count : count_for(FIRST_ROOM);

	room = sys_map(room_bytes(count));
	if (!room)
		return false;
	room->count = count;
	for (size_t i = 0; old && i < old->count; i++)
		if (old->entries[i].payload)
			mapping_copy(place_of(room, old->entries[i].payload), &old->entries[i]);
	atomic_store_explicit(&t->room, room, memory_order_release);
	if (old)
		sys_release(old, room_bytes(old->count));
	return true;
}

bool mapping_table_reserve(struct mapping_table *t)
{
	struct mapping_room *room = t->room;

	if ((!room || 2 * (t->used + 1) > room->count) && !grow(t))
		return false;
	t->used++;
	return true;
}

void mapping_table_insert(struct mapping_table *t, const struct mapping *m)
{
	mapping_copy(place_of(t->room, m->payload), m);
	t->count++;
	t->bytes += m->bytes;
	t->spare += m->spare;
}

struct mapping *mapping_table_find(const struct mapping_table *t, const void *p)
{
	struct mapping *m;

	if (!t->room || !p)
		return NULL;
	m = place_of(t->room, (uintptr_t)p);
	return m->payload ? m : NULL;
}

void mapping_table_remove(struct mapping_table *t, struct mapping *m)
{
	struct mapping_room *room = t->room;
	size_t hole = (size_t)(m - room->entries), mask = room->count - 1;

	t->count--;
	t->bytes -= m->bytes;
	t->spare -= m->spare;
	for (size_t i = (hole + 1) & mask; room->entries[i].payload; i = (i + 1) & mask) {
		size_t home = home_of(room, room->entries[i].payload);

		if (((i - home) & mask) < ((i - hole) & mask))
			continue;
		mapping_copy(&room->entries[hole], &room->entries[i]);
		hole = i;
	}
	atomic_store_explicit(&room->entries[hole].payload, 0, memory_order_release);
}

struct mapping *mapping_table_next(const struct mapping_table *t, size_t *i)
{
	struct mapping_room *room = t->room;

	while (room && *i < room->count)
		if (room->entries[(*i)++].payload)
			return &room->entries[*i - 1];
	return NULL;
}

/* Reinsert every entry; false if one moved, so that another pass is needed. */
static bool reinsert(struct mapping_room *room)
{
	bool is_done = true;

	for (size_t i = 0; i < room->count; i++) {
		struct mapping m = {0}, *place;

		if (!room->entries[i].payload)
			continue;
		mapping_copy(&m, &room->entries[i]);
		room->entries[i].payload = 0;
		place = place_of(room, m.payload);
		mapping_copy(place, &m);
		is_done &= place == &room->entries[i];
	}
	return is_done;
}

/* Terminates: each move shortens a probe distance or removes a duplicate. */
void mapping_table_repair(struct mapping_table *t)
{
	struct mapping *m;
	size_t i = 0;

	if (!t->room)
		return;
	while (!reinsert(t->room))
		;
	t->count = t->bytes = t->spare = 0;
	while ((m = mapping_table_next(t, &i))) {
		t->count++;
		t->bytes += m->bytes;
		t->spare += m->spare;
	}
	t->used = t->count;
}

size_t mapping_table_bytes(const struct mapping_table *t)
{
	return t->room ? room_bytes(t->room->count) : 0;
}

const char *mapping_table_check(const struct mapping_table *t)
{
	size_t count = 0, bytes = 0, spare = 0, i = 0;
	struct mapping *m;

	while ((m = mapping_table_next(t, &i))) {
		if (mapping_table_find(t, (const void *)m->payload) != m)
			return "L1: an entry of a mapping is not where it is looked for";
		count++;
		bytes += m->bytes;
		spare += m->spare;
	}
	if (count != t->count || bytes != t->bytes || spare != t->spare || count > t->used)
		return "L2: the figures of mappings are wrong";
	return NULL;
}
