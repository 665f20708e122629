/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * The store of small cells: slabs of equal cells in segments of 4 MiB. No thread of its own, no
 * cache of cells; the layer above takes and gives them in batches.
 *
 * Every class has a lock. Functions that end in _locked want it held (slab_enter). The locks of the
 * depots' shards are above (magazine.h), that of the segments is below all of them, and no other
 * lock of the library is taken under any.
 */

#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "helpers.h"
#include "item_list.h"
#include "sizeclass.h"

/*
 * The objects of the wings above, by their size: they have cells as users' have, but free() knows
 * none of them.
 */
enum {
	CLASS_OWN_512 = CLASS_COUNT,
	CLASS_OWN_4096,
	CLASS_OWN_2048,
	CLASS_END,
};

#define SLAB_SHARDS 8

#define SLAB_SHIFT 16
#define SLAB_SIZE ((size_t)1 << SLAB_SHIFT)
#define SLAB_CELL_MAX ((size_t)8192) /* larger cells are in slabs of four slots */
#define SEGMENT_SHIFT 22
#define SEGMENT_SIZE ((size_t)1 << SEGMENT_SHIFT)
#define WINDOW_SHIFT 37
#define WINDOW_SIZE ((size_t)1 << WINDOW_SHIFT)
#define WINDOW_SLABS ((size_t)1 << (WINDOW_SHIFT - SLAB_SHIFT))
#define WINDOW_SEGMENTS ((size_t)1 << (WINDOW_SHIFT - SEGMENT_SHIFT))

/* Declared so, these are reached without the detour of the global offset table. */
#define SLAB_HIDDEN __attribute__((visibility("hidden")))

#define RECIPROCAL_SHIFT 40

/* What the arithmetic of a class needs. */
struct class_info {
	uint32_t size; /* of a cell */
	uint32_t magic; /* 2^32 / size, rounded up: see slab_is_multiple */
	uint64_t reciprocal; /* 2^40 / size, rounded up: n / size by product, n < 2^18 */
	uint16_t capacity; /* cells in a slab */
	uint16_t slots; /* of 64 KiB, in a slab */
	uint16_t magazine; /* cells in a magazine: the layer above fills this in */
};

extern struct class_info slab_classes[CLASS_END] SLAB_HIDDEN;

/* How many threads have that shard; kept by the layer above. */
extern _Atomic(unsigned int) slab_shard_users[SLAB_SHARDS];

/*
 * Segments lie in windows of the address space (window.h), and slab_window is the start of the
 * first. Which bin of a thread cache a cell belongs to is in a page map, by the cell's place in its
 * window. That of the first window is slab_bins: one load answers whose pointer it is. An entry is
 * SLAB_BIN_SIZE * class, or 0 where there is no slab of users' cells. Cells above SLAB_CELL_MAX,
 * which the short way is not taken for, have entries of their own, CLASS_WIDE_COUNT * SLAB_BIN_SIZE
 * higher. Pages of the maps exist where there are segments.
 */
#define SLAB_BIN_SIZE 16
#define CLASS_WIDE_COUNT 16 /* classes above SLAB_CELL_MAX */
#define SLAB_BIN_SPAN ((CLASS_COUNT + CLASS_WIDE_COUNT) * SLAB_BIN_SIZE) /* a span: span.h */
#define SLAB_BIN_COUNT (CLASS_COUNT + CLASS_WIDE_COUNT + 1)
extern uintptr_t slab_window SLAB_HIDDEN;
extern uint16_t slab_bins[WINDOW_SLABS] SLAB_HIDDEN;

/* The maps of the other windows by their places, or NULL; the first one's is in the middle. */
#define WINDOWS ((size_t)1 << (49 - WINDOW_SHIFT))
extern _Atomic(uint16_t *) slab_far_bins[WINDOWS] SLAB_HIDDEN;

_Static_assert(2 * SYS_MAP_MAX <= WINDOWS * WINDOW_SIZE, "every address has a place of its own");

/* WINDOWS or more for what is no address of the process. */
static inline size_t window_place(const void *p)
{
	return ((uintptr_t)p - slab_window + WINDOWS / 2 * WINDOW_SIZE) >> WINDOW_SHIFT;
}

/* The map of p's window, which is not the first; or NULL. */
static inline __attribute__((always_inline)) uint16_t *slab_far_bins_of(const void *p)
{
	size_t place = window_place(p);

	return place < WINDOWS ? atomic_load_explicit(&slab_far_bins[place], memory_order_acquire)
			       : NULL;
}

/* The entry for p, wherever it is. */
static inline __attribute__((always_inline)) uint16_t slab_bin(const void *p)
{
	size_t slab = ((uintptr_t)p - slab_window) >> SLAB_SHIFT;
	const uint16_t *bins;

	if (__builtin_expect(slab < WINDOW_SLABS, 1))
		return slab_bins[slab];
	bins = slab_far_bins_of(p);
	return bins ? bins[slab % WINDOW_SLABS] : 0;
}

/*
 * Whether the last 16 bits of p are a multiple of a cell's size, at most SLAB_CELL_MAX. Let them be
 * n = q * size + r, and size * magic = 2^32 + e. Then n * magic is q * e + r * magic, modulo 2^32.
 * q * e is below 2^16, for e is below size; r * magic is 0, or at least magic, which is above 2^18.
 */
static inline bool slab_is_multiple(const void *p, uint32_t magic)
{
	return (uint32_t)(uint16_t)(uintptr_t)p * magic < 1 << 16;
}

