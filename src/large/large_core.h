/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Core header of the large wing: mappings, which are objects with their own mmap. These are objects
 * above SPAN_MAX, any that the page heap has no memory for, and in hardened mode all above
 * CELL_MAX. Metadata is apart from the user's pages (mapping_table.h). Functions take one lock,
 * below which no other is taken, and hold it over no system call.
 */

#pragma once

#include "fork.h"
#include "helpers.h"
#include "large.h"
#include "lock.h"
#include "mapping_table.h"
#include "slab/slab.h"
#include "tunables.h"

/*
 * Bytes beyond size that realloc may leave in an object: an object that grew by an eighth, rounded
 * up to its class, stays. Memory is at most 1.28 times what is live.
 */
static inline size_t large_slack(size_t size)
{
	return size / 32 * 9;
}

struct mapping_stats {
	size_t allocs, frees;
	size_t map_calls, unmap_calls, remap_calls;
	size_t count, bytes, peak_bytes; /* of live mappings */
	size_t table_bytes; /* of the table */
};

/* A freed mapping in the page cache. */
struct cached {
	struct mapping m; /* unchanged, for reports of double frees; hardened, only its body */
	bool is_refused; /* the kernel refused to unmap it; not reused, not bounded by L3 */
	_Atomic(uint64_t) freed_ms;
	uint64_t turn; /* order of freeing */
};

/* The state of all mappings. */
struct mappings {
	struct lock lock; /* guards all fields */
	struct mapping_table table;
	struct mapping_stats stats;
	size_t guarded;
	uint64_t turn;
	unsigned int cached_count;
	struct cached cached[CACHED_COUNT];
	struct mapping graves[GRAVES]; /* hardened: inaccessible places of freed objects, a ring */
};

/* Guard pages are on, and freed objects are inaccessible. Set before the first allocation. */
extern bool mapping_is_hardened __attribute__((visibility("hidden")));

extern struct mappings mapping_all __attribute__((visibility("hidden")));

static inline void mapping_lock(void)
{
	fork_check();
	lock_acquire(&mapping_all.lock);
}

static inline void mapping_unlock(void)
{
	lock_release(&mapping_all.lock);
}

static inline bool mapping_is_guarded(const struct mapping *m)
{
	return m->behind;
}

/* The place of m: its body and the inaccessible memory around it. */
static inline char *mapping_place(const struct mapping *m)
{
	return m->place ? m->place : m->start;
}

static inline size_t mapping_place_bytes(const struct mapping *m)
{
	return (size_t)(m->start + m->bytes - mapping_place(m)) + m->behind * sys_page_size();
}

static inline char *mapping_payload(const struct mapping *m)
{
	return (char *)m->payload;
}

/* mapping.c. */

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
 * Resize p to size bytes or more, moving it without a copy if necessary. NULL: p is unchanged, or
 * was reported.
 */
void *mapping_resize(const char *call, void *p, size_t size);

/* The capacity of p, all of it writable. Hardened: the size requested. LARGE_BAD: reported. */
size_t mapping_usable_size(const char *call, void *p);

/* Whether p is inside a live or cached mapping. */
bool mapping_has(const void *p);

void mapping_get_stats(struct mapping_stats *stats);

/* mapping_cache.c. */

/* Whether a mapping of has bytes serves bytes without a remap. */
bool cache_is_fit(size_t has, size_t bytes);

/* Take a cached mapping of about bytes; grows admits larger ones. False if there is none. */
bool cache_take(struct mapping *m, size_t bytes, bool grows);

/* Whether a cached mapping has at least bytes. */
bool cache_has(size_t bytes);

/* Insert live m, for which an entry is reserved; evict cached mappings for L3. Takes the lock. */
void mapping_insert(const struct mapping *m);

/* Cache m, evicting older mappings if necessary, or release it. Takes the lock. */
void cache_put(const struct mapping *m);

/* Return the pages of m to the kernel or the page heap. May take the lock. */
void mapping_release(const struct mapping *m);

/* Return mappings cached for period_ms. Returns whether there were any. */
bool cache_sweep(uint64_t period_ms);

/* In a forked child: recount the cache. */
void cache_repair(void);

/* Check L3. The caller holds the lock. */
const char *cache_check(void);

/* mapping_guard.c. */

/*
 * Hardened: make m for size bytes in zeroed room. False with errno ENOMEM. *is_mapped: made by a
 * system call.
 */
bool guard_make(struct mapping *m, size_t size, size_t room, size_t align, bool *is_mapped);

/* Free m, which is out of the table. Reports overwritten memory around its payload. */
void guard_free(const char *call, const struct mapping *m);

/*
 * Resize m, which is out of the table; it may move. False: it is unchanged. Reports overwritten
 * memory around its payload.
 */
bool guard_resize(const char *call, struct mapping *m, size_t size);

/* Return all graves to the kernel. Returns whether there were any. */
bool guard_trim(void);
