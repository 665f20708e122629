/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * The inside of the store of cells and of the page heap below it, shared by their files: slab.c
 * (slabs and their cells), segment.c (the page heap), window.c, span.c, purge.c, slab_pages.c,
 * slab_fork.c, slab_walk.c and slab_check.c. Nobody else includes this.
 *
 *	segment, 4 MiB, aligned to its size
 *	| header | slab | slab | slab, four slots          | span, pages | free | … |
 *	  slot 0   1      2      …                                                63
 *
 * Slot 0 holds the metadata of all others, apart from the cells. A slab is carved from its start as
 * cells are needed: what lies behind has not been touched. A cell's bit is set while it is in the
 * store and carved; the cells of users, and those cached above, have theirs clear.
 *
 * Invariants, checked by slab_check:
 *	S1 a slab's free is the number of its bits, none of them at carved or above; summary says
 *	   which words of bits are not zero
 *	S2 a slab with a free cell is in the list of its class, shard and bucket, no other is in
 *	   any; what is in BUCKET_PURGED is purged
 *	S3 a slab whose carved cells are all free is no slab any more, but free slots
 *	S4 only a shard's carving slab has cells that are not carved, and it is that shard's; no
 *	   other's is_next_marked is set
 *	S5 a used slot is fixed (the header, a guard) or belongs to one slab, which is in the
 *	   segment's slabs by its first slot; what is dirty is not used, what is locked is
 *	   dirty
 *	S6 the page map has what slab_bin_of says for every slot of a slab, or 0 for all of them:
 *	   the slab is closed to the short way; SLAB_BIN_SPAN for every slot that only spans
 *	   reach into; and 0 elsewhere
 *	S7 the sets of segments are exact, and every set's summary says which of its words are not
 *	   zero; run_segments and run_classes have what is in those of segments with runs
 *	S8 the figures agree with what is there
 *	S9 slabs and segments are sealed
 *	S10 a free cell of users has CELL_FREED, but when hardened, unless it starts in a page of
 *	   unmarked; a slab that has any is closed
 *
 * The header is where a write far from its aim may hit. So whoever takes up a slab or a segment
 * looks at its seal first: what is overwritten is reported, not followed. Cells that come back are
 * only compared with it, until the slab is to be filed anew. What changes with every
 * cell is not sealed, but has to agree with the bits. A write past the last cell of one segment
 * meets the margin of the next.
 */

#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

#include "hash.h"
#include "lock.h"
#include "page_map.h"
#include "slab.h"
#include "span.h"
#include "window.h"

#define SEGMENT_SLOTS (SEGMENT_SIZE / SLAB_SIZE)
#define SLOT_PAGES (SLAB_SIZE / PAGE_BYTES)
#define QUAD 4 /* slots of a slab for cells over SLAB_CELL_MAX */
#define QUAD_STARTS 0x1111111111111110u /* the header's quad has no room */
#define SLAB_WORDS (SLAB_SIZE / CELL_ALIGN / 64)
#define SEGMENT_MARGIN 4096 /* a multiple of most page sizes: it costs no memory */

/*
 * Where a shard looks for cells, fullest slabs first: a quarter of the capacity each. The last
 * quarter is of sparse slabs, whose free pages are worth giving back. Whoever takes or gives a cell
 * files the slab as touched, and sweeps move each of those one on: see slab_pages.c.
 */
enum slab_bucket {
	BUCKET_TOUCHED = 3,
	BUCKET_IDLE,
	BUCKET_PURGED,
	BUCKETS
};

#define QUARTERS 4

_Static_assert(SEGMENT_SLOTS == 64, "one word has a bit for each slot");
_Static_assert(SEGMENT_SIZE / PAGE_BYTES == MAP_PAGES, "a map has a bit for each page");
_Static_assert(SLAB_WORDS == 64, "one summary word has a bit for each word of bits");

/* Guarded by the lock of its class. */
struct slab {
	struct slab *next, *prev; /* S2 */
	uint16_t class;
	uint16_t carved;
	uint8_t bucket; /* enum slab_bucket, or a quarter below */
	uint8_t slot;
	_Atomic(uint8_t) shard; /* whose threads get its cells; read without a lock, too */
	bool is_fresh; /* what is not carved reads as zero */
	uint32_t seal; /* S9: a keyed hash of all before it */
	uint16_t free; /* S1 */
	bool is_purged; /* its free pages were given back, but locked ones; no cell was since */
	bool is_locked : 1; /* the kernel took none of its pages lately: not counted as sparse */
	bool is_next_marked : 1; /* the cell to be carved next has CELL_FREED, until it is: S4 */
	uint8_t purges : 5; /* by sweeps, up to PURGES_MAX */
	uint64_t summary; /* S1 */
	uint64_t unmarked; /* S10: pages where free cells may be without CELL_FREED */
	uint64_t bits[SLAB_WORDS]; /* of cells; here, where few of them share the line above */
};

_Static_assert(offsetof(struct slab, seal) == 3 * sizeof(uint64_t), "the seal is of three words");

