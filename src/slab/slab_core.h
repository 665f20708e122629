/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Core header of the slab wing: the store of cells and the page heap below it.
 *
 *	segment, 4 MiB, aligned to its size
 *	| header | slab | slab | slab, four slots          | span, pages | free | … |
 *	  slot 0   1      2      …                                                63
 *
 *	header, in pages of 4 KiB
 *	| margin | maps, slabs, spans | bits of slabs with many cells     | unused |
 *	  page 0   1, 2                 3, …
 *
 * Slot 0 holds the metadata of all slots, apart from the cells. Only pages 1 and 2 are touched
 * where slabs have at most 64 cells, so 4 MiB of large cells need 8 KiB. A slab is carved from its
 * start as cells are needed; the rest is untouched. The bit of a cell is set while the cell is in
 * the store and carved. It is clear for cells of users and in caches.
 *
 * Invariants, checked by slab_check:
 *	S1 a slab's free is the number of its bits; no bit is set from carved on; summary has a bit
 *	   for each nonzero word of bits
 *	S2 a slab with a free cell is in the list of its class, shard and group, and no other slab
 *	   is in a list; slabs in GROUP_PURGED are purged
 *	S3 no slab has only free cells among those carved: such a slab becomes free slots
 *	S4 only the carving slab of a shard has cells that are not carved, and it belongs to that
 *	   shard; is_next_marked is false in all others
 *	S5 a used slot is fixed (the header, a guard, not mapped), or has spans, or belongs to one
 *	   slab, whose first slot first has; dirty and stuck pages are not taken, and no page is
 *	   both
 *	S6 the page map has slab_bin_of for all slots of an open slab, 0 for all slots of a closed
 *	   one, SLAB_BIN_SPAN for slots with spans only, and 0 elsewhere
 *	S7 the sets of segments are exact; each summary has a bit for each nonzero word;
 *	   run_segments and run_classes agree with the sets of segments with runs
 *	S8 all counters agree with the structures
 *	S9 the checksums of slabs and segments are right
 *	S10 a free user cell has CELL_FREED, unless in hardened mode or starting in a page of
 *	    unmarked; a slab with unmarked pages is closed; in hardened mode free user cells and
 *	    dirty pages of user segments are zero
 *
 * Stray writes may hit the header. So each use of a slab or segment first validates its checksum:
 * damage is reported, never followed. A returned cell is only compared with the slab until the slab
 * changes its group. Fields that change with every cell have no checksum; they have to agree with
 * the bits. The margin absorbs a write past the end of the previous segment.
 */

#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

#include "hash.h"
#include "lock.h"
#include "page_bits.h"
#include "slab.h"
#include "window.h"

#define SEGMENT_SLOTS (SEGMENT_SIZE / SLAB_SIZE)
#define SLOT_PAGES (SLAB_SIZE / PAGE_BYTES)
#define QUAD 4 /* slots of a slab for cells above SLAB_CELL_MAX */
#define QUAD_STARTS 0x1111111111111110u /* the quad of the header is never free */
#define SLAB_WORDS (SLAB_SIZE / CELL_ALIGN / 64)
#define SEGMENT_MARGIN 4096 /* a multiple of most page sizes; uses no memory */

/*
 * Fullness groups of partial slabs, fullest first, a quarter of the capacity each. The last quarter
 * holds sparse slabs, whose free pages are worth purging. Taking or giving a cell files such a slab
 * as touched; sweeps move it on (slab_pages.c).
 */
enum fullness_group {
	GROUP_TOUCHED = 3,
	GROUP_IDLE,
	GROUP_PURGED,
	GROUPS
};

#define QUARTERS 4

_Static_assert(SEGMENT_SLOTS == 64, "one word has a bit for each slot");
_Static_assert(SEGMENT_SIZE / PAGE_BYTES == MAP_PAGES, "a map has a bit for each page");
_Static_assert(SLAB_WORDS == 64, "one summary word has a bit for each word of bits");

/* Of struct slab, and of its bits if these are apart. */
#define SLAB_HEADER_SHIFT 6
#define SLAB_BITS_SHIFT 9

/* Guarded by the lock of its class. */
struct slab {
	struct slab *next, *prev; /* S2 */
	uint16_t class;
	uint16_t carved;
	uint8_t group; /* enum fullness_group, or the number of a fuller quarter */
	uint8_t slot;
	_Atomic(uint8_t) shard; /* atomic, because it is read without the lock */
	bool is_fresh; /* cells that are not carved read as zero */
	uint32_t checksum; /* S9: keyed hash of all fields before it */
	uint16_t free; /* S1 */
	bool is_purged; /* its free pages are purged or locked, and no cell was returned since */
	bool is_locked : 1; /* the kernel refused to purge it: not counted as sparse */
	bool is_next_marked : 1; /* the next cell to carve has CELL_FREED: S4 */
	uint8_t purges : 5; /* number of purges by sweeps, up to PURGES_MAX */
	uint64_t summary; /* S1 */
	uint64_t unmarked; /* S10: pages whose free cells may lack CELL_FREED */
	uint64_t bits; /* of a slab with at most 64 cells: slab_bits */
} __attribute__((aligned(64)));

