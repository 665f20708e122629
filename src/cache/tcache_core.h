/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * The inside of the thread caches, shared by tcache.c, tcache_large.c and tcache_resize.c (the slow
 * paths), hardened.c, threads.c (caches come and go), tcache_sweep.c (what is cached goes back),
 * tcache_fork.c and tcache_check.c. Nobody else includes this.
 *
 * Invariants, checked by tcache_check:
 *	C1 top is in a magazine of the bin's class, or in tcache_no_cells; what is between top and
 *	   the end is cells of the class
 *	C2 a spare is empty or full, and its count says which
 *	C3 every cache is in the list of caches, and prev undoes next
 */

#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "lock.h"
#include "span_cache.h"
#include "tcache.h"
#include "tunables.h"

#define CLASS_CACHE CLASS_OWN_4096
#define CACHE_SIZE ((size_t)4096)

struct tcache {
	/*
	 * C1; written by its thread only. Those of CLASS_COUNT and up stay as tcache_none has them.
	 */
	struct bin bins[SLAB_BIN_COUNT];
	struct magazine *spares[CLASS_COUNT]; /* C2 */
	void **seen[CLASS_COUNT]; /* top at the last sweep */
	bool was_flushed[CLASS_COUNT]; /* the bin had a magazine before */
	struct tcache *next, *prev; /* C3; guarded by caches.lock */
	struct tcache_thread *thread; /* whose cache it is; NULL when that is gone */
	size_t allocs, frees, reallocs; /* while TCACHE_COUNTS is on */
	uint32_t id; /* of its thread, as the kernel has it */
	unsigned int shard; /* of the depots */
	unsigned int ticks;
	unsigned int vacant_since; /* the sweep that was last when its thread ended */
	_Atomic(unsigned int) watched_from; /* the sweep that was last when the watch began */
	unsigned int ticks_seen, idle_sweeps; /* of the last sweeps; guarded by caches.lock */
	uint64_t trim_asked_ms; /* guarded by caches.lock */
	_Atomic(unsigned int) watch; /* not 0: every call takes the slow path; see tcache_tick */
	_Atomic(unsigned char) asked; /* by another thread: served by tcache_watch */
	size_t opened; /* bytes of cells in bins that have got a magazine lately */
	unsigned int reopened; /* bins that had been flushed too soon, up to OPEN_SHIFT_MAX */
	size_t filled; /* bytes of magazines that have been filled since a look at the limit */
	size_t dirty_low, dirty_seen; /* what could go to the kernel: see note_dirt */
	struct quarantine *quarantine; /* see hardened.c; NULL, or there was no memory for it */
	struct span_cache *spans; /* C4; span_cache_none before the first span is freed */
};

_Static_assert(sizeof(struct tcache) <= CACHE_SIZE, "a cache has a cell to itself");

#define TCACHE_ENDED ((struct tcache *)1)

/* A magazine that is empty, full, and never written. */
extern void *const tcache_no_cells[MAGAZINE_SIZE / sizeof(void *)]
	__attribute__((aligned(MAGAZINE_SIZE)));

/* All caches. */
struct caches {
	struct lock lock; /* guards what is not atomic here; above the store's locks */
	struct tcache *first;
	_Atomic(size_t) count;
	_Atomic(unsigned int) sweeps;
	_Atomic(unsigned int) watched_at; /* behind which what caches hold was watched */
	_Atomic(size_t) dirty_seen; /* when all caches were last told to watch */
	size_t allocs, frees, reallocs; /* of caches that are gone */
	struct tcache *vacant[SLAB_SHARDS][VACANT_MAX]; /* in the list, and no thread has them */
	_Atomic(unsigned int) vacant_count;
	_Atomic(unsigned int) modes;
	_Atomic(unsigned char) perturb;
	bool is_decided; /* whether TCACHE_HARDENED is to be on */
};

extern struct caches tcache_all;

static inline bool bin_has_magazine(const struct bin *bin)
{
	return bin->top != (void **)(uintptr_t)tcache_no_cells;
}

/* Cells in the magazines that tc has of class. */
static inline size_t tcache_magazine_cells(const struct tcache *tc, unsigned int class)
{
	void **top = tc->bins[class].top; /* which may change now, if it is another thread's */
	const struct magazine *spare = tc->spares[class];
	size_t n = spare ? spare->count : 0;

	if (top == (void **)(uintptr_t)tcache_no_cells)
		return n;
	return n + (size_t)(&magazine_of(top)->cells[magazine_capacity(class)] - top);
}

/* Make the calling thread's cache; NULL without memory. */
struct tcache *tcache_new(void);

/* The calling thread's cache, made now if need be; NULL also when the thread is at its end. */
static inline struct tcache *tcache_own(void)
{
	struct tcache *tc = tcache_thread.own;

	if (__builtin_expect(!tc, 0))
		return tcache_new();
	return tc == TCACHE_ENDED ? NULL : tc;
}

/* The same for a free: NULL also while the thread has freed too little to need a cache. */
struct tcache *tcache_for_free(void);

static inline bool tcache_is_hardened(void)
{
	return atomic_load_explicit(&tcache_all.modes, memory_order_relaxed) & TCACHE_HARDENED;
}