/* The maps of a segment's pages. A page in use is in none but taken. */
struct segment_maps {
	uint64_t taken[MAP_WORDS]; /* in use: the header, slabs, spans, guards */
	uint64_t dirty[MAP_WORDS]; /* free, and the kernel has not got it back */
	uint64_t stuck[MAP_WORDS]; /* free, and the kernel would not take it: locked, say */
};

/*
 * The header, in slot 0. Guarded by the store's lock, but for the slabs and their bits. The truth
 * is in taken, cells, first, the slabs and the spans; the rest follows from them.
 */
struct segment {
	char margin[SEGMENT_MARGIN]; /* never touched */
	uint64_t seal; /* S9: a keyed hash of the next five */
	uint64_t fixed; /* slots that are never a slab's or a span's */
	uint64_t cells; /* slots of slabs */
	uint64_t used; /* slots with a page that is taken */
	uint64_t dirty; /* slots with a page that is dirty */
	bool is_own; /* only for the library's own objects */
	struct segment_maps maps;
	uint64_t runs[RUN_KINDS]; /* S7: the classes of its free runs, and of its dirty ones */
	uint16_t run_counts[RUN_KINDS][RUN_CLASSES]; /* how many there are */
	uint32_t epoch[SEGMENT_SLOTS]; /* of dirty slots: before which sweep they were freed */
	uint8_t first[SEGMENT_SLOTS]; /* of slots with cells: the slab's first */
	struct slab slabs[SEGMENT_SLOTS];
	/* See span.h: of a span's first page; 0 elsewhere. */
	_Atomic(uint16_t) spans[MAP_PAGES] __attribute__((aligned(SPAN_WORDS_ALIGN)));
};

_Static_assert(offsetof(struct segment, spans) == SPAN_WORDS, "span.h has it");

_Static_assert(sizeof(struct segment) <= SLAB_SIZE, "the header fits its slot");

/* Guarded by the lock of the class, as its slabs are. */
struct slab_class {
	size_t partial_count;
	size_t slabs;
	size_t out; /* cells out of the store */
} __attribute__((aligned(64)));

extern struct slab_class slab_class_states[CLASS_END];

/* The same; apart from that, and by shard, for what few threads use is in few pages. */
struct slab_lists {
	struct slab *partial[BUCKETS]; /* S2 */
	struct slab *carving; /* S4; or NULL */
} __attribute__((aligned(64)));

extern struct slab_lists slab_shard_lists[SLAB_SHARDS][CLASS_END];

static inline struct slab_lists *slab_lists(const struct slab_class *c, unsigned int shard)
{
	return &slab_shard_lists[shard][c - slab_class_states];
}

/* Apart from what they guard: that starts as zeros, and costs memory only where it is used. */
struct slab_lock {
	struct lock lock;
} __attribute__((aligned(64)));

extern struct slab_lock slab_locks[CLASS_END + SLAB_SHARDS];

struct store {
	uint64_t secret; /* of the seals; set with the first segment */
	unsigned int skips; /* attempts at a new segment that are not made: see back_off */
	unsigned int next_skips;
	uintptr_t below, above; /* where the next segment is tried first, and then */
	struct sys_room stack; /* where none is tried */
	size_t segments;
	size_t map_calls, unmap_calls;
	_Atomic(size_t) advise_calls;
	struct lock lock; /* guards everything here that is not atomic */
	bool is_child; /* of a fork, and shares much with its parent: see slab_fork.c */
	bool is_hardened; /* own objects apart, guards; set before there is a segment */
	_Atomic(bool) is_sweeping; /* what is given back now has been free for long */
	_Atomic(bool) is_early; /* the last sweep was begun because the process grows */
	uint32_t epoch; /* of the sweep to come */
	_Atomic(uint64_t) last_sweep_ms, last_early_ms;
	_Atomic(size_t) dirty_pages;
	_Atomic(size_t) grown_slots; /* of fresh slabs, since the last sweep */
	size_t span_allocs;
	_Atomic(size_t) span_frees, slab_frees; /* read without the lock, too */
	size_t span_pages, span_pages_peak; /* with those that caches of threads keep */
	_Atomic(size_t) sparse_slots; /* of slabs that are touched or idle: S8 */
	_Atomic(size_t) idle_slots; /* those of the idle */
	_Atomic(uint32_t) sparse_sweeps; /* that looked at sparse slabs */
	uint64_t run_classes[RUN_KINDS]; /* S7: that any segment has runs of */
	unsigned int run_segments[RUN_KINDS][RUN_CLASSES]; /* how many have some */
};

extern struct store slab_store;

static inline struct segment *segment_of(const void *p)
{
	return (struct segment *)((uintptr_t)p & ~(SEGMENT_SIZE - 1));
}

static inline char *slab_start(const struct slab *s)
{
	return (char *)segment_of(s) + s->slot * SLAB_SIZE;
}

/* The slots of s as bits. */
static inline uint64_t slab_mask(const struct slab *s)
{
	return (slab_classes[s->class].slots == QUAD ? (uint64_t)0xf : (uint64_t)1) << s->slot;
}

