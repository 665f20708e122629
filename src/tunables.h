/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Tunables: values that change time and memory, but no result. Sizes are in bytes. Each can be
 * changed alone, within the limits of the static asserts of its users; tests that count to a limit
 * have to follow. The sizes of classes, slabs, segments and windows are in slab/sizeclass.h and
 * slab/slab.h, because much is derived from them. The rules of os_* have their own values, in
 * osmem.c and block/block_core.h. The READMEs of the wings end with the figures of other values.
 *
 * A scavenge flushes caches that are idle, and then sweeps the store. A sweep purges pages.
 */

#pragma once

#include "helpers.h"

/* base */

#define SPINS 100 /* before a thread sleeps: most locked sections are shorter */
#define NAP_NS 1000000 /* between two checks whether the owner of the bias is outside */

/* block: how the break is raised */

#ifndef COURSE_EXACT_MAX /* make bench-steps sets it */
#define COURSE_EXACT_MAX MIB /* larger heaps raise the break ahead of need, */
#endif
#define RESERVE_SHIFT 3 /* by an eighth: 58 calls from 1 MiB to 1 GiB */
#define EXACT_TRIES 2 /* if a hook uses up the memory; the next asks for enough in either case */
#define BREAK_GAP (64 * MIB) /* above a break that does not move; others may still raise it */
#define SBRK_WAITS 100 /* for the lock of sbrk, whose holder may wait for the caller: */
#define SBRK_WAIT_NS 10000000 /* each; a second in total */

/* slab: segments and slabs */

#define SURPLUS_BYTES (4 * MIB) /* free cells of a class; beyond, a shard adopts slabs in use */
#define ALIGNED_TRIES 64 /* segments that may have no aligned place, before one that must */
#define REFUSED_SKIPS 64 /* attempts that are skipped at most while memory is refused */
#define SEGMENT_FIRST (512 * KIB) /* of a segment that is mapped as it is needed, see segment.c, */
#define SEGMENT_STEP MIB /* and what is mapped later at most: no huge page fits in */
#define SEGMENTS_IN_STEPS 8 /* such segments: a larger heap is mapped by whole segments */
#define SEGMENT_DISTANCE (16 * MIB) /* of the first one, to what the program maps later */
#define HINT_TRIES 16 /* places beside other segments, before the kernel chooses */
#define WINDOW_ABOVE ((size_t)16 << 30) /* of the first: the kernel maps downwards */
#define WINDOW_FIRST ((size_t)1 << 30) /* of the first, before it grows to its full size, */
#define WINDOW_FIRST_ABOVE ((size_t)256 << 20) /* and above the first segment */
#define FORK_SHARED_MIN 8 /* segments: in a smaller heap, slower frees in the child cost more */

/* slab: sweeps. Page faults after an early purge cost more than the memory is worth. */

#define SWEEP_PERIOD_MS 150 /* purge_delay */
#define EARLY_SHARE 128 /* of a period, between sweeps while the process grows */
#define SPARSE_EVERY 2 /* sweeps look at sparse slabs, unless the process grows */
#define SWEEP_PURGES 512 /* slabs, 32 MiB of small ones */
#define SWEEP_MOVES (16 * 1024) /* slabs that are filed anew */
#define SWEEP_HOLD 32 /* slabs, while others wait for the class's lock */
#define CALM_SLOTS 64 /* and a quarter of the idle ones: if more are touched, none is purged */
#define PURGES_MAX 4 /* a slab that is reused after each purge waits for every 16th such sweep */
#define MARKED_SHARE 4 /* a purged slab opens when no more than this part of its cells is free */
#define PURGE_PIECES 128 /* pages tried one by one where some are locked */

/* large */

#define GROWTH_SHIFT 3 /* an object that grows and has to move gets an eighth more */
#define CACHED_COUNT 64 /* mappings: a list that is searched */
#define CACHED_OVER_SHIFT 2 /* a cached one may be a quarter larger than requested */
#define CROWD 4096 /* live mappings, of 65,530; an object that shrinks beyond becomes a span */

/* large, hardened */

/* Objects with guards, two mappings each: the library has a quarter of the 65,530 at most. */
#define GUARDED_MAX 5000
#define GRAVES 64 /* a power of two */
#define GRAVES_LATE 16 /* newer ones, before the addresses of a grave are reused */
#define BURIED_MIN (8 * MIB) /* larger objects go back at once: that is quicker than zeroing */
#define SPARE_MAX 4 /* times the size of a growing object: with 2, a log takes twice the time */
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
#define FIRST_REFILL_BYTES 512 /* of a class: it may need no more */
#define FIRST_REFILL_MAX 16 /* cells of these bytes */
#define EARLY_FREES 1024 /* of a thread, before they alone create a cache */
#define CLAIM_WAITS 100 /* for another thread that frees the same block, with misuse=warn: */
#define CLAIM_WAIT_NS 1000000 /* each; then the mark is taken for the user's data */
#define ZEROED_MIN ((size_t)2048) /* from here on calloc tracks whether cells are zero */
#define SPAN_CACHED_MAX ((size_t)1 << 20) /* larger spans are not cached */
#define SPAN_CACHE_BYTES (2 * SPAN_CACHED_MAX) /* of spans in a thread's page cache */
#define SPAN_CACHE_DEPTH 4 /* spans of a class in it */
#define CACHED_ALL (32 * MIB) /* of cells in all caches; but each cache may have */
#define CACHED_MIN (64 * KIB)
#define OPEN_MIN (12 * KIB) /* of cells, one per newly used bin, before idle bins are flushed */
#define OPEN_SHIFT_MAX 10 /* doublings of this where bins were flushed too soon */
#define VACANT_MAX 2 /* caches without an owner in each shard: the next threads need no refills */
#define VACANT_BYTES (128 * KIB) /* of cells in such a cache */
#define VACANT_BIN (4 * KIB) /* of cells in one of its bins */

