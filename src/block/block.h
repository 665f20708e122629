/* SPDX-License-Identifier: BSD-3-Clause */

/* Public header of the course allocator (osmem.c). Any thread may call these functions. */

#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "item_list.h"

/* A consistent copy of the statistics. */
void block_get_stats(struct osmem_heap_stats *stats);

/* Append a consistent copy of all regions and blocks. */
void block_list(struct item_list *list);

/* Call visit for the lock of the heap. */
struct lock;
void block_each_lock(void (*visit)(struct lock *l, void *arg), void *arg);

/* Whether p is in a block of malloc, live or free. Set by the cache wing, for reports. */
extern bool (*block_is_others)(const void *p);

/* Whether p is a block of os_malloc, for reports of bad pointers. The caller holds no lock. */
bool block_is_ours(void *p);

/* Check every invariant in O(n). Returns NULL or a description of the first violation. */
const char *block_check(void);
