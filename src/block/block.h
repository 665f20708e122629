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

/*
 * Before the first block exists: from now on the list serves malloc as well, and every size is a
 * multiple of malloc's alignment. False if there are blocks already.
 */
bool block_serve_malloc(void);

/*
 * malloc and its relatives by the placement rules. Sizes are in bytes; size 0 counts as 1. align is
 * a power of two above 16. call is the public function that a misuse report names. Allocations
 * return NULL with errno ENOMEM when memory is exhausted. p and the new size of block_realloc are
 * not 0; if p was reported it returns NULL with errno EINVAL. block_free preserves errno.
 */
void *block_malloc(size_t size);
void *block_calloc(size_t size);
void *block_memalign(size_t size, size_t align);
void *block_realloc(const char *call, void *p, size_t size);
void block_free(const char *call, void *p);

/* A block is at most that much larger than its size, rounded up: rule 12. */
#define BLOCK_EXCESS_MAX 32

/* The bytes that the caller may use, or 0 if p, not NULL, was reported. */
size_t block_capacity(const char *call, void *p);

/* In a forked child, before it uses the list, if that serves malloc. */
void block_fork_child(void);

/* Check every invariant in O(n). Returns NULL or a description of the first violation. */
const char *block_check(void);