/* cache: scavenging and polling. A pair of calls takes three times as long while a thread polls. */

#define SCAVENGE_EVENTS 16 /* visits of the store between two checks of the clock */
#define CELL_VISITS 4 /* refills that count as a visit */
#define POLL_EVENTS 32 /* polled calls between two checks of the clock */
#define POLL_MIN (4 * MIB) /* growth of dirty memory that begins polling */
#define POLL_OTHERS (16 * MIB) /* the same for polling by all threads */
#define POLL_LEFT (128 * KIB) /* dirty memory that ends polling: two slabs in use have it */
#define POLL_VISITS 256 /* visits of the store, without growth, that end polling */
#define GROWN_MIN (2 * MIB) /* since the last scavenge, for an early one */
#define GROWN_DIRTY (8 * MIB) /* dirty memory for an early one: busy depots have less */
#define GROWN_SHARE 16 /* and growth by this part of it: a scavenge visits all of it */
#define IDLE_SCAVENGES 2 /* in a row that send a request to an idle cache */
#define FEW_CACHES 32 /* that need no poll_many_caches */
#define TRIM_REQUEST_MS 150 /* between two requests to a thread to trim */
#define TRIMS_PERIOD_MS 1000
#define COMPLETE_TRIMS 4 /* in that period; later ones may be partial */
#define LEAVE_MIN MIB /* idle bytes that a partial trim may leave, plus */
#define LEAVE_PART 4 /* this part of the bytes of cells in use */
#define VALIDATED_CELLS 16 /* of each bin, by a scavenge, for double frees */
#define VALIDATED_FIRST 4 /* of each bin, when a class comes into use */
#define FIRST_VISITS 8 /* first events that validate, and then every eighth */

/* cache, hardened */

#define QUARANTINE_BYTES (8 * KIB) /* of a class: it should fit into the first-level cache */
#define QUARANTINE_MAX 64 /* cells of a class */
#define QUARANTINE_MIN 4
#define QUARANTINE_SPARES 16 /* of threads that have ended */

/* sample */

#define SAMPLE_INTERVAL (512 * KIB) /* profile_interval: bytes between two samples, on average */
#define SAMPLE_CHUNK (32 * KIB) /* of entries of the tables */
#define CHAINS_MIN ((size_t)1024) /* chains through them at first; a power of two */
#define CHAINS_FREE 4 /* chains for each entry: an empty one answers without the lock */

/* reports */

#define MISUSE_LINES 100 /* of a process that tolerates misuse: a busy one would fill its log */

/* sample: guarded blocks */

#define GUARD_EVERY 5000 /* allocations per guarded one */
#define GUARD_SLOTS 64 /* each costs the process two mappings while its block is live */
#define GUARD_BLOCK_MAX (32 * KIB)
#define GUARD_FRAMES 32 /* of a stack */
#define GUARD_WAITS 2000 /* naps, for another thread's report */

/* sample: stacks */

#define UNWIND_RULE_BITS 12 /* of the table of rules, 64 KiB: most programs sample fewer callers */
#define UNWIND_THREAD_BITS 8 /* of the table of stacks by thread */
#define UNWIND_GAP (64 * KIB) /* stack pages that are asked for one by one */
#define UNWIND_FRAME_MAX MIB /* a frame pointer that is farther away is none */

/* control: the service thread. A wakeup takes some microseconds. */

#define MIN_CHECK_MS 100 /* between two checks of a process in use, if purge_delay is less */
#define IDLE_CHECK_MS 700 /* between two checks of an idle process: it may have freed much */
#define TIMER_SLACK_MS 50 /* the kernel may delay its wakeups, to join them with others */
#define QUIET_PERIODS 2 /* without a visit of the store, before an idle process is trimmed */
#define RESTLESS_PERIODS 6 /* such periods, before checks are rare again */
#define CONNECTIONS 128 /* at a time; others wait in the backlog */
#define SOCKET_BACKLOG 128
#define REQUEST_MAX (8 * KIB) /* of a request with its body */
#define REQUEST_MS 5000 /* for a client to send its request */
#define REPLY_MS 10000 /* for a client to read some of the reply, */
#define REPLY_ALL_MS 60000 /* and all of it */
#define REPLIES_BYTES (64 * MIB) /* of replies that wait for clients, before 503 */
#define CHILD_LISTEN_MS 100 /* after a fork: most children execute a program before */
#define REFUSED_WAIT_NS 100000000 /* in place of a poll that the kernel refuses */
#define FOLDER_WAITS 100 /* for another process that replaces a stale socket: */
#define FOLDER_WAIT_NS 10000000 /* each; a second in total */
#define END_WAITS 3000 /* for the service to finish what it does, at exit: */
#define DUMP_WAITS 1000 /* for a dump, inside the handler of a signal that ends the program */

/* trace */

#define WINDOW_RECORDS ((uint64_t)16384) /* mapped at a time, 640 KiB */
#define SNAPSHOT_SHIFT 4 /* a sixteenth of the file is for snapshots */
#define FIGURES_PERIOD_NS 10000000u /* between two records of figures, at most */
#define FIGURES_SHIFT 4 /* and a sixteenth of the time since the start */
#define SNAPSHOT_GROWTH 8 /* a snapshot when live bytes or the trace have grown by an eighth */
#define SNAPSHOT_COST 4 /* other records for each record of a snapshot */