/* Let the short way use tc again, unless something wants every call. */
void tcache_set_fast(struct tcache *tc);

/* threads.c: give everything in tc back, and tc. Its thread no longer uses it. */
void tcache_retire(struct tcache *tc);

/* The same with caches that threads have left before the last sweep; with all, at any time. */
void tcache_retire_vacant(bool all);

/* Lock the list of caches. */
void caches_enter(void);
void caches_leave(void);

/* tcache_fork.c: make this process, a fork's child, whole. Its caller has nothing locked. */
void tcache_fork_child(void);

/* tcache_sweep.c: everything in tc goes to the store, or the page heap. */
void tcache_flush(struct tcache *tc);

/* Flush the bins of tc with more than most bytes of cells; how many bytes all others have. */
size_t tcache_flush_over(struct tcache *tc, size_t most);

/* A thread leaves memory that could go to the kernel: the next to allocate looks after it. */
void tcache_watch_dirt_locked(void);

/*
 * A bin of tc is empty or full, the store is near: sweep if it is time, and watch tc's calls or no
 * longer. Bins may be flushed.
 */
void tcache_tick(struct tcache *tc);

/* The same for a cell: while nothing is watched, every fourth visit, for each changes little. */
static inline void tcache_tick_cell(struct tcache *tc)
{
	if (__builtin_expect(!tc->watch && (tc->ticks + 1) % CELL_TICKS, 1))
		tc->ticks++;
	else
		tcache_tick(tc);
}

/* tcache_tick for the caller's cache, made now if it is to have one, after a large free. */
void tcache_tick_free(void);

/* tcache_tick_cell where the bin of class is full: a cache that has too much is flushed. */
void tcache_tick_full(struct tcache *tc, unsigned int class);

/* A bin of class gets a magazine. Bins that have one may be flushed. */
void tcache_open_bin(struct tcache *tc, unsigned int class);

/* Look at the clock, and sweep if it is time. What a sweep leaves is watched until it is old. */
void tcache_look(struct tcache *tc);

/* What tc's thread is to do with its next call. Nobody else may touch its cache. */
enum {
	ASKED_TO_SHRINK = 1,
	ASKED_TO_FLUSH,
	ASKED_TO_TRIM,
};

/* tc's thread is the only one, or the list of caches is entered. */
void tcache_ask(struct tcache *tc, unsigned char what);

void tcache_serve(struct tcache *tc);

/* A call while tc->watch is not 0. */
static inline void tcache_watch(struct tcache *tc)
{
	if (__builtin_expect(tc->asked, 0))
		tcache_serve(tc);
	else if (++tc->ticks % WATCH_TICKS == 0)
		tcache_look(tc);
}

/*
 * A cell for the caller, or NULL. *fresh, which may be NULL and was false: it is known to be zero,
 * but for CELL_FREED.
 */
void *tcache_take_cell(unsigned int class, bool *fresh);

/* Put cell, which is not to be marked as free, into a magazine or the store. */
void tcache_put_cell(unsigned int class, void *cell);

/* Report cell, which waited in a cache for a user: it has lost its mark, or should not be there. */
void tcache_bad_cell(unsigned int class, void *cell) __attribute__((cold));

/* Report p, which is no live cell's start by what slab_find says of it. */
void tcache_bad_pointer(const char *call, void *p, const struct cell_ref *cell)
	__attribute__((noreturn, cold));

/* The class of p, which is live; 0 if it is no cell, and perhaps a large object. */
unsigned int tcache_live_class_slow(const char *call, void *p);

static inline unsigned int tcache_live_class(const char *call, void *p)
{
	unsigned int class = slab_class_of(p);

	return class && *cell_word(p) != CELL_FREED ? class : tcache_live_class_slow(call, p);
}

/* tcache_large.c: large objects, or what has to do where there is no cell. */
void *tcache_alloc_large(size_t size, size_t align, bool zero);
/* What tc, which may be NULL, has not kept: where there is no memory, what is free goes first. */
void *tcache_alloc_other(struct tcache *tc, size_t size, size_t align, bool zero);
void tcache_free_span(const char *call, void *p); /* span_is_near(p) */
void tcache_free_mapping(const char *call, void *p);

/* The smallest class whose cells have size bytes and are aligned to align; CLASS_COUNT: none. */
unsigned int tcache_class_of(size_t size, size_t align);

/*
 * Whether what is resized to size bytes, and has room for as many, may keep that. Above 256 bytes a
 * quarter too much is worth a copy, and below, what is twice too large.
 */
static inline bool tcache_may_keep(size_t room, size_t size)
{
	if (size > room)
		return false;
	return size > 256 ? room - size <= size / 4 : size >= room / 2;
}

/*
 * When a class comes into use, or where many have, now and then: report a cell that tc, the
 * caller's, would hand out soon if it is none or was written to. Not hardened, which looks at each
 * when it is handed out.
 */
void tcache_audit_first(const struct tcache *tc);

/* How many cells of class tc has. */
size_t tcache_cached_cells(const struct tcache *tc, unsigned int class);

/* Whether cell is in a magazine of a thread or a depot. Racy where other threads run. */
bool tcache_is_cached(unsigned int class, const void *cell);
