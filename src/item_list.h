/* SPDX-License-Identifier: BSD-3-Clause */

/* The list that osmem_walk visits, as block_walk.c, slab_walk.c and mapping.c write it. */

#pragma once

#include <stddef.h>

#include "osmem_inspect.h"

/* Items that do not fit are only counted. */
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
