/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Public header of mappings: objects with their own mmap. These are objects above SPAN_MAX, any
 * that the page heap has no memory for, and in hardened mode all above CELL_MAX. Metadata is apart
 * from the user's pages (mapping_table.h).
 *
 * Sizes are in bytes; alignments are powers of two. Any thread may call. Functions take one lock,
 * below which no other is taken, and hold it over no system call. A bad pointer is reported with
 * call, the name of the public function.
 */

#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "item_list.h"

/*
 * Bytes beyond size that realloc may leave in an object: an object that grew by an eighth, rounded
 * up to its class, stays. Memory is at most 1.28 times what is live.
 */
static inline size_t large_slack(size_t size)
{
	return size / 32 * 9;
}

/*
 * Allocate size bytes aligned to align, with room bytes (at least size) to grow into. The memory is
 * zero if zero is set or in hardened mode. NULL with errno ENOMEM.
 */
void *mapping_alloc(size_t size, size_t room, size_t align, bool zero);

/* The functions that follow report a p that is no live mapping. This one then does nothing. */
void mapping_free(const char *call, void *p);

/*
 * Whether p may stay unchanged for size bytes: it has room for them and, if it shrinks, not much
 * more. False for a p that was reported.
 */
bool mapping_keeps(const char *call, void *p, size_t size);

/*
 * The last positive answer of mapping_keeps in this thread: p may stay for least to least + more
 * bytes until any mapping is freed or resized.
 */
struct mapping_recent {
	const void *p;
	size_t least, more;
	size_t changes;
};

extern _Thread_local struct mapping_recent mapping_recent __attribute__((visibility("hidden")));
extern _Atomic(size_t) mapping_changes __attribute__((visibility("hidden")));

/* Whether mapping_recent answers mapping_keeps with yes. Takes no lock. */
static inline bool mapping_stays(const void *p, size_t size)
{
	return p == mapping_recent.p && size - mapping_recent.least <= mapping_recent.more &&
	       mapping_recent.changes ==
		       atomic_load_explicit(&mapping_changes, memory_order_relaxed);
}

/*
 * Resize p to size bytes or more, moving it without a copy if necessary. NULL: p is unchanged, or
 * was reported.
 */
void *mapping_resize(const char *call, void *p, size_t size);

/* The capacity of p, all of it writable. Hardened: the size requested. SIZE_MAX: reported. */
size_t mapping_usable_size(const char *call, void *p);

/* Whether p is inside a live or cached mapping. */
bool mapping_has(const void *p);

extern _Atomic(size_t) mapping_cached_total;

/* Bytes of freed mappings in the page cache. */
static inline size_t mapping_cached_bytes(void)
{
	return atomic_load_explicit(&mapping_cached_total, memory_order_relaxed);
}

/* Return mappings cached for period_ms, or all. Returns whether there were any. */
bool mapping_sweep(uint64_t period_ms);
bool mapping_trim(void);

/* Guard pages are on, and freed objects are inaccessible. Set before the first allocation. */
extern bool mapping_is_hardened __attribute__((visibility("hidden")));

/* Repair the state in a forked child. */
void mapping_fork_child(void);

struct mapping_stats {
	size_t allocs, frees, resizes;
	size_t map_calls, unmap_calls, remap_calls;
	size_t count, bytes, peak_bytes; /* of live mappings */
	size_t table_bytes; /* of the table */
};

void mapping_get_stats(struct mapping_stats *stats);

/* Append the live mappings to list. */
void mapping_list(struct item_list *list);

/*
 * Verify L1, L2 and L3. Returns NULL, or a text on the first violation.
 *	L3 mapping_cached_total is the bytes of the page cache; if it holds any, live and cached
 *	   bytes are at most the peak of live bytes, or an eighth more when hardened, not counting
 *	   mappings that the kernel refused to unmap
 */
const char *mapping_check(void);
