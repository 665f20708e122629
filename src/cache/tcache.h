/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Thread caches: the allocator behind the C library's names. Small objects are cells from caches
 * that each thread uses without a lock, filled from the store (slab.h). All others are large
 * (large.h).
 *
 * Sizes and alignments are in bytes; alignments are powers of two. Any thread may call any
 * function, unless its comment says otherwise. Allocations return NULL with errno ENOMEM when
 * memory is exhausted; frees preserve errno. call is the public function that a misuse report
 * names; misuse is fatal unless it is tolerated (sys_misuse). Then frees do nothing.
 *
 * The fast path of malloc and free is inlined from here. A cache has a bin with a magazine
 * (magazine.h) for every class. Anything unusual ends in a tail call to the slow path: an empty or
 * full bin, no cache yet, a large size, a pointer that is not the start of a cell, a double free.
 *
 * free writes a mark, CELL_FREED, into the first word of the cell. malloc takes only marked cells
 * and removes the mark. So a cell that was freed twice is handed out at most once: its second entry
 * is found without a mark. free does not read the cell, which would wait for memory; it only
 * compares its address with the cell freed last. A live cell may hold the value of the mark by
 * chance: so slow paths that find it check whether the cell really is in a magazine or the store.
 */

#pragma once

#include <stdatomic.h>

#include "arch.h"
#include "magazine.h"

struct bin {
	void **top; /* the next cell: in a magazine (magazine.h) or tcache_no_cells */
	uint32_t magic; /* of the class; see slab_is_multiple */
	uint32_t taken; /* cells taken from the store so far */
};

_Static_assert(sizeof(struct bin) == SLAB_BIN_SIZE, "a page map has offsets of bins");
_Static_assert(SLAB_BIN_SIZE == CELL_ALIGN, "a small size, rounded up, is the offset of its bin");

struct tcache; /* starts with its bins, indexed by class */

/*
 * The fast path of malloc uses the bins of fast, that of free those of fast_free. Each is own, or
 * tcache_none while every such call has to take the slow path. own is the thread's cache: NULL
 * before it has one, TCACHE_ENDED if it gets none any more. Other threads may write fast and
 * fast_free (tcache_set_fast), not own.
 */
struct tcache_thread {
	struct tcache *fast;
	struct tcache *fast_free;
	struct tcache *own;
};

extern _Thread_local struct tcache_thread tcache_thread SLAB_HIDDEN;

/* Frees before the thread had a cache. Apart: there is little room for initial-exec variables. */
extern _Thread_local uint16_t tcache_early_frees SLAB_HIDDEN;

extern const struct tcache tcache_none;

/* The slow paths. Their contracts are those of malloc(3) and its relatives. */
void *tcache_alloc_slow(size_t size);
void *tcache_alloc_zeroed(size_t size);
void *tcache_alloc_aligned(size_t size, size_t align);

/*
 * An object of whole pages, of any size; zero: the first size bytes are zero. Its free always takes
 * the slow path. Hardened, where every free does, it may be a cell.
 */
void *tcache_alloc_apart(size_t size, size_t align, bool zero);
void tcache_free_slow(const char *call, void *p);
void *tcache_realloc(const char *call, void *p, size_t size); /* p not NULL, size not 0 */
size_t tcache_usable_size(const char *call, void *p); /* 0 for a p that was reported */

/* Whether p, not NULL, is a live block; otherwise it was reported. */
bool tcache_is_block(const char *call, void *p);

/*
 * Report p, not NULL, if the block there cannot have been allocated with size bytes. is_resizable:
 * it may come from realloc, which keeps blocks that are larger than needed. False if it was
 * reported, and must not be freed.
 */
bool tcache_check_size(const char *call, void *p, size_t size, bool is_resizable);

/* The same for a block that was allocated with alignment align. */
bool tcache_check_aligned(const char *call, void *p, size_t size, size_t align);

/* The same, only for the alignment. */
bool tcache_check_align(const char *call, void *p, size_t align);

/*
 * For the layer that samples: the bytes until its next sample, -1 at first. Only the owner of tc
 * uses it; never written in tcache_none.
 */
static inline int64_t *tcache_sample_left(struct tcache *tc)
{
	return (int64_t *)(void *)((char *)tc + SLAB_BIN_COUNT * SLAB_BIN_SIZE);
}

/* The caller's cache, created if need be, or NULL. */
struct tcache *tcache_of_thread(void);

static inline struct bin *tcache_bin_at(struct tcache *tc, size_t offset)
{
	return (struct bin *)(void *)((char *)tc + offset);
}

