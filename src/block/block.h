/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * What the rest of the library may call of the course allocator (osmem.c): figures, lists and
 * checks. Any thread may call these functions.
 */

#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "item_list.h"

/* The figures of the heap at one moment. */
void block_get_stats(struct osmem_heap_stats *stats);

/* Append the regions and blocks of one moment. */
void block_list(struct item_list *list);

/* Whether p is a live block of malloc; the layers above set this for reports of bad pointers. */
extern bool (*block_is_others)(const void *p);

/* Whether p is a live block of os_malloc, for reports of bad pointers. The caller has no lock. */
bool block_is_ours(void *p);

/* Check every invariant in O(n). Returns NULL, or a text about the first that does not hold. */
const char *block_check(void);
