/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Core header of the thread caches, for files of this folder only.
 *
 * Invariants, checked by tcache_check:
 *	C1 top is in a magazine of the bin's class, or in tcache_no_cells; from top to the end are
 *	   cells of the class
 *	C2 a spare is empty or full, and its count says which
 *	C3 every cache is in the list of caches, and prev is the inverse of next
 */

#pragma once

#include <errno.h>

#include <pthread.h>
#include <stdatomic.h>

#include "lock.h"
#include "span_cache.h"
#include "tcache.h"
#include "tunables.h"

#define CLASS_CACHE CLASS_OWN_4096
#define CACHE_SIZE ((size_t)4096)

/* Only the owner writes what is neither atomic nor guarded by a lock. */
struct tcache {
	struct bin bins[SLAB_BIN_COUNT]; /* C1; from CLASS_COUNT on as in tcache_none */
	int64_t sample_left; /* tcache_sample_left */
	struct magazine *spares[CLASS_COUNT]; /* C2 */
	void **seen[CLASS_COUNT]; /* top at the last scavenge */
	bool was_flushed[CLASS_COUNT]; /* the bin has had a magazine before */
	struct tcache *next, *prev; /* C3; guarded by caches.lock */
	struct tcache_thread *thread; /* the owner, or NULL; written under caches.lock */
	size_t allocs, frees, reallocs; /* while TCACHE_COUNTS is on */
	uint32_t id; /* the kernel's id of the owner */
	unsigned int shard;
	unsigned int events; /* visits of the store, and polled calls */
	unsigned int vacant_since; /* tcache_all.scavenges when the owner exited */
	_Atomic(unsigned int) polling_since; /* the same when polling began */
	unsigned int events_seen; /* at the last scavenge; guarded by caches.lock */
	unsigned int idle_scavenges; /* in a row, without events; guarded by caches.lock */
	uint64_t trim_requested_ms; /* guarded by caches.lock */
	_Atomic(unsigned int) polls; /* visits until polling ends, or 0 */
	_Atomic(unsigned char) request; /* REQUEST_*, by another thread */
	size_t opened; /* bytes of one cell of each bin that got a magazine lately */
	unsigned int reopened; /* bins that were flushed too soon, up to OPEN_SHIFT_MAX */
	size_t filled; /* bytes of cells in magazines filled since limit_cached */
	size_t dirty_low, dirty_seen; /* bytes that could be purged: update_polls */
	struct quarantine *quarantine; /* hardened only; NULL if there was no memory for it */
	struct span_cache *spans; /* C4; span_cache_none until a span is freed */
};

_Static_assert(sizeof(struct tcache) <= CACHE_SIZE, "a cache has a cell to itself");
_Static_assert(offsetof(struct tcache, sample_left) == SLAB_BIN_COUNT * SLAB_BIN_SIZE,
	       "tcache_sample_left knows it");

#define TCACHE_ENDED ((struct tcache *)1)

/* A magazine that is both empty and full. Never written. */
extern void *const tcache_no_cells[MAGAZINE_SIZE / sizeof(void *)]
	__attribute__((aligned(MAGAZINE_SIZE)));

/* All caches. */
struct caches {
	struct lock lock; /* guards what is not atomic here; taken before the store's locks */
	struct tcache *first;
	_Atomic(size_t) count;
	_Atomic(unsigned int) scavenges;
	_Atomic(unsigned int) polled_at; /* scavenges + 1 at the last poll_many_caches */
	_Atomic(size_t) dirty_seen; /* dirty bytes when all threads last began to poll */
	size_t allocs, frees, reallocs; /* of destroyed caches */
	struct tcache *vacant[SLAB_SHARDS][VACANT_MAX]; /* in the list, without an owner */
	_Atomic(unsigned int) vacant_count;
	_Atomic(unsigned int) modes;
	_Atomic(unsigned char) perturb;
	bool is_decided; /* whether TCACHE_HARDENED and TCACHE_COURSE have been decided */
};

extern struct caches tcache_all;

static inline bool bin_has_magazine(const struct bin *bin)
{
	return bin->top != (void **)(uintptr_t)tcache_no_cells;
}

/* Cells in the magazines of tc's bin of class. Approximate while the owner runs. */
static inline size_t tcache_magazine_cells(const struct tcache *tc, unsigned int class)
{
	void **top = tc->bins[class].top; /* read once: the owner may change it */
	const struct magazine *spare = tc->spares[class];
	size_t n = spare ? spare->count : 0;

	if (top == (void **)(uintptr_t)tcache_no_cells)
		return n;
	return n + (size_t)(&magazine_of(top)->cells[magazine_capacity(class)] - top);
}

/* Pop a cell of bin. NULL if there is none. */
static inline void *bin_pop(struct bin *bin)
{
	void *cell = *bin->top;

	if (cell == MAGAZINE_END)
		return NULL;
	bin->top++;
	return cell;
}

