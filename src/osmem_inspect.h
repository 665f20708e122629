/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Looking into libosmem from the program that it serves: every block, slab and mapping, the
 * figures, and the checkers. None of these names is part of the course's interface.
 *
 * Sizes are in bytes. All functions may be called from any thread at any time, but not from a
 * signal handler. In a process with one thread everything is of one moment; with more, each heap's
 * blocks are of one moment, the cells of another.
 */

#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Who has the memory. */
enum osmem_heap {
	OSMEM_COURSE = 0, /* os_malloc and its sisters */
	OSMEM_LIBC = 1, /* malloc and its relatives, above 32 KiB */
	OSMEM_CELLS = 2, /* the same, up to 32 KiB */
};

/*
 * What a walk meets. Regions come with their blocks behind them, segments with their slabs and then
 * their spans. Only os_malloc has regions and blocks.
 */
enum osmem_kind {
	OSMEM_REGION, /* memory from the kernel that is tiled by blocks */
	OSMEM_BLOCK, /* a block in a region: a header of 32 bytes, then its payload */
	OSMEM_MAPPED, /* an object that has a mapping of its own; that of os_malloc has a header */
	OSMEM_SEGMENT, /* 4 MiB from the kernel, of 64 slots */
	OSMEM_SLAB, /* equal cells in one slot or four of a segment */
	OSMEM_SPAN, /* an object above 32 KiB: whole pages of a segment, without a header */
};

struct osmem_item {
	enum osmem_kind kind;
	enum osmem_heap heap;
	const void
		*start; /* of the region, segment, slab or span; of the header, if there is one */
	size_t size; /* bytes from start on that it takes: with the header, without what is ahead */
	int status; /* BLOCK, MAPPED: 0 free, 1 allocated, 2 mapped, as in block_meta.h */
	/* SPAN: 1 allocated, 0 freed, and kept for the next object of this size */
	size_t payload; /* BLOCK, MAPPED, SPAN: bytes that are the user's; 0 otherwise */
	size_t ahead; /* REGION: bytes behind size that the kernel gave ahead of need */
	size_t mapping; /* MAPPED: bytes of the whole mapping; hardened, with its guard pages */
	uint64_t used; /* SEGMENT: bit i for slot i: some of it is in use, or (slot 0) the header */
	uint64_t dirty; /* SEGMENT: bit i for slot i: some of it is free but not with the kernel */
	size_t cell; /* SLAB: bytes of a cell */
	size_t cells; /* SLAB: how many it has room for */
	size_t carved; /* SLAB: how many from its start were ever in use */
	size_t out; /* SLAB: how many the program has, or some thread's cache */
	int is_own; /* SLAB: its cells are the library's own objects, not the program's */
};

/* A callback: 0 to go on, anything else to end the walk. */
typedef int osmem_visit(const struct osmem_item *item, void *arg);

/*
 * Call visit(item, arg) for everything there is, heap by heap, in the order of addresses; mapped
 * blocks behind the regions. The items are a copy, made before the first call: visit runs without a
 * lock, may allocate, free, walk and end its thread, and sees things as they were before. Returns
 * 0, what visit returned to end the walk, or -1 with errno ENOMEM if there is no memory for the
 * copy.
 */
int osmem_walk(osmem_visit *visit, void *arg);

/*
 * Of the heap of os_malloc, or of malloc's objects above 32 KiB. The blocks of these are spans:
 * what is in blocks and region_bytes, but not live, threads keep for their next objects. Searches,
 * splits, coalesces, brk calls and regions are of os_malloc only. Hardened, all of malloc's are
 * counted as mapped.
 */
struct osmem_heap_stats {
	size_t allocs, frees, reallocs; /* calls that reached it; caches of threads serve others */
	size_t searches, splits, coalesces;
	size_t brk_calls, mmap_calls, munmap_calls, mremap_calls, madvise_calls;
	size_t regions, region_bytes; /* tiled by blocks; of malloc, bytes of spans */
	size_t ahead_bytes; /* from the kernel ahead of need; of malloc, kept mappings */
	size_t blocks, live_blocks; /* in regions; of malloc, spans */
	size_t live_bytes; /* of those, headers included */
	size_t mapped_blocks, mapped_bytes; /* whole mappings */
	size_t peak_bytes; /* the most that live and mapped bytes together have been */
};

/* Of the cells. */
struct osmem_cell_stats {
	size_t segments, slabs;
	size_t live, live_bytes; /* with the program */
	size_t cached, cached_bytes; /* in caches of threads, and between threads */
	size_t free, free_bytes; /* in slabs */
	size_t own_bytes; /* the library's own records */
	size_t dirty_bytes; /* free slots that the kernel has not got back */
	size_t mmap_calls, munmap_calls, madvise_calls;
	size_t threads; /* that have a cache */
	size_t allocs, frees, reallocs; /* counted only with OSMEM_OPTIONS=stats or trace */
};

struct osmem_stats {
	size_t size; /* of this struct as it was filled in: see below */
	struct osmem_heap_stats course, libc;
	struct osmem_cell_stats cells;
	size_t live_bytes; /* of all three, mapped ones too; caches hold none */
	size_t held_bytes; /* what the kernel gave and has not got back, with the library's own */
};

/*
 * Fill in the first size bytes of *stats; size is sizeof(struct osmem_stats) where the caller was
 * compiled. Members are only ever added, at the end. A newer library fills in what an older program
 * knows; an older library sets stats->size to what it knows, and the rest to zero. There are no
 * errors.
 */
void osmem_get_stats(struct osmem_stats *stats, size_t size);

/*
 * Verify every invariant of all heaps, cells and caches: NULL, or a text, which stays, that says
 * what is wrong. It takes time in proportion to everything there is, holds locks, and changes
 * nothing. While other threads run only the heaps and the store are verified, not the threads'
 * caches.
 */
const char *osmem_check(void);

/*
 * Write a map of everything to file, made or emptied, for heapview. 0, or -1 with errno: that
 * of open(2), EWOULDBLOCK if a process is writing its trace there, ENOSPC, EFBIG, ENOMEM.
 */
int osmem_write_map(const char *file);

#ifdef __cplusplus
}
#endif
