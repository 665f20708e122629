/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Public header of the slab wing: the store of small cells, and spans, which are runs of whole
 * pages. Slabs of equal cells, and spans, lie in segments of 4 MiB. The store has no thread and
 * caches nothing; the wing above takes and gives cells in batches.
 *
 * Sizes are in bytes. Cells are aligned to CELL_ALIGN. Any thread may call, unless a comment says
 * otherwise. Each class has a lock, and callers of functions that end in _locked hold it
 * (slab_enter). Lock order: depots (magazine.h), classes, the store. No other lock is taken below
 * these. Misuse ends the process with a report.
 */

#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arch.h"
#include "helpers.h"
#include "item_list.h"
#include "sizeclass.h"

/* Classes of the library's own objects, named by size. free() rejects their cells. */
enum {
	CLASS_OWN_512 = CLASS_COUNT,
	CLASS_OWN_4096,
	CLASS_OWN_2048,
	CLASS_END,
};

#define SLAB_SHARDS 8

#define PAGE_SHIFT 12
#define PAGE_BYTES ((size_t)1 << PAGE_SHIFT) /* where the system's pages are larger: multiples */

#define SLAB_SHIFT 16
#define SLAB_SIZE ((size_t)1 << SLAB_SHIFT)
#define SLAB_CELL_MAX ((size_t)8192) /* larger cells are in slabs of four slots */
#define SEGMENT_SHIFT 22
#define SEGMENT_SIZE ((size_t)1 << SEGMENT_SHIFT)
#define WINDOW_SHIFT 37
#define WINDOW_SIZE ((size_t)1 << WINDOW_SHIFT)

/* Hidden variables are accessed without the global offset table. */
#define SLAB_HIDDEN __attribute__((visibility("hidden")))

#define RECIPROCAL_SHIFT 40

/* Constants of a class; slab_init fills them in, but for magazine. */
struct class_info {
	uint32_t size; /* of a cell */
	uint32_t magic; /* 2^32 / size, rounded up: slab_is_multiple */
	uint64_t reciprocal; /* 2^40 / size, rounded up: n / size is a product if n < 2^18 */
	uint16_t capacity; /* cells in a slab */
	uint16_t slots; /* slots of 64 KiB in a slab */
	uint16_t magazine; /* cells in a magazine; the cache wing sets it */
};

extern struct class_info slab_classes[CLASS_END] SLAB_HIDDEN;

/* Number of threads in each shard; the cache wing maintains it. */
extern _Atomic(unsigned int) slab_shard_users[SLAB_SHARDS];

/*
 * Segments lie in windows of the address space (window.h). Each window has a page map from a slot
 * to the bin of its cells in a thread cache: one load classifies a pointer. An entry is
 * SLAB_BIN_SIZE * class, or 0 if the slot has no open slab of user cells. Entries of classes above
 * SLAB_CELL_MAX, which have no fast path, are CLASS_WIDE_COUNT * SLAB_BIN_SIZE higher. Only pages
 * of the map for existing segments use memory.
 */
struct page_map {
	uintptr_t start; /* address of the first slot */
	size_t slots;
	uint16_t bins[];
};
#define SLAB_BIN_SIZE 16
#define CLASS_WIDE_COUNT 16 /* classes above SLAB_CELL_MAX */
#define SLAB_BIN_SPAN ((CLASS_COUNT + CLASS_WIDE_COUNT) * SLAB_BIN_SIZE) /* spans only */
#define SLAB_BIN_COUNT (CLASS_COUNT + CLASS_WIDE_COUNT + 1)

/* The page map of the first window; never NULL. It is replaced when the window grows. */
extern _Atomic(struct page_map *) slab_page_map SLAB_HIDDEN;

/* The start of the first window at its full size. */
extern uintptr_t slab_window SLAB_HIDDEN;

/*
 * Page maps of the other windows by place, or NULL. The first window has the place in the middle.
 */
#define WINDOWS ((size_t)1 << (49 - WINDOW_SHIFT))
extern _Atomic(struct page_map *) slab_far_page_maps[WINDOWS] SLAB_HIDDEN;

_Static_assert(2 * SYS_MAP_MAX <= WINDOWS * WINDOW_SIZE, "every address has a place of its own");

/* At least WINDOWS if p is not a user-space address. */
static inline size_t window_place(const void *p)
{
	return ((uintptr_t)p - slab_window + WINDOWS / 2 * WINDOW_SIZE) >> WINDOW_SHIFT;
}

