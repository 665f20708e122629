/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * What may be tuned: values that change time and memory, and no result. Sizes are in bytes. Each
 * can be changed alone, within what the static asserts of its users allow; tests that count to a
 * limit have to follow. What the sizes of classes, slabs, segments and windows are is in
 * slab/sizeclass.h and slab/slab.h: much is derived from these. The rules of os_* have their own
 * values, in osmem.c and block/block_core.h. "Tried, and lost" in README.md has figures of others.
 */

#pragma once

#include "helpers.h"

/* base */

#define SPINS 100 /* before a thread sleeps: what is guarded is mostly shorter than that */
#define NAP_NS 1000000 /* between two looks at a thread that nothing wakes for */

/* block: how the break is raised */

#ifndef COURSE_EXACT_MAX /* make bench-steps sets it */
#define COURSE_EXACT_MAX MIB /* larger heaps raise the break ahead of need, */
#endif
#define RESERVE_SHIFT 3 /* by an eighth: 58 calls from 1 MiB to 1 GiB */
#define EXACT_TRIES 2 /* where others use up the room; then enough for both is asked for */
#define SBRK_WAITS 100 /* for the lock of sbrk, whose holder may wait for the caller: a second, */
#define SBRK_WAIT_NS 10000000 /* in all */

/* slab: segments and slabs */

#define SURPLUS_BYTES (4 * MIB) /* free cells of a class; a shard takes slabs of others beyond */
#define ALIGNED_TRIES 64 /* segments that may have no aligned place, before one that must */
#define REFUSED_SKIPS 64 /* attempts at most that are not made while memory is refused */
#define HINT_TRIES 16 /* places beside other segments, before the kernel chooses */
#define WINDOW_ABOVE ((size_t)16 << 30) /* of the first: the kernel maps downwards */
#define FORK_SHARED_MIN 8 /* segments: less is not worth a longer way for each free in a child */

/* slab: what a sweep does. Page faults cost more than what it saves by haste. */

#define SWEEP_PERIOD_MS 150 /* purge_delay */
#define EARLY_SHARE 128 /* of a period, between sweeps while the process grows */
#define SPARSE_EVERY 2 /* sweeps look at sparse slabs, unless the process grows */
#define SWEEP_PURGES 512 /* slabs, 32 MiB of small ones */
#define SWEEP_MOVES (16 * 1024) /* slabs that are filed anew */
#define SWEEP_HOLD 32 /* slabs, while others wait for the class's lock */
#define CALM_SLOTS 64 /* that may be touched while others are purged, and a quarter of those */
#define PURGES_MAX 4 /* a slab that is used again each time: every 16th such sweep, then */
#define MARKED_SHARE 4 /* of a purged slab's cells: when no more are free, it is open again */
#define PURGE_PIECES 128 /* pages tried one by one where some are locked */

/* large */

#define GROWTH_SHIFT 3 /* what has grown and has to move gets an eighth more */
#define CACHED_COUNT 64 /* mappings: a list that is searched */
#define CACHED_OVER_SHIFT 2 /* a cached one may be a quarter larger than requested */
#define CROWD 4096 /* live mappings, of 65,530; what shrinks beyond becomes a span */

/* large, hardened */

#define GUARDED_MAX 5000 /* objects: with two mappings each a quarter is the library's, at most */
#define GRAVES 64 /* a power of two */
#define GRAVES_LATE 16 /* that were made before one's addresses are used again */
#define BURIED_MIN (8 * MIB) /* larger objects go back at once: that is quicker than zeroing */
#define SPARE_MAX 4 /* times its size: with 2, a log that grows takes twice the time */
#define ROOMY_MAX ((size_t)1 << 19) /* a larger object begins at a guard, too */
#define ALL_GUARDS_MAX 400 /* segments with all guards: each costs the process two mappings */
#define GUARDS_MAX 900 /* segments with any */

/* cache: what is cached */

