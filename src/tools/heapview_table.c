// SPDX-License-Identifier: BSD-3-Clause

/* The hash table that statistics and steps use. */

#include <stdlib.h>

#include "heapview.h"

static struct entry *table_place(const struct table *t, uint64_t key)
{
	size_t i = (size_t)((key * 0x9e3779b97f4a7c15u) >> 20) & (t->room - 1);

	while (t->entries[i].key && t->entries[i].key != key)
		i = (i + 1) & (t->room - 1);
	return &t->entries[i];
}

static void table_double(struct table *t)
{
	struct table larger = {.room = t->room ? 2 * t->room : 1024, .count = t->count};

	larger.entries = grow(NULL, larger.room, sizeof(struct entry));
	for (size_t i = 0; i < larger.room; i++)
		larger.entries[i] = (struct entry){0};
	for (size_t i = 0; i < t->room; i++)
		if (t->entries[i].key)
			*table_place(&larger, t->entries[i].key) = t->entries[i];
	free(t->entries);
	*t = larger;
}

struct entry *table_get(struct table *t, uint64_t key)
{
	struct entry *e;

	if (2 * t->count >= t->room)
		table_double(t);
	e = table_place(t, key);
	if (!e->key) {
		e->key = key;
		t->count++;
	}
	return e;
}
