/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Allocation as the C library's names want it: small objects from per-thread caches of cells over
 * the store (slab.h), everything else is large (large.h). Sizes and alignments are in
 * bytes, call is the name of the public function for the report of a bad pointer. Any thread may
 * call.
 *
 * The short way of malloc and free is here. A thread's cache has a bin for every class with a
 * magazine of cells (magazine.h), and both ways end in a tail call to the slow path if anything is
 * out of the ordinary: no cell, no room, no cache yet, a large size, a pointer that is not a cell's
 * start, a cell that was freed twice.
 *
 * free marks a cell: CELL_FREED in its first word. malloc takes only marked cells, and takes the
 * mark off. So a cell that was freed twice is handed out once at most: where its second entry
 * comes up, there is no mark. free itself does not read the cell, which would wait for memory; it
 * only compares its address with the cell freed last. A program may have that number in a live
 * cell; the slow paths that find it look whether the cell really is in a magazine, or in the store.
 */

#pragma once

#include <stdatomic.h>

#include "magazine.h"

struct bin {
	void **top; /* in its magazine, or in tcache_no_cells; see magazine.h */
	uint32_t magic; /* of the class */
	uint32_t taken; /* cells from the store */
};

_Static_assert(sizeof(struct bin) == SLAB_BIN_SIZE, "slab_page_map has offsets of bins");
_Static_assert(SLAB_BIN_SIZE == CELL_ALIGN, "a small size, rounded up, is the offset of its bin");

struct tcache; /* starts with its bins, by class */

/*
 * fast is the cache whose bins the short way uses: the thread's own, or tcache_none where every
 * call is to take the slow path. own is the thread's cache, NULL before it has one, TCACHE_ENDED
 * when its last destructors run.
 */
struct tcache_thread {
	struct tcache *fast;
	struct tcache *own;
	unsigned int early_frees; /* before there was an own cache */
};

extern _Thread_local struct tcache_thread tcache_thread SLAB_HIDDEN;
extern const struct tcache tcache_none;

/* See the head of this file, and interpose.c for what they promise. */
void *tcache_alloc_slow(size_t size);
void *tcache_alloc_zeroed(size_t size);
void *tcache_alloc_aligned(size_t size, size_t align);
void tcache_free_slow(const char *call, void *p);
void *tcache_realloc(const char *call, void *p, size_t size); /* p not NULL, size not 0 */
size_t tcache_usable_size(const char *call, void *p);

/*
 * Report p, which is not NULL, if what has been allocated there cannot have been size bytes. With
 * is_resizable it may have come from realloc, which keeps more than it is asked for.
 */
void tcache_check_size(const char *call, void *p, size_t size, bool is_resizable);

/* The same for what was allocated aligned to align, a power of two. */
void tcache_check_aligned(const char *call, void *p, size_t size, size_t align);

/* Report p, which is not NULL, if it cannot have been allocated aligned to align. */
void tcache_check_align(const char *call, void *p, size_t align);

static inline struct bin *tcache_bin_at(struct tcache *tc, size_t offset)
{
	return (struct bin *)(void *)((char *)tc + offset);
}

/* Put cell into bin's magazine, which has room. */
static inline __attribute__((always_inline)) void bin_push(struct bin *bin, void *cell)
{
	bin->top[-1] = cell;
	/* A fork may copy this thread between any two instructions: no garbage above top. */
	atomic_signal_fence(memory_order_release);
	bin->top--;
}

/*
 * The mark of a cell that leaves its magazine for a user. A fork may copy this thread before: the
 * cell is lost then, but none in a magazine is without its mark.
 */
static inline __attribute__((always_inline)) void *cell_unmark(void *cell)
{
	atomic_signal_fence(memory_order_release);
	*cell_word(cell) = 0;
	return cell;
}

/* A cell of bin's magazine for a user; slow(size) if there is none, or it has lost its mark. */
static inline __attribute__((always_inline)) void *bin_alloc_or(struct bin *bin, size_t size,
								void *(*slow)(size_t size))
{
	void *cell = *bin->top;

	__asm__("" : "+a"(cell)); /* where it is returned: else it is moved there at last */
	if (__builtin_expect(*cell_word(cell) != CELL_FREED, 0))
		return slow(size);
	__builtin_prefetch(bin->top[2], 1); /* the second next: the next one may come too soon */
	atomic_signal_fence(memory_order_release); /* top is added to in memory: one instruction */
	bin->top++;
	return cell_unmark(cell);
}

/*
 * slow is what to end in if anything is out of the ordinary: tcache_alloc_slow, or what ends there.
 */
static inline __attribute__((always_inline)) void *tcache_alloc_or(size_t size,
								   void *(*slow)(size_t size))
{
	size_t offset = (size + CELL_ALIGN - 1) & ~(CELL_ALIGN - 1); /* of bin 0, for size 0 */

	if (__builtin_expect(size > CELL_FINE_MAX, 0))
		return slow(size);
	return bin_alloc_or(tcache_bin_at(tcache_thread.fast, offset), size, slow);
}

/* The same for what tcache_alloc_or ends in, where most calls are for cells above CELL_FINE_MAX. */
static inline __attribute__((always_inline)) void *tcache_alloc_wide_or(size_t size,
									void *(*slow)(size_t size))
{
	size_t offset;

	if (size - CELL_FINE_MAX - 1 >= CELL_MAX - CELL_FINE_MAX)
		return slow(size);
	offset = class_of_size(size) * SLAB_BIN_SIZE;
	return bin_alloc_or(tcache_bin_at(tcache_thread.fast, offset), size, slow);
}

