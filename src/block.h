/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * What the layers above may ask of the course allocator (osmem.c). It shares nothing with malloc
 * but the helpers: its heap grows through brk and follows the placement rules to the address,
 * whatever else the program allocates. Sizes are in bytes. Every function may be called from any
 * thread.
 */

#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "item_list.h"

/* The figures of the heap at one moment. */
void block_get_stats(struct osmem_heap_stats *stats);

/* Copy the regions and blocks, at one moment; the heap is locked meanwhile. */
void block_list(struct item_list *list);

/* Set by the layers above: whether p is a live block of malloc, for the report of a bad pointer. */
extern bool (*block_is_others)(const void *p);

/* Whether p is a live block of os_malloc; for the report of a bad pointer, with no lock held. */
bool block_is_ours(void *p);

/*
 * Check every invariant. Returns NULL, or the text of the first invariant that does not hold. O(n);
 * it takes the lock and changes nothing.
 */
const char *block_check(void);
