/* SPDX-License-Identifier: BSD-3-Clause */

/* A copy of the heaps: block_walk.c, mapping.c and slab_walk.c append to it. */

#pragma once

#include <stddef.h>

#include "osmem_inspect.h"

/* Items that do not fit are counted only. */
struct item_list {
	struct osmem_item *items;
	size_t room, count;
};

static inline void item_list_add(struct item_list *list, const struct osmem_item *item)
{
	if (list->count < list->room)
		list->items[list->count] = *item;
	list->count++;
}