/* What slab_class_of says, if bin is the entry for p. */
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
 * The class of p, if it is the start of a cell by its address, or 0. It may be free, or never have
 * been handed out.
 */
static inline unsigned int slab_class_of(const void *p)
{
	return slab_class_in(p, slab_bin(p));
}

/* What a freed cell has in its first word; see tcache.h. */
#define CELL_FREED ((uint64_t)(int64_t)-0x5ca1ab1f)

static inline uint64_t *cell_word(void *cell)
{
	return cell;
}

/* Compute slab_classes, before anything else. Idempotent. */
void slab_init(void);

/*
 * From now on segments have guard pages behind their header and at their end, and what users can
 * overflow into is never the library's own: see hardened.h. Before the first cell is taken.
 */
void slab_harden(void);

/* Lock class, if the process has ever had a second thread. */
void slab_enter(unsigned int class);
void slab_leave(unsigned int class);

/* The same functions lock a shard of depots, which this stands for. */
#define SHARD_LOCK(shard) (CLASS_END + (shard))

/*
 * Take up to n cells of class into cells; the number of those, 0 with errno ENOMEM. With *fresh
 * (may be NULL) all of them are known to be zero, but for CELL_FREED. Who asks for the same shard
 * gets cells of the same slabs, while there are any, so that threads of different shards seldom
 * share a cache line.
 */
unsigned int slab_take_locked(unsigned int class, unsigned int shard, void **cells, unsigned int n,
			      bool *fresh);

/*
 * The same of the slabs that shard has, only: none of another shard's, and no new one. 0, with
 * errno as it was, says that they have no cell left.
 */
unsigned int slab_take_own_locked(unsigned int class, unsigned int shard, void **cells,
				  unsigned int n, bool *fresh);

/* The shard that the slab of cell, which is out of the store, belongs to now. No lock. */
unsigned int slab_shard_of(const void *cell);

/* Give n cells of class back. A cell that is none, or free, is reported as freed by free(). */
void slab_give_locked(unsigned int class, void *const *cells, unsigned int n);

/* What a pointer is to the store. */
enum cell_state {
	CELL_NONE, /* not in a slab of users' cells */
	CELL_LIVE, /* the start of a cell that is out of the store */
	CELL_FREE, /* in a cell that is in the store */
	CELL_INSIDE, /* not the start of a cell, but in one that is out of the store */
};

struct cell_ref {
	enum cell_state state;
	unsigned int class;
	char *start; /* of the cell */
};

/* What is p? No lock; the answer holds while p, if it is a cell, is not given back. */
struct cell_ref slab_find(const void *p);

/* Whether this is a fork's child whose slabs were closed at the fork. */
bool slab_is_child(void);

/*
 * In such a child, put cell, a live one of class, into the store without writing to it, if its
 * slab is closed. False: it is not, and cell has to be marked. Nothing entered.
 */
bool slab_give_unwritten(unsigned int class, void *cell);

/*
 * The word before p, a multiple of SLAB_SIZE in a segment, if it is in a slab or a free page; else
 * 0: it may be a guard's, or a large object's.
 */
uint64_t slab_word_before(const void *p);

/*
 * If a period has passed since the last sweep, begin one: true. The caller gives to the store what
 * caches have held for a period; then slab_end_sweep gives back to the kernel that, and what has
 * been free in the store for a period. errno is preserved.
 */
bool slab_begin_sweep(void);
void slab_end_sweep(void);

/* The same after a small part of a period: for a process that grows. */
bool slab_begin_early_sweep(void);

/* Bytes of slabs that were made since the last sweep, and the kernel had to give memory for. */
size_t slab_grown_bytes(void);

/*
 * Give back all that is free, whole pages between cells too, now; true if anything was given back.
 */
bool slab_trim(void);

/* The same, without the pages between cells. */
bool slab_trim_segments(void);

/* Bytes of the pages between cells that a trim would give back. *out: of cells out of the store. */
size_t slab_free_page_bytes(size_t *out);

/* A count that has grown when a slab or a span has become free since. */
size_t slab_frees(void);

/*
 * Bytes of free slabs, and half of the sparse ones', that the kernel has not got back; without
 * those that are locked.
 */
size_t slab_dirty_bytes(void);

/*
 * In a fork's child: what other threads were changing under a lock is made whole again, and the
 * locks are free.
 */
void slab_fork_child(void);

/* Whether some thread was inside shard's lock when the process was copied; it is free then. */
bool slab_fork_was_locked(unsigned int shard);

/*
 * Fill in what the store knows; live cells are all that are out of the store, cached ones too. Free
 * ones are in users' slabs, also what is not carved yet. The library's own are segment headers and
 * slabs of its own objects.
 */
void slab_get_stats(struct osmem_cell_stats *stats);

/* Of one class, at one moment. */
struct slab_class_stats {
	size_t cell; /* bytes of one */
	size_t slabs;
	size_t cells; /* that the slabs have room for */
	size_t out; /* of those out of the store */
};

void slab_get_class(unsigned int class, struct slab_class_stats *stats);

/* Copy segments, slabs and spans, at one moment; the locks of all classes are held meanwhile. */
void slab_list(struct item_list *list);

/* How long free slots stay with the process at least; 0: until the next sweep. */
void slab_set_sweep_period(uint64_t ms);

/* Check every invariant of the store (slab_core.h): NULL, or the text of the first broken one. */
const char *slab_check(void);