static inline bool tcache_is_bin_empty(const struct tcache *tc, unsigned int class)
{
	return !tc->spares[class] && !bin_has_magazine(&tc->bins[class]);
}

/* Bytes of cells in the same. */
static inline size_t tcache_bin_bytes(const struct tcache *tc, unsigned int class)
{
	return tcache_magazine_cells(tc, class) * slab_classes[class].size;
}

/* Create the calling thread's cache. NULL when memory is exhausted. */
struct tcache *tcache_new(void);

/*
 * The caller's cache, created if need be. NULL when memory is exhausted or the thread is exiting.
 */
static inline struct tcache *tcache_own(void)
{
	struct tcache *tc = tcache_thread.own;

	if (__builtin_expect(!tc, 0))
		return tcache_new();
	return tc == TCACHE_ENDED ? NULL : tc;
}

/* The same for a free. NULL also if the thread has freed too little to need a cache. */
struct tcache *tcache_for_free(void);

static inline bool tcache_is_hardened(void)
{
	return atomic_load_explicit(&tcache_all.modes, memory_order_relaxed) & TCACHE_HARDENED;
}

static inline bool tcache_is_course(void)
{
	return atomic_load_explicit(&tcache_all.modes, memory_order_relaxed) & TCACHE_COURSE;
}

/* Whether a mode needs every call that frees, too. */
static inline bool tcache_is_closed(void)
{
	return atomic_load_explicit(&tcache_all.modes, memory_order_relaxed) & ~TCACHE_SAMPLES;
}

/* Let the fast paths use tc, unless polling or a mode needs every call. */
void tcache_set_fast(struct tcache *tc);

/* tcache_flush.c: flush and free tc, which no thread uses any more. */
void tcache_retire(struct tcache *tc);

/* Leave tc to the next thread in its shard. False if it holds too much, or enough caches wait. */
bool tcache_vacate(struct tcache *tc);

/* The same for caches left by their owners before the last scavenge, or for all vacant ones. */
void tcache_retire_vacant(bool all);

/* Lock the list of caches. */
void caches_enter(void);
void caches_leave(void);

/* tcache_fork.c: repair the heap in a fork's child. The caller holds no lock. */
void tcache_fork_child(void);

/* tcache_flush.c: flush all of tc to the store and the page heap. */
void tcache_flush(struct tcache *tc);

/* Flush all bins of tc. */
void tcache_flush_bins(struct tcache *tc);

/* Flush the bins of tc that were not used since the last call, and all spares. */
void tcache_shrink(struct tcache *tc);

/* Flush the bins of tc that hold more than most bytes. Returns the bytes in all other bins. */
size_t tcache_flush_over(struct tcache *tc, size_t most);

/* Polling: tcache_poll.c. */

#define POLL_REQUEST 1 /* value of polls: until the request is served */

/* Dirty bytes up to which nothing is scavenged. */
extern _Atomic(size_t) tcache_trim_threshold SLAB_HIDDEN;

static inline size_t tcache_over_threshold(size_t dirty)
{
	return dirty > tcache_trim_threshold ? dirty : 0;
}

/* Dirty bytes above the threshold, including those that full depots may become. */
size_t tcache_dirty_bytes(void);

/* The same with tc's page cache, and without the depots of other shards: cheap. */
size_t tcache_near_dirty_bytes(const struct tcache *tc);

/* Let tc poll for that many visits of the store; 0: not any more. */
void tcache_set_polls(struct tcache *tc, unsigned int visits);

/* Begin polling when dirty memory has grown POLL_MIN above its minimum. Any growth prolongs it. */
void tcache_update_polls(struct tcache *tc);

/* Many caches hold much: all threads poll, once between two scavenges. */
void tcache_poll_many(void);

/* A thread leaves dirty memory: let the others poll until it is purged. The list is locked. */
void tcache_poll_dirty_locked(void);

/* Called on each visit of the store: updates polling, scavenges if it is time. May flush bins. */
void tcache_note_visit(struct tcache *tc);

/* The same for cells. Without polling every fourth visit counts, as each changes little. */
static inline void tcache_note_cell_visit(struct tcache *tc)
{
	if (__builtin_expect(!tc->polls && (tc->events + 1) % CELL_VISITS, 1))
		tc->events++;
	else
		tcache_note_visit(tc);
}

/* tcache_note_visit for the caller's cache after a free of a large object. May create the cache. */
void tcache_note_free(void);

/* tcache_note_cell_visit where the bin of class is full. Flushes a cache that holds too much. */
void tcache_note_full(struct tcache *tc, unsigned int class);

/* Called when a bin of class is to get a magazine. May flush other bins. */
void tcache_open_bin(struct tcache *tc, unsigned int class);

/* Scavenge if the clock says that it is time. */
void tcache_scavenge(struct tcache *tc);