/* Relaxed: processors order loads through the pointer behind that of the pointer. */
static inline __attribute__((always_inline)) struct page_map *slab_first_page_map(void)
{
	return atomic_load_explicit(&slab_page_map, memory_order_relaxed);
}

/* The slot of p in map; at least map->slots if it is none of them. */
static inline __attribute__((always_inline)) size_t slab_slot_in(const struct page_map *map,
								 const void *p)
{
	return ((uintptr_t)p - map->start) >> SLAB_SHIFT;
}

/* The page map of p's window, or NULL. NULL for the first window, too. */
static inline __attribute__((always_inline)) struct page_map *slab_far_page_map(const void *p)
{
	size_t place = window_place(p);

	return place < WINDOWS
		       ? atomic_load_explicit(&slab_far_page_maps[place], memory_order_acquire)
		       : NULL;
}

/* The page map entry for p, any address. */
static inline __attribute__((always_inline)) uint16_t slab_bin(const void *p)
{
	const struct page_map *map = slab_first_page_map();
	size_t slot = slab_slot_in(map, p);

	if (__builtin_expect(slot < map->slots, 1))
		return map->bins[slot];
	map = slab_far_page_map(p);
	return map ? map->bins[slab_slot_in(map, p)] : 0;
}

/*
 * Whether the low 16 bits of p are a multiple of a cell size of at most SLAB_CELL_MAX. Let these
 * bits be n = q * size + r, and size * magic = 2^32 + e. Then n * magic = q * e + r * magic modulo
 * 2^32. q * e < 2^16, because e < size. r * magic is 0 or at least magic, which exceeds 2^18.
 */
static inline bool slab_is_multiple(const void *p, uint32_t magic)
{
	return (uint32_t)(uint16_t)(uintptr_t)p * magic < 1 << 16;
}

/* slab_class_of, given the page map entry for p. */
static inline unsigned int slab_class_in(const void *p, uint16_t bin)
{
	unsigned int class = bin / SLAB_BIN_SIZE;
	uint64_t offset, i;

	if (class < CLASS_COUNT)
		return slab_is_multiple(p, slab_classes[class].magic) ? class : 0;
	class -= CLASS_WIDE_COUNT;
	if (class == CLASS_COUNT) /* a span */
		return 0;
	offset = (uintptr_t)p % (4 * SLAB_SIZE);
	i = offset * slab_classes[class].reciprocal >> RECIPROCAL_SHIFT;
	return i * slab_classes[class].size == offset ? class : 0;
}

/*
 * The class of p if its address is the start of a cell, else 0. The cell may be free or not carved
 * yet.
 */
static inline unsigned int slab_class_of(const void *p)
{
	return slab_class_in(p, slab_bin(p));
}

/* The mark: the first word of a freed cell (tcache.h). */
#define CELL_FREED ((uint64_t)(int64_t)-0x5ca1ab1f)

static inline uint64_t *cell_word(void *cell)
{
	return cell;
}

/* Compute slab_classes. Callers do so before anything else. Idempotent. */
void slab_init(void);

/*
 * Enable hardened mode: segments get guard pages, and the library's own objects get segments of
 * their own. Call before the first cell is taken.
 */
void slab_harden(void);

/* Advise the kernel about huge pages in the segments that there are: sys_set_huge_pages. */
void slab_advise_pages(void);

/* Lock and unlock a class. No operation while the process has had one thread only. */
void slab_enter(unsigned int class);
void slab_leave(unsigned int class);

/* The argument of slab_enter and slab_leave for a shard of depots. */
#define SHARD_LOCK(shard) (CLASS_END + (shard))

/*
 * Take up to n cells of class into cells. Returns their number; 0 with errno ENOMEM. If *fresh
 * (fresh may be NULL), all of them are zero but for CELL_FREED. Calls with the same shard get cells
 * of the same slabs as long as possible, so that threads of different shards seldom share a cache
 * line.
 */
unsigned int slab_take_locked(unsigned int class, unsigned int shard, void **cells, unsigned int n,
			      bool *fresh);

/*
 * Like slab_take_locked, but only from the shard's own slabs: it adopts and creates none. Returns 0
 * and preserves errno if they have no cell.
 */
unsigned int slab_take_own_locked(unsigned int class, unsigned int shard, void **cells,
				  unsigned int n, bool *fresh);

