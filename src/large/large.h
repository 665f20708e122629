/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Public header of the large wing: objects above CELL_MAX, and those with a larger alignment than
 * cells have. They are spans up to SPAN_MAX (slab.h) and mappings above.
 *
 * Sizes are in bytes; alignments are powers of two. Any thread may call. A bad pointer is reported
 * with call, the name of the public function: sys_misuse.
 */

#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "helpers.h"
#include "item_list.h"
#include "osmem_inspect.h"

/*
 * Allocate size bytes (0 counts as 1) aligned to align. zero: the first size bytes are zero. NULL
 * with errno ENOMEM.
 */
void *large_alloc(size_t size, size_t align, bool zero);

/* Free p, neither NULL nor a cell, or report it. errno is preserved. */
void large_free(const char *call, void *p);

/* Whether p, not a cell, certainly stays unchanged for size bytes. Fast and may miss. */
bool large_stays(const void *p, size_t size);

/*
 * Resize p, neither NULL nor a cell, to size bytes (not 0) in place, or move it without a copy.
 * Returns the new address. NULL: p is unchanged, and the caller has to copy, or p was reported.
 */
void *large_resize(const char *call, void *p, size_t size);

/* large_alloc for the copy of an object that has grown to size: adds room for more growth. */
void *large_alloc_growing(size_t size);

/* Of a pointer that was reported, while misuse is tolerated. */
#define LARGE_BAD SIZE_MAX

/* The capacity of p, not a cell. All these bytes may be written. LARGE_BAD: p was reported. */
size_t large_usable_size(const char *call, void *p);

/* A counter that grows whenever memory may have become free. */
size_t large_frees(void);

/* Whether p is inside a live or free large object; for reports. The caller holds no lock. */
bool large_has(const void *p);

extern _Atomic(size_t) mapping_cached_total __attribute__((visibility("hidden")));

/* Bytes of cached mappings, which a sweep could return. Takes no lock. */
static inline size_t large_dirty_bytes(void)
{
	return atomic_load_explicit(&mapping_cached_total, memory_order_relaxed);
}

/* Return what has been free for a period, or everything. Returns whether there was any. */
bool large_sweep(void);
bool large_trim(void);

/* Objects of at least size bytes are mappings; 0: all large objects. */
void large_set_threshold(size_t size);

/* Enable hardened mode, with guard pages. Call before the first allocation. */
void large_harden(void);

/* Statistics of spans and mappings together, for osmem_inspect.h. */
void large_get_stats(struct osmem_heap_stats *stats);

/* Append the live mappings to list. */
void large_list(struct item_list *list);

/*
 * Call visit for the memory of each mapping, live or cached, and for all that has addresses of
 * mappings, also of former ones. The lock of mappings is held meanwhile.
 */
void large_each_range(void (*visit)(const void *start, size_t size, void *arg), void *arg);

/* Call visit for the lock of mappings. */
struct lock;
void large_each_lock(void (*visit)(struct lock *l, void *arg), void *arg);

/* Repair the state in a forked child. */
void large_fork_child(void);

/*
 * Verify L1, L2 and L3. Returns NULL, or a text on the first violation.
 *	L3 mapping_cached_total is the bytes of the page cache; if it holds any, live and cached
 *	   bytes are at most the peak of live bytes, or an eighth more when hardened, not counting
 *	   mappings that the kernel refused to unmap
 */
const char *large_check(void);