/* Requests of other threads to the owner, in order of strength. */
enum {
	REQUEST_SHRINK = 1,
	REQUEST_FLUSH,
	REQUEST_TRIM,
};

/* The list of caches is locked, or there is one thread. */
void tcache_request(struct tcache *tc, unsigned char what);

void tcache_handle_request(struct tcache *tc);

/* Flush the depots of all shards, or only what was not used since the last call. */
void tcache_shrink_depots(bool all);

/*
 * Ask idle caches but own, those without an event since the scavenge before, to shrink. True if any
 * was asked.
 */
bool tcache_shrink_idle(const struct tcache *own);

/* Whether a trim would return little, compared with the cells in use. */
bool tcache_has_little_idle(void);

/* Called with every call while tc->polls is not 0. */
static inline void tcache_poll(struct tcache *tc)
{
	if (__builtin_expect(tc->request, 0))
		tcache_handle_request(tc);
	else if (++tc->events % POLL_EVENTS == 0)
		tcache_scavenge(tc);
}

/*
 * Take a marked cell from the cache or the store; NULL when memory is exhausted. *fresh, if not
 * NULL, is false on entry and set if the cell is known to be zero but for CELL_FREED.
 */
void *tcache_take_cell(unsigned int class, bool *fresh);

/* Make room for a cell in the magazine of tc's bin of class. False when memory is exhausted. */
bool tcache_make_room(struct tcache *tc, unsigned int class);

/* Put cell, whose mark the caller has set, into a magazine or the store. */
void tcache_put_cell(unsigned int class, void *cell);

/* Report cell if it is no cell of class, or is free in the store, or has lost its mark. */
void tcache_bad_cell(unsigned int class, void *cell) __attribute__((cold));

/* Report p, of which slab_find says that it is not the start of a live cell. */
void tcache_bad_pointer(const char *call, void *p, const struct cell_ref *cell)
	__attribute__((cold));

/* Instead of a class, for a p that was reported: the call has to do nothing. */
#define CLASS_BAD UINT_MAX

/*
 * The class of the live cell that starts at p. 0 if p is not in a slab. Reports any other p, and
 * returns CLASS_BAD if misuse is tolerated.
 */
unsigned int tcache_live_class_slow(const char *call, void *p);

/*
 * The same for free while misuse is tolerated, and marks the cell: of two threads that free it at
 * the same time, one gets CLASS_BAD.
 */
unsigned int tcache_claim(const char *call, void *p);

static inline unsigned int tcache_live_class(const char *call, void *p)
{
	unsigned int class = slab_class_of(p);

	return class && *cell_word(p) != CELL_FREED ? class : tcache_live_class_slow(call, p);
}

/* The result of realloc for a p that was reported. */
static inline void *tcache_refuse(void)
{
	errno = EINVAL;
	return NULL;
}

/* tcache_large.c: large objects, and objects of any size where no cell is to be had. */
void *tcache_alloc_large(struct tcache *tc, size_t size, size_t align, bool zero);
/* The same past the page cache of tc, which may be NULL. Retries after tcache_reclaim. */
void *tcache_alloc_other(struct tcache *tc, size_t size, size_t align, bool zero);
void tcache_free_span(const char *call, void *p); /* span_is_near(p); after span_cache_put */
void tcache_free_mapping(const char *call, void *p);

/*
 * The smallest class for size bytes aligned to align; CLASS_COUNT if there is none. Slabs are
 * aligned to more than any cell: cells have every alignment that divides their size. Inline: a call
 * into another file costs aligned allocations 5 instructions for saved registers.
 */
static inline unsigned int tcache_class_of(size_t size, size_t align)
{
	unsigned int class;

	if (size > CELL_MAX || align > CELL_MAX)
		return CLASS_COUNT;
	if (align < CELL_ALIGN)
		align = CELL_ALIGN;
	class = class_of_size(size ? round_up(size, align) : align);
	while (class < CLASS_COUNT && slab_classes[class].size & (align - 1))
		class += 1;
	return class;
}

/*
 * Whether an object of room bytes may stay in place when it is resized to size. Above 256 bytes, a
 * quarter of waste is worth a copy; below, twice the size is.
 */
static inline bool tcache_may_keep(size_t room, size_t size)
{
	if (size > room)
		return false;
	return size > 256 ? room - size <= size / 4 : size >= room / 2;
}

/*
 * Report a cell that tc, the caller's cache, would hand out soon if it is invalid or was written
 * to. Called when a class comes into use. Not hardened, which validates every cell it hands out.
 */
void tcache_validate_cached(const struct tcache *tc);

/* Cells of class in tc, including those in quarantine. */
size_t tcache_cached_cells(const struct tcache *tc, unsigned int class);

/* Whether cell is in a magazine or in quarantine. Racy while other threads run. */
bool tcache_is_cached(unsigned int class, const void *cell);