/* Whether free cells of class have CELL_FREED: S10. */
static inline bool slab_has_marks(unsigned int class)
{
	return class < CLASS_COUNT && !slab_store.is_hardened;
}

/* The page that cell of s starts in, as a bit of unmarked. */
static inline uint64_t slab_page_bit(const struct slab *s, const void *cell)
{
	return (uint64_t)1 << (size_t)((const char *)cell - slab_start(s)) / PAGE_BYTES;
}

/* Seals: S9. */

static inline uint32_t slab_seal_of(const struct slab *s)
{
	uint64_t key = slab_store.secret ^ (uintptr_t)s, words[3];

	memcpy(words, s, sizeof(words));
	words[1] = words[1] << 21 | words[1] >> 43;
	words[2] = words[2] << 42 | words[2] >> 22;
	return (uint32_t)(hash_fast(words[0] ^ words[1] ^ words[2] ^ key) >> 32);
}

static inline void slab_seal(struct slab *s)
{
	s->seal = slab_seal_of(s);
}

static inline bool slab_is_sealed(const struct slab *s)
{
	return s->seal == slab_seal_of(s);
}

static inline uint64_t segment_seal_of(const struct segment *g)
{
	uint64_t key = slab_store.secret ^ (uintptr_t)g ^ g->is_own;

	return (g->used + key) * HASH_FACTOR + g->dirty * HASH_FACTOR2 +
	       (g->fixed ^ g->cells) * HASH_FACTOR3;
}

static inline bool segment_is_sealed(const struct segment *g)
{
	return g->seal == segment_seal_of(g);
}

/* What the page map has for slabs of class. */
static inline uint16_t slab_bin_of(unsigned int class)
{
	if (class >= CLASS_COUNT)
		return 0;
	if (slab_classes[class].slots == QUAD)
		class += CLASS_WIDE_COUNT;
	return (uint16_t)(class * SLAB_BIN_SIZE);
}

/* Whether s is closed to the short way: S6. One of the library's own objects always is. */
static inline bool slab_is_closed(const struct slab *s)
{
	return !segment_bins(segment_of(s))[s->slot];
}

/* slab_check.c: lock all classes and the store. */
void slab_lock_all(void);
void slab_unlock_all(void);

/* slab.c: end the process if the seal of s, of class c, does not fit. */
void slab_require_sealed(const struct slab_class *c, const struct slab *s);

/* slab.c: file s, which has a free cell and is in no list, as touched. */
void slab_link(struct slab_class *c, struct slab *s);

/* slab.c: file s, which has a free cell, in bucket of its class and shard. */
void slab_move(struct slab_class *c, struct slab *s, uint8_t bucket);

/*
 * slab_pages.c: end the process if cell, which is free, has lost its mark: whoever was given it
 * when it was freed once more has it now, or somebody has written to it. The lock of s's class is
 * held.
 */
void slab_require_mark(const struct slab *s, void *cell);

/* slab_pages.c: closed slab s, of users' cells, gives n free ones to a cache. */
void slab_open(struct slab *s, void **cells, unsigned int n) __attribute__((cold));

/* slab_pages.c: give back free pages of class's slabs; true if there were any. Not entered. */
bool slab_trim_pages(unsigned int class);

/*
 * The same for sparse slabs of all classes that have been idle since the last time; a bounded
 * number of them. Nothing entered.
 */
void slab_sweep_pages(void);

/* segment.c. */

/* Lock the store; only under a class's lock, or none. */
void store_lock(void);
void store_unlock(void);

/* The pages of n slots from slot on. */
static inline struct page_run slot_pages(unsigned int slot, unsigned int n)
{
	return (struct page_run){slot * SLOT_PAGES, (slot + n) * SLOT_PAGES};
}

/* A new slab for class, nothing carved; NULL with errno ENOMEM. */
struct slab *segment_take(unsigned int class);

/* Set the entries of s in the page map. */
void segment_set_bins(const struct slab *s, uint16_t bin);

/* s, whose cells are all free, becomes free slots. */
void segment_give(struct slab *s);

/* The following want the store locked. */

/* End the process if the seal of g does not fit. */
void segment_require_sealed(const struct segment *g);

/*
 * The segment with the best place for n pages aligned to align pages, a power of two; *place is
 * where. NULL with errno ENOMEM.
 */
struct segment *segment_find_run(size_t n, size_t align, struct page_run *place);

/* The pages of run are taken; whether all of them read as zero. */
bool segment_take_pages(struct segment *g, struct page_run run);

/* They are free, and dirty. */
void segment_give_pages(struct segment *g, struct page_run run);

/* The maps of g have changed anywhere: what follows from them is made anew. */
void segment_update(struct segment *g);

/* Take g, in which nothing is, out of all sets, and unmap it. False: the kernel would not. */
bool segment_unmap(struct segment *g);

/* purge.c. */

/*
 * Give back whole pages of the store's; 0 or -1. No lock. Where some are locked, up to *left pages
 * go one by one: sys_purge_apart. Callers begin with PURGE_PIECES.
 */
int segment_purge_apart(void *p, size_t size, size_t *left);