_Static_assert(sizeof(struct slab) == 1 << SLAB_HEADER_SHIFT &&
		       SLAB_WORDS * sizeof(uint64_t) == 1 << SLAB_BITS_SHIFT,
	       "bits are found by a shift");
_Static_assert(offsetof(struct slab, checksum) == 3 * sizeof(uint64_t),
	       "the checksum is of three words");

/* Bitmaps of the pages of a segment. The maps are disjoint. */
struct segment_maps {
	uint64_t taken[MAP_WORDS]; /* the header, slabs, spans, guards */
	uint64_t dirty[MAP_WORDS]; /* free, not purged */
	uint64_t stuck[MAP_WORDS]; /* free, but the kernel refused to purge it (locked pages) */
};

/*
 * The header, in slot 0. Guarded by the store's lock, except slabs and their bits. taken, cells,
 * first, the slabs and the spans are authoritative; all else is derived.
 */
struct segment {
	char margin[SEGMENT_MARGIN]; /* never touched */
	uint64_t checksum; /* S9: keyed hash of the next five */
	uint64_t fixed; /* slots that hold no slab and no span: the header, guards, not mapped */
	uint64_t cells; /* slots of slabs */
	uint64_t used; /* slots with a taken page */
	uint64_t dirty; /* slots with a dirty page */
	bool is_own; /* holds the library's own objects only */
	struct segment_maps maps;
	uint64_t runs[RUN_KINDS]; /* S7: bit set of the classes of its runs */
	uint16_t run_counts[RUN_KINDS][RUN_CLASSES]; /* number of runs in each class */
	uint32_t epoch[SEGMENT_SLOTS]; /* for dirty slots: the sweep before which they were freed */
	uint8_t first[SEGMENT_SLOTS]; /* for slots of slabs: the slab's first slot */
	struct slab slabs[SEGMENT_SLOTS];
	_Atomic(uint16_t) spans[MAP_PAGES]; /* slab.h: the word of a span's first page; else 0 */
	/* Of slabs with more than 64 cells. */
	uint64_t bits[SEGMENT_SLOTS][SLAB_WORDS] __attribute__((aligned(PAGE_BYTES)));
};

_Static_assert(offsetof(struct segment, spans) == SPAN_WORDS, "slab.h has it");
_Static_assert(offsetof(struct segment, bits) == SEGMENT_MARGIN + 2 * PAGE_BYTES,
	       "slabs of large cells need two pages");

_Static_assert(sizeof(struct segment) <= SLAB_SIZE, "the header fits its slot");

/* Guarded by the lock of the class. */
struct slab_class {
	size_t partial_count;
	size_t slabs;
	size_t out; /* cells outside of the store */
} __attribute__((aligned(64)));

extern struct slab_class slab_class_states[CLASS_END] SLAB_HIDDEN;

/* Guarded by the lock of the class. Separate and by shard, so that few threads touch few pages. */
struct slab_lists {
	struct slab *partial[GROUPS]; /* S2 */
	struct slab *carving; /* S4; or NULL */
} __attribute__((aligned(64)));

extern struct slab_lists slab_shard_lists[SLAB_SHARDS][CLASS_END] SLAB_HIDDEN;

static inline struct slab_lists *slab_lists(const struct slab_class *c, unsigned int shard)
{
	return &slab_shard_lists[shard][c - slab_class_states];
}

/* Separate from the data: those start as zeros and use memory only when touched. */
struct slab_lock {
	struct lock lock;
} __attribute__((aligned(64)));

extern struct slab_lock slab_locks[CLASS_END + SLAB_SHARDS] SLAB_HIDDEN;