#ifndef MAGAZINE_BYTES /* make bench-steps sets it */
#define MAGAZINE_BYTES                                                                             \
	(32 * KIB) /* of cells: with 16, batches of 1000 bytes take 1.2 of the time */
#endif
#define DEPOT_BYTES MIB /* depot_size: with 256 KiB, such batches take twice the instructions */
#define SHARD_BYTES (4 * MIB) /* in all depots of a shard */
#define FIRST_REFILL_BYTES 512 /* of a class: more could be for nothing */
#define FIRST_REFILL_MAX 16 /* cells, of these */
#define EARLY_FREES 1024 /* of a thread without a cache, before it gets one for them */
#define ZEROED_MIN ((size_t)2048) /* calloc looks for cells that are zero from here on */
#define SPAN_KEPT_MAX ((size_t)1 << 20) /* larger spans are not kept */
#define SPAN_CACHE_BYTES (2 * SPAN_KEPT_MAX) /* of spans, with a thread */
#define SPAN_CACHE_DEPTH 4 /* spans of a class, with a thread */
#define CACHED_ALL (32 * MIB) /* of cells in all caches, unless each then had less than */
#define CACHED_MIN (64 * KIB)
#define OPEN_MIN                                                                                   \
	(12 * KIB) /* of cells, one of each class that comes into use, until idle bins go */
#define OPEN_SHIFT_MAX 10 /* doublings of this, where bins went too soon */
#define VACANT_MAX 2 /* caches without a thread, in each shard: the next threads need no refills */
#define VACANT_BYTES (128 * KIB) /* of cells in such a cache, */
#define VACANT_BIN (4 * KIB) /* and in one of its bins */

/* cache: the clock, and watches. A watched pair of calls takes three times as long. */

#define STORE_TICKS 16 /* visits of the store between two looks at the clock */
#define CELL_TICKS 4 /* single cells that are a visit */
#define WATCH_TICKS 32 /* watched calls between two looks at the clock */
#define WATCH_MIN (4 * MIB) /* what the kernel could get back that is worth a watch */
#define WATCH_OTHERS (16 * MIB) /* the same of a thread that may sleep next: others watch */
#define WATCH_LEFT (128 * KIB) /* what may be left: two slabs that the calls themselves use */
#define WATCH_VISITS 256 /* visits of the store, without growth, that end a watch */
#define GROWN_MIN (2 * MIB) /* since the last sweep, for an early one */
#define GROWN_DIRTY (8 * MIB) /* that could go: more than depots in use have */
#define GROWN_SHARE 16 /* of that: a sweep looks at all of it */
#define ASK_SWEEPS 2 /* that a cache sees while it is idle */
#define FEW_CACHES 32 /* that may hold what they can */
#define ASK_PERIOD_MS 150 /* between two trims that another thread takes part in */
#define TRIMS_PERIOD_MS 1000
#define TRIMS_OF_ALL 4 /* in that period, before others leave what is used again at once: */
#define LEAVE_MIN MIB /* that much, */
#define LEAVE_PART 4 /* and a quarter of cells in use */
#define AUDITED_CELLS 16 /* of each bin, by a sweep, for double frees */
#define FIRST_AUDITED 4 /* of each bin, when a class comes into use */
#define FIRST_TICKS 8 /* visits of the store that may audit, and then every so many */

/* cache, hardened */

#define QUARANTINE_BYTES (8 * KIB) /* of a class: it is to stay in a core's first cache */
#define QUARANTINE_MAX 64 /* cells of a class */
#define QUARANTINE_MIN 4
#define QUARANTINE_SPARES 16 /* of threads that have ended */

/* trace */

#define WINDOW_RECORDS ((uint64_t)16384) /* mapped at a time, 640 KiB */
#define SNAPSHOT_SHIFT 4 /* a sixteenth of the file is for snapshots */
#define FIGURES_PERIOD_NS 10000000u /* between two records of figures */