/* Push cell into bin's magazine, which is not full. */
static inline __attribute__((always_inline)) void bin_push(struct bin *bin, void *cell)
{
	bin->top[-1] = cell;
	/* A fork may happen between any two instructions: write the entry before top. */
	atomic_signal_fence(memory_order_release);
	bin->top--;
}

/*
 * Remove the mark of a cell that has left its magazine for a user. A fork before that loses the
 * cell, but leaves no unmarked cell in a magazine.
 */
static inline __attribute__((always_inline)) void *cell_unmark(void *cell)
{
	atomic_signal_fence(memory_order_release);
	*cell_word(cell) = 0;
	return cell;
}

/* Pop a cell of bin for a user. If there is none, or it has lost its mark, return slow(size). */
static inline __attribute__((always_inline)) void *bin_alloc_or(struct bin *bin, size_t size,
								void *(*slow)(size_t size))
{
	void *cell = arch_as_result(*bin->top);

	if (__builtin_expect(*cell_word(cell) != CELL_FREED, 0))
		return slow(size);
	__builtin_prefetch(bin->top[2], 1); /* the next but one: it is too late for the next */
	atomic_signal_fence(memory_order_release); /* so top is incremented in memory */
	bin->top++;
	return cell_unmark(cell);
}

/* Take a cell from the bins of malloc, or of free. slow is the tail call for all else. */
static inline __attribute__((always_inline)) void *tcache_alloc_in(bool is_free, size_t size,
								   void *(*slow)(size_t size))
{
	size_t offset = round_up(size, CELL_ALIGN); /* bin 0, always empty, for size 0 */

	if (__builtin_expect(size > CELL_FINE_MAX, 0))
		return slow(size);
	return bin_alloc_or(
		tcache_bin_at(is_free ? tcache_thread.fast_free : tcache_thread.fast, offset), size,
		slow);
}

/* The fast path of malloc. slow is the tail call for all else, and ends in tcache_alloc_slow. */
static inline __attribute__((always_inline)) void *tcache_alloc_or(size_t size,
								   void *(*slow)(size_t size))
{
	return tcache_alloc_in(false, size, slow);
}

/* The same for sizes above CELL_FINE_MAX; the slow of tcache_alloc_or may call it. */
static inline __attribute__((always_inline)) void *tcache_alloc_wide_or(size_t size,
									void *(*slow)(size_t size))
{
	size_t offset;

	if (size - CELL_FINE_MAX - 1 >= CELL_MAX - CELL_FINE_MAX)
		return slow(size);
	offset = class_of_size(size) * SLAB_BIN_SIZE;
	return bin_alloc_or(tcache_bin_at(tcache_thread.fast, offset), size, slow);
}

/* The same for all sizes of cells, where malloc takes the slow path and free does not. */
static inline __attribute__((always_inline)) void *tcache_alloc_open_or(size_t size,
									void *(*slow)(size_t size))
{
	if (size - 1 >= CELL_MAX)
		return slow(size);
	return bin_alloc_or(
		tcache_bin_at(tcache_thread.fast_free, class_of_size(size) * SLAB_BIN_SIZE), size,
		slow);
}

/* For callers that do not count or sample the call: they have, or another call does. */
static inline __attribute__((always_inline)) void *tcache_alloc(size_t size)
{
	return tcache_alloc_in(true, size, tcache_alloc_slow);
}

/* Whether the cell at p is of the class of malloc(size). If false, call tcache_check_size. */
static inline __attribute__((always_inline)) bool tcache_has_size(const void *p, size_t size)
{
	const struct page_map *map = slab_first_page_map();
	size_t slot = slab_slot_in(map, p), offset;

	if (__builtin_expect(slot >= map->slots, 0))
		return false;
	if (__builtin_expect(size - 1 < CELL_FINE_MAX, 1)) /* not 0: no cell has that bin */
		offset = round_up(size, CELL_ALIGN);
	else if (size - 1 < SLAB_CELL_MAX)
		offset = class_of_size(size) * SLAB_BIN_SIZE;
	else
		return false;
	return map->bins[slot] == offset;
}

/* The same for size bytes aligned to align. If false, call tcache_check_aligned. */
static inline __attribute__((always_inline)) bool tcache_has_aligned(const void *p, size_t size,
								     size_t align)
{
	return tcache_has_size(p, round_up(size, align)) && !((uintptr_t)p & (align - 1));
}