/* The shard of the slab of cell, which is outside of the store. Takes no lock. */
unsigned int slab_shard_of(const void *cell);

/* Return n cells of class. An invalid or free cell is reported as a misuse of free(). */
void slab_give_locked(unsigned int class, void *const *cells, unsigned int n);

/* Take or return one cell. They take the lock of class. NULL with errno ENOMEM. */
void *slab_take(unsigned int class, unsigned int shard, bool *fresh);
void slab_give(unsigned int class, void *cell);

/* State of a pointer in the store. */
enum cell_state {
	CELL_NONE, /* not in a carved user cell */
	CELL_LIVE, /* start of a cell outside of the store */
	CELL_FREE, /* inside a cell in the store */
	CELL_INSIDE, /* inside a cell outside of the store, but not its start */
};

struct cell_ref {
	enum cell_state state;
	unsigned int class;
	char *start; /* of the cell */
};

/* Classify p. Takes no lock; the result holds while p, if it is a cell, stays outside. */
struct cell_ref slab_find(const void *p);

/* Whether this process is a forked child whose slabs were closed at the fork. */
bool slab_is_child(void);

/*
 * In such a child: if the slab of live cell is closed, return the cell to the store without writing
 * to it. Returns false if the slab is open; then the caller marks the cell. The caller holds no
 * class lock.
 */
bool slab_give_unwritten(unsigned int class, void *cell);

/*
 * The word before p, a multiple of SLAB_SIZE in a segment. 0 unless the word is in a slab or a free
 * page: elsewhere it may be in a guard or a span.
 */
uint64_t slab_word_before(const void *p);

/* Minimum time that free pages and cached mappings stay; 0: until the next sweep. */
extern _Atomic(uint64_t) slab_sweep_period_ms SLAB_HIDDEN;

/*
 * If a sweep is due, begin it and return true; an early one, for a growing process, is due after a
 * fraction of the period. The caller then returns the cells that caches have
 * held for a period, and calls slab_end_sweep, which purges those pages and all that have been free
 * for a period. errno is preserved.
 */
bool slab_begin_sweep(bool is_early);
void slab_end_sweep(void);

/* Bytes of slabs made of fresh memory since the last sweep. */
size_t slab_grown_bytes(void);

/* Purge all free memory now, whole pages between live cells too. Returns whether there was any. */
bool slab_trim(void);

/* Like slab_trim, without the pages between cells. */
bool slab_trim_segments(void);

/*
 * Bytes of pages between cells that a trim would purge. *out: bytes of cells outside of the store.
 */
size_t slab_free_page_bytes(size_t *out);

/* A counter that grows whenever a slab or a span becomes free. */
size_t slab_frees(void);

/*
 * Dirty bytes: free pages, and half of the sparse slabs. Pages that the kernel refused to purge do
 * not count.
 */
size_t slab_dirty_bytes(void);

/*
 * Repair the store in a forked child: complete or drop what other threads were changing, and
 * release all locks.
 */
void slab_fork_child(void);

/* Whether a thread held the lock of shard at the fork. The lock is free now. */
bool slab_fork_was_locked(unsigned int shard);

/*
 * Fill in the store's statistics. Cells in caches count as live, and cells that are not carved as
 * free. The library's own bytes are slabs of its own objects, and the touched part of the headers
 * of segments.
 */
void slab_get_stats(struct osmem_cell_stats *stats);

/* Statistics of one class, read under its lock. */
struct slab_class_stats {
	size_t cell; /* bytes of one */
	size_t slabs;
	size_t cells; /* capacity of the slabs */
	size_t out; /* cells outside of the store */
};

void slab_get_class(unsigned int class, struct slab_class_stats *stats);

/* Append segments, slabs and spans to list, in one snapshot under all locks of the store. */
void slab_list(struct item_list *list);

/* Call visit for the variables that have addresses beside segments, of anybody's memory. */
void slab_each_range(void (*visit)(const void *start, size_t size, void *arg), void *arg);

/* Call visit for each lock: those of depots, of classes, of the store. */
struct lock;
void slab_each_lock(void (*visit)(struct lock *l, void *arg), void *arg);

/* Verify all invariants of slab_core.h. Returns NULL, or a text on the first violation. */
const char *slab_check(void);

