/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Objects with a mapping of their own: those above SPAN_MAX, and any that the page heap has no
 * room for; hardened, all above CELL_MAX. No header stands in the user's pages: mapping_table.h.
 *
 * Sizes are in bytes; alignments are powers of two. Any thread may call. A lock is taken inside,
 * with none below it, and not held over a system call. A pointer that is no payload is reported
 * with the name of the public call.
 */

#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "item_list.h"

/*
 * What a large object of size bytes may have more than that, after realloc: memory follows to 1.28
 * of what is live, and what has grown by an eighth, rounded up to the next class, stays.
 */
static inline size_t large_slack(size_t size)
{
	return size / 32 * 9;
}

/*
 * At least size bytes aligned to align, with room for as many, which is no less; with zero, and
 * when hardened, they read as zero. NULL with errno ENOMEM.
 */
void *mapping_alloc(size_t size, size_t room, size_t align, bool zero);

void mapping_free(const char *call, void *p);

/*
 * Whether p may stay as it is with size bytes: it has room for them, and unless it shrinks, or has
 * grown and never used the rest, not much more.
 */
bool mapping_keeps(const char *call, void *p, size_t size);

/*
 * What mapping_keeps last said yes to, in this thread: p may stay as it is with least bytes and up
 * to more than that, while no mapping has been freed or resized since.
 */
struct mapping_recent {
	const void *p;
	size_t least, more;
	size_t changes;
};

extern _Thread_local struct mapping_recent mapping_recent __attribute__((visibility("hidden")));
extern _Atomic(size_t) mapping_changes __attribute__((visibility("hidden")));

/* Whether it is known, without a look at the table, that mapping_keeps says yes. */
static inline bool mapping_stays(const void *p, size_t size)
{
	return p == mapping_recent.p && size - mapping_recent.least <= mapping_recent.more &&
	       mapping_recent.changes ==
		       atomic_load_explicit(&mapping_changes, memory_order_relaxed);
}

/*
 * p, with room for size bytes, wherever that is, moved without a copy; it may have more room. NULL:
 * it is as it was, and may be copied.
 */
void *mapping_resize(const char *call, void *p, size_t size);

/* The capacity of p: every byte of it may be written. Hardened, what was asked for. */
size_t mapping_usable_size(const char *call, void *p);

/* Whether p is in one, live or kept. */
bool mapping_has(const void *p);

extern _Atomic(size_t) mapping_kept_total;

/* Bytes of freed mappings that are kept for the next of their size. */
static inline size_t mapping_kept_bytes(void)
{
	return atomic_load_explicit(&mapping_kept_total, memory_order_relaxed);
}

/* Give back what has been kept for period_ms, or all; whether anything was. */
bool mapping_sweep(uint64_t period_ms);
bool mapping_trim(void);

/* There are guards, and what is freed is inaccessible: hardened.h. Set before the first one. */
extern bool mapping_is_hardened __attribute__((visibility("hidden")));

/* In a fork's child: mend what other threads have left half done. */
void mapping_fork_child(void);

struct mapping_stats {
	size_t allocs, frees, resizes;
	size_t map_calls, unmap_calls, remap_calls;
	size_t count, bytes, peak_bytes; /* live ones */
	size_t table_bytes; /* of the table itself */
};

void mapping_get_stats(struct mapping_stats *stats);

/* Copy the live ones, but for spans. */
void mapping_list(struct item_list *list);

/*
 * Check the table and what is kept: NULL, or the text of what does not hold.
 *	L3 kept_total is right; if anything is kept, live and kept ones together are no more than
 *	   were ever live, or an eighth more when hardened, but for those that the kernel would not
 *	   take
 */
const char *mapping_check(void);