struct store {
	uint64_t secret; /* key of the checksums; set with the first segment */
	unsigned int skips; /* attempts at a new segment to skip: see back_off */
	unsigned int next_skips;
	uintptr_t below, above; /* first and second address to try for the next segment */
	struct sys_room stack; /* address range kept free for the main stack */
	size_t segments;
	struct segment *growing; /* the one that is mapped as it is needed, or NULL */
	size_t map_calls, unmap_calls;
	_Atomic(size_t) advise_calls;
	struct lock lock; /* guards all fields that are not atomic */
	bool is_child; /* a forked child that shares its pages with its parent: slab_fork.c */
	bool is_hardened; /* set before the first segment */
	_Atomic(bool) is_sweeping; /* pages given now have been free for a period */
	_Atomic(bool) is_early; /* the last sweep was an early one */
	uint32_t epoch; /* number of the next sweep */
	_Atomic(uint64_t) last_sweep_ms, last_early_ms;
	_Atomic(size_t) dirty_pages;
	_Atomic(size_t) grown_slots; /* slots of fresh slabs since the last sweep */
	size_t span_allocs;
	_Atomic(size_t) span_frees, slab_frees; /* also read without the lock */
	size_t span_pages, span_pages_peak; /* including spans in thread caches */
	_Atomic(size_t) sparse_slots; /* slots of touched and idle slabs: S8 */
	_Atomic(size_t) idle_slots; /* slots of idle slabs */
	_Atomic(uint32_t) sparse_sweeps; /* number of sweeps of sparse slabs */
	uint64_t run_classes[RUN_KINDS]; /* S7: classes of which a segment has a run */
	unsigned int run_segments[RUN_KINDS][RUN_CLASSES]; /* S7: how many have one */
};

extern struct store slab_store SLAB_HIDDEN;

static inline struct segment *segment_of(const void *p)
{
	return (struct segment *)((uintptr_t)p & ~(SEGMENT_SIZE - 1));
}

/* The bytes of g that are mapped. */
static inline size_t segment_size(const struct segment *g)
{
	uint64_t absent = g->fixed & ~(uint64_t)1;

	if (slab_store.is_hardened || !absent) /* hardened, these are guards */
		return SEGMENT_SIZE;
	return (size_t)__builtin_ctzll(absent) * SLAB_SIZE;
}

static inline char *slab_start(const struct slab *s)
{
	return (char *)segment_of(s) + s->slot * SLAB_SIZE;
}

/* The bits of 64 cells, from 64 * word on, of the slab of a class at slot of g. */
static inline uint64_t *segment_bits(struct segment *g, const struct class_info *info, size_t slot,
				     size_t word)
{
	bool is_small = info->capacity <= 64;
	size_t start = is_small ? offsetof(struct segment, slabs) + offsetof(struct slab, bits)
				: offsetof(struct segment, bits);
	unsigned int shift = is_small ? SLAB_HEADER_SHIFT : SLAB_BITS_SHIFT;

	return (uint64_t *)((char *)g + start + (slot << shift)) + word;
}

static inline uint64_t *slab_bits(const struct slab *s, size_t word)
{
	return segment_bits(segment_of(s), &slab_classes[s->class], s->slot, word);
}

/* Whether the bit of cell i of s is set. */
static inline bool slab_is_in_store(const struct slab *s, size_t i)
{
	return *slab_bits(s, i / 64) >> i % 64 & 1;
}

/* Words of bits that cells of class have. */
static inline size_t slab_words(unsigned int class)
{
	return (slab_classes[class].capacity + 63u) / 64;
}

static inline void slab_clear_bits(struct slab *s)
{
	for (size_t i = 0; i < slab_words(s->class); i++)
		*slab_bits(s, i) = 0;
}

/* The slots of s as a bit mask. */
static inline uint64_t slab_mask(const struct slab *s)
{
	return (slab_classes[s->class].slots == QUAD ? (uint64_t)0xf : (uint64_t)1) << s->slot;
}

/* Whether free cells of class have CELL_FREED: S10. */
static inline bool slab_has_marks(unsigned int class)
{
	return class < CLASS_COUNT && !slab_store.is_hardened;
}

/* The page in which cell starts, as a bit of unmarked. */
static inline uint64_t slab_page_bit(const struct slab *s, const void *cell)
{
	return (uint64_t)1 << (size_t)((const char *)cell - slab_start(s)) / PAGE_BYTES;
}

/* Checksums: S9. */

static inline uint32_t slab_checksum_of(const struct slab *s)
{
	uint64_t key = slab_store.secret ^ (uintptr_t)s, words[3];

	memcpy(words, s, sizeof(words));
	words[1] = words[1] << 21 | words[1] >> 43;
	words[2] = words[2] << 42 | words[2] >> 22;
	return (uint32_t)(hash_fast(words[0] ^ words[1] ^ words[2] ^ key) >> 32);
}

static inline void slab_set_checksum(struct slab *s)
{
	s->checksum = slab_checksum_of(s);
}

static inline bool slab_is_valid(const struct slab *s)
{
	return s->checksum == slab_checksum_of(s);
}

static inline uint64_t segment_checksum_of(const struct segment *g)
{
	uint64_t key = slab_store.secret ^ (uintptr_t)g ^ g->is_own;

	return (g->used + key) * HASH_FACTOR + g->dirty * HASH_FACTOR2 +
	       (g->fixed ^ g->cells) * HASH_FACTOR3;
}