/*
 * Spans serve objects above CELL_MAX. They have no header. A segment has a word for each page; that
 * of a span's first page has the span's length.
 *
 *	word   15     14      13 … 11   10 … 0
 *	       cached whole   0         pages
 *
 * A whole span has exactly the pages of its size class. A cached span is free: in a thread's page
 * cache (span_cache.h), or hardened in a grave (mapping_guard.c). So a double free is detected. The
 * page map has SLAB_BIN_SPAN for every slot that spans overlap but no slab has: free() classifies
 * spans with the load that it makes anyway. Functions take the store's lock.
 */

#define SPAN_MAX ((size_t)2 << 20) /* larger objects have their own mappings */
#define SPAN_ALIGN_MAX ((size_t)1 << 20) /* likewise */

/* Size classes continue those of cells: eight in a doubling. */
#define SPAN_CLASSES 48

/* The class of spans for size bytes, CELL_MAX < size <= SPAN_MAX. */
static inline unsigned int span_class_of(size_t size)
{
	return class_of_size(size) - CLASS_COUNT;
}

static inline size_t span_class_size(unsigned int class)
{
	return class_size(class + CLASS_COUNT);
}

#define SPAN_CACHED ((uint16_t)0x8000)
#define SPAN_WHOLE ((uint16_t)0x4000)
#define SPAN_PAGES ((uint16_t)0x7ff)

/* Whether the slot of p has spans. One load. */
static inline __attribute__((always_inline)) bool span_is_near(const void *p)
{
	return slab_bin(p) == SLAB_BIN_SPAN;
}

/* The pages of a span for size bytes, 1 <= size <= SPAN_MAX. */
static inline size_t span_pages_for(size_t size)
{
	if (size > CELL_MAX)
		size = span_class_size(span_class_of(size));
	return (size + PAGE_BYTES - 1) >> PAGE_SHIFT;
}

/*
 * Allocate a span of at least size bytes, 1 to SPAN_MAX, aligned to align, a power of two up to
 * SPAN_ALIGN_MAX. *fresh: it reads as zero. NULL if memory for a segment is refused.
 */
void *span_alloc(size_t size, size_t align, bool *fresh);

/* Free the live or cached span at p. A damaged header is reported. */
void span_free(void *p);

/*
 * Resize the live span at p to size bytes in place. Shrinking frees the last pages. Returns false
 * if the next pages are not free.
 */
bool span_resize(void *p, size_t size);

/* Classify p. Takes no lock; the result holds while p is not freed. */
enum span_state {
	SPAN_NONE, /* in no span */
	SPAN_LIVE, /* start of a span */
	SPAN_FREE, /* inside a cached span */
	SPAN_INSIDE, /* inside a live span, but not its start */
};

struct span_ref {
	enum span_state state;
	char *start;
	size_t size;
};

struct span_ref span_find(const void *p);

/* Whether p is in dirty free pages; for reports. */
bool span_is_freed(const void *p);

#define SPAN_WORDS 9216 /* offset of the words in a segment */

/* The word of the span that starts at p. */
static inline _Atomic(uint16_t) *span_word(const void *p)
{
	uintptr_t segment = (uintptr_t)p & ~(SEGMENT_SIZE - 1);

	return (_Atomic(uint16_t) *)(segment + SPAN_WORDS) +
	       ((uintptr_t)p % SEGMENT_SIZE >> PAGE_SHIFT);
}

static inline size_t span_size(const void *p)
{
	return (atomic_load_explicit(span_word(p), memory_order_relaxed) & SPAN_PAGES) * PAGE_BYTES;
}

/* Mark the live span at p as cached. Returns its word before, or 0 if it is not live any more. */
static inline size_t span_claim(void *p)
{
	uint16_t word = *span_word(p);

	if (!word || word & SPAN_CACHED ||
	    !arch_exchange(span_word(p), &word, (uint16_t)(word | SPAN_CACHED)))
		return 0;
	return word;
}

/* Set or clear the cached bit of the caller's span at p. */
static inline void span_set_cached(const void *p, bool is_cached)
{
	uint16_t word = *span_word(p), bit = is_cached ? SPAN_CACHED : 0;

	while (!arch_exchange(span_word(p), &word, (uint16_t)((word & ~SPAN_CACHED) | bit)))
		;
}

struct span_stats {
	size_t allocs, frees; /* that thread caches did not serve */
	size_t spans, bytes; /* including cached ones */
	size_t peak_bytes;
};

void span_get_stats(struct span_stats *stats);