/* Whether all cells of the slab at p are aligned to align. If false, call tcache_check_align. */
static inline __attribute__((always_inline)) bool tcache_has_align(const void *p, size_t align)
{
	const struct page_map *map = slab_first_page_map();
	size_t slot = slab_slot_in(map, p);

	/* For cells of up to CELL_FINE_MAX bytes, the page map holds the cell size. */
	return __builtin_expect(slot < map->slots, 1) &&
	       (size_t)map->bins[slot] - 1 < CELL_FINE_MAX && !(map->bins[slot] & (align - 1));
}

/* Mark and push p, the start of a cell. False if bin is full or p was freed last. */
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

/* The fast path of free. False if p needs the slow path. */
static inline __attribute__((always_inline)) bool tcache_put(void *p)
{
	const struct page_map *map = slab_first_page_map();
	size_t slot = slab_slot_in(map, p);
	struct bin *bin;

	if (__builtin_expect(slot >= map->slots, 0))
		return false;
	bin = tcache_bin_at(tcache_thread.fast_free, map->bins[slot]);
	/* Mark nothing but the start of a cell. A bin without a class is always full. */
	if (__builtin_expect(!slab_is_multiple(p, bin->magic), 0))
		return false;
	return tcache_push(bin, p);
}

static inline __attribute__((always_inline)) void tcache_free(const char *call, void *p)
{
	if (__builtin_expect(!tcache_put(p), 0))
		tcache_free_slow(call, p);
}

/* Return all free memory to the kernel, including this thread's cache. True if any was returned. */
bool tcache_trim(void);

/* The same when memory was refused. False: nothing was freed since the last call, do not retry. */
bool tcache_reclaim(void);

/*
 * Return memory on behalf of threads that sleep: tcache_background.c. One thread calls it, which
 * may have no cache. Returns the milliseconds until it should do so again.
 */
unsigned int tcache_background(void);

/* Modes in which all calls, or all that allocate (TCACHE_SAMPLES), take the slow path. */
enum tcache_mode {
	TCACHE_COUNTS = 1, /* calls are counted */
	TCACHE_PERTURBS = 2, /* cells are filled as M_PERTURB says */
	TCACHE_TRACES = 4, /* the layer above traces calls */
	TCACHE_HARDENED = 8, /* decided by the first call: hardened.h */
	TCACHE_COURSE = 64, /* the same: course.h */
	TCACHE_SAMPLES = 16, /* the layer above samples allocations */
	TCACHE_TOLERATES = 32, /* misuse is tolerated, so each free validates its pointer first */
};

/* Whether the block list serves malloc (TCACHE_COURSE). Decides it if no call has. */
bool tcache_serves_course(void);

/* Switch mode for all threads. Takes effect with a thread's next call. */
void tcache_set_mode(enum tcache_mode mode, bool is_on);
void tcache_set_perturb(unsigned char value); /* 0: off */

/* Do not scavenge up to size dirty bytes. SIZE_MAX: never scavenge. */
void tcache_set_trim_threshold(size_t size);

struct tcache_stats {
	size_t caches;
	size_t cached_cells, cached_bytes; /* in magazines, depots and quarantines */
	size_t spans, span_bytes; /* in page caches of threads */
	size_t allocs, frees, reallocs; /* of cells; complete only while TCACHE_COUNTS is on */
};

void tcache_get_stats(struct tcache_stats *stats);

/* Cached cells of one class. */
struct tcache_class_stats {
	size_t with_threads, in_depots;
};

void tcache_get_class(unsigned int class, struct tcache_class_stats *stats);

/* The cached cells of one thread. */
struct tcache_thread_stats {
	uint32_t id; /* the kernel's thread id */
	size_t cells, bytes;
};

/* Fill threads with at most room entries. Returns the number of threads that have a cache. */
size_t tcache_list(struct tcache_thread_stats *threads, size_t room);

/* If not NULL, tcache_scavenge calls it each time, with nothing locked. */
extern void (*tcache_on_scavenge)(void);

/* If not NULL, a forked child calls it when the heap is repaired. */
extern void (*tcache_on_fork)(void);

/*
 * Whether cell, the start of a cell of malloc, is live: not in the store, nor cached. Reads the
 * cell. A live cell that holds the mark of free ones by chance counts as free. Other threads must
 * be stopped, and no lock held.
 */
bool tcache_is_live(const void *cell);

/* The bytes that the user of live cell has; hardened, those requested. Reads the cell. */
size_t tcache_live_size(const void *cell);

/* Call visit for each lock of malloc, in lock order. */
void tcache_each_lock(void (*visit)(struct lock *l, void *arg), void *arg);

/*
 * Check all invariants of malloc: NULL, or a static text that names the first violated one. Other
 * threads must not allocate meanwhile.
 */
const char *tcache_check(void);