static inline bool segment_is_valid(const struct segment *g)
{
	return g->checksum == segment_checksum_of(g);
}

/* The page map entry for open slabs of class. */
static inline uint16_t slab_bin_of(unsigned int class)
{
	if (class >= CLASS_COUNT)
		return 0;
	if (slab_classes[class].slots == QUAD)
		class += CLASS_WIDE_COUNT;
	return (uint16_t)(class * SLAB_BIN_SIZE);
}

/* Whether s is closed to the fast path: S6. Slabs of the library's own objects always are. */
static inline bool slab_is_closed(const struct slab *s)
{
	return !segment_page_map(segment_of(s))[s->slot];
}

/* slab_check.c: lock all classes, then the store. */
void slab_lock_all(void);
void slab_unlock_all(void);

/* slab_class.c. Callers hold the lock of class c. */

/* The group of a slab that was just touched. */
static inline uint8_t slab_group(const struct slab *s)
{
	return (uint8_t)((s->free * QUARTERS - 1) / slab_classes[s->class].capacity);
}

/* End the process: the header of s is overwritten. */
void slab_damaged(const struct slab_class *c, const struct slab *s) __attribute__((noreturn, cold));

/* slab_damaged, if the checksum of s is wrong. */
void slab_validate(const struct slab_class *c, const struct slab *s);

/* Put s, which has a free cell and is in no list, into its fullness group. */
void slab_link(struct slab_class *c, struct slab *s);

void slab_unlink(struct slab_class *c, struct slab *s);

/* Move s, which has a free cell, to group of its class and shard. */
void slab_move(struct slab_class *c, struct slab *s, uint8_t group);

/*
 * Move the emptiest slab of another shard to shard, which has none to carve. A slab with live cells
 * of running threads would share cache lines with shard's threads. So such a slab is taken only if
 * it is nearly empty or is_any. NULL if there is none.
 */
struct slab *slab_adopt(struct slab_class *c, unsigned int shard, bool is_any);

/* When memory is exhausted: adopt any slab that has cells, or cells to carve. */
struct slab *slab_adopt_any(struct slab_class *c, unsigned int shard);

/*
 * slab_pages.c: end the process if free cell has lost its mark: it was written to, or is in use
 * because it was freed twice. The caller holds the lock of the class.
 */
void slab_require_mark(const struct slab *s, void *cell);

/* slab_pages.c: mark n free user cells of closed slab s, which go to a cache. */
void slab_open(struct slab *s, void **cells, unsigned int n) __attribute__((cold));

/*
 * slab_pages.c: purge free pages of slabs of class; returns whether there were any. Takes the lock.
 */
bool slab_trim_pages(unsigned int class);

/*
 * slab_pages.c: purge a bounded number of sparse slabs that have been idle since the previous call.
 * Takes the locks of classes.
 */
void slab_sweep_pages(void);

/* segment.c. */

/* Lock the store. The caller holds a class lock or none. */
void store_lock(void);
void store_unlock(void);

/* The pages of n slots, the first of which is slot. */
static inline struct page_run slot_pages(unsigned int slot, unsigned int n)
{
	return (struct page_run){slot * SLOT_PAGES, (slot + n) * SLOT_PAGES};
}

/* Make a slab for class with no cell carved; NULL with errno ENOMEM. */
struct slab *segment_take(unsigned int class);

/* Set the entries of s in the page map. */
void segment_set_page_map(const struct slab *s, uint16_t bin);

/* Turn s, whose carved cells are all free, into free slots. */
void segment_give(struct slab *s);

/* Callers of the following functions hold the store's lock. */

/* End the process if the checksum of g is wrong. */
void segment_validate(const struct segment *g);

/*
 * Find the best place for n pages, aligned to align pages, a power of two. Returns its segment and
 * sets *place; NULL with errno ENOMEM.
 */
struct segment *segment_find_run(size_t n, size_t align, struct page_run *place);

/* Map the pages of run as far as possible, if those of it that are mapped are free. */
void segment_grow_to(struct segment *g, struct page_run run);

/* Take the pages of run. Returns whether all of them read as zero. */
bool segment_take_pages(struct segment *g, struct page_run run);

/* Free the pages of run; they are dirty. */
void segment_give_pages(struct segment *g, struct page_run run);

/* Rebuild what is derived from the maps of g. */
void segment_update(struct segment *g);

/* Remove empty g from all sets and unmap it. Returns false if the kernel refuses. */
bool segment_unmap(struct segment *g);

/* Purge whole pages. Returns 0 or -1. Takes no lock. */
int segment_purge(void *p, size_t size);

/*
 * Like segment_purge, but where pages are locked, up to *left pages are purged one by one
 * (sys_purge_apart). Callers start with PURGE_PIECES.
 */
int segment_purge_apart(void *p, size_t size, size_t *left);