static inline __attribute__((always_inline)) void *tcache_alloc(size_t size)
{
	return tcache_alloc_or(size, tcache_alloc_slow);
}

/*
 * Whether p, where there is a cell's start, is what malloc(size) returns; false means that
 * tcache_check_size has to look.
 */
static inline __attribute__((always_inline)) bool tcache_has_size(const void *p, size_t size)
{
	size_t slab = ((uintptr_t)p - slab_window) >> SLAB_SHIFT, offset;

	if (__builtin_expect(slab >= WINDOW_SLABS, 0))
		return false;
	if (__builtin_expect(size - 1 < CELL_FINE_MAX, 1)) /* where there is no cell, 0 would do */
		offset = (size + CELL_ALIGN - 1) & ~(CELL_ALIGN - 1);
	else if (size - 1 < SLAB_CELL_MAX)
		offset = class_of_size(size) * SLAB_BIN_SIZE;
	else
		return false;
	return slab_page_map[slab] == offset;
}

/* The same for size bytes aligned to align; false means tcache_check_aligned. */
static inline __attribute__((always_inline)) bool tcache_has_aligned(const void *p, size_t size,
								     size_t align)
{
	return tcache_has_size(p, (size + align - 1) & ~(align - 1)) &&
	       !((uintptr_t)p & (align - 1));
}

/* Whether all cells where p is are aligned to align; false means tcache_check_align. */
static inline __attribute__((always_inline)) bool tcache_has_align(const void *p, size_t align)
{
	size_t slab = ((uintptr_t)p - slab_window) >> SLAB_SHIFT;

	/* Up to CELL_FINE_MAX, what the table has for cells is their size. */
	return __builtin_expect(slab < WINDOW_SLABS, 1) &&
	       (size_t)slab_page_map[slab] - 1 < CELL_FINE_MAX &&
	       !(slab_page_map[slab] & (align - 1));
}

/* Put p, the start of a cell of bin's class, into its magazine; false: p is free, or no room. */
static inline __attribute__((always_inline)) bool tcache_push(struct bin *bin, void *p)
{
	if (__builtin_expect(*bin->top == p, 0))
		return false;
	if (__builtin_expect((uintptr_t)bin->top % MAGAZINE_SIZE == 0, 0))
		return false;
	bin->top[-1] = p;
	*cell_word(p) = CELL_FREED;
	atomic_signal_fence(memory_order_release);
	bin->top--;
	return true;
}

/* Put p into a magazine of the thread, if it is a cell and there is nothing else to be done. */
static inline __attribute__((always_inline)) bool tcache_put(void *p)
{
	size_t slab = ((uintptr_t)p - slab_window) >> SLAB_SHIFT;
	struct bin *bin;

	if (__builtin_expect(slab >= WINDOW_SLABS, 0))
		return false;
	bin = tcache_bin_at(tcache_thread.fast, slab_page_map[slab]);
	/* Only the start of a cell may be written to. A bin that no cell belongs to is full. */
	if (__builtin_expect(!slab_is_multiple(p, bin->magic), 0))
		return false;
	return tcache_push(bin, p);
}

static inline __attribute__((always_inline)) void tcache_free(const char *call, void *p)
{
	if (__builtin_expect(!tcache_put(p), 0))
		tcache_free_slow(call, p);
}

/* Give back all that is free, of this thread's cache too; true if anything was given back. */
bool tcache_trim(void);

/*
 * Memory was refused: the same, if anything may have become free since the last time. False: to try
 * again is no use.
 */
bool tcache_reclaim(void);

/* Why a thread's calls all take the slow path. */
enum tcache_mode {
	TCACHE_COUNTS = 1, /* they are counted */
	TCACHE_PERTURBS = 2, /* cells are filled, as M_PERTURB says */
	TCACHE_TRACES = 4, /* the layer above writes a trace of them */
	TCACHE_HARDENED = 8, /* from the first call on, or never: hardened.h */
};

/* Switch modes on or off, for all threads. */
void tcache_set_mode(enum tcache_mode mode, bool is_on);
void tcache_set_perturb(unsigned char value); /* 0: off */

/* Nothing goes to the kernel by itself while that is all there is; SIZE_MAX: never. */
void tcache_set_trim_threshold(size_t size);

struct tcache_stats {
	size_t caches;
	size_t cached_cells, cached_bytes; /* in magazines */
	size_t spans, span_bytes; /* that threads keep */
	size_t allocs, frees, reallocs; /* of cells, while TCACHE_COUNTS is on */
};

void tcache_get_stats(struct tcache_stats *stats);

/* Cells of one class that wait, for threads or with them. */
struct tcache_class_stats {
	size_t with_threads, in_depots;
};

void tcache_get_class(unsigned int class, struct tcache_class_stats *stats);

/* What one thread has cached. */
struct tcache_thread_stats {
	uint32_t id; /* of the thread, as the kernel has it */
	size_t cells, bytes;
};

/* Those of all threads that have a cache, room of them at most; how many there are. */
size_t tcache_list(struct tcache_thread_stats *threads, size_t room);

/* If not NULL, called by every look at the clock, with nothing locked. */
extern void (*tcache_on_look)(void);

/*
 * Check every invariant of caches, magazines and store: NULL or the text of the first broken one.
 */
const char *tcache_check(void);
