/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Introspection of libosmem, from the program that uses it: walks, statistics and checkers. These
 * names are not part of the course's interface.
 *
 * Sizes are in bytes. Any thread may call these functions at any time, but not from a signal
 * handler. With several threads, each heap's blocks are consistent, but heaps are copied one after
 * another.
 */

#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum osmem_heap {
	OSMEM_COURSE = 0, /* os_* */
	OSMEM_LIBC = 1, /* malloc and its relatives, above 32 KiB */
	OSMEM_CELLS = 2, /* malloc and its relatives, up to 32 KiB */
};

/*
 * Kinds of items. A region is followed by its blocks, a segment by its slabs and then its spans.
 * Only os_malloc has regions and blocks.
 */
enum osmem_kind {
	OSMEM_REGION, /* contiguous memory from the kernel, filled with blocks */
	OSMEM_BLOCK, /* a header of 32 bytes and its payload, in a region */
	OSMEM_MAPPED, /* an object with its own mapping; that of os_malloc has a header */
	OSMEM_SEGMENT, /* 4 MiB from the kernel, 64 slots */
	OSMEM_SLAB, /* cells of equal size, in one or four slots of a segment */
	OSMEM_SPAN, /* an object above 32 KiB: whole pages of a segment, without a header */
};

struct osmem_item {
	enum osmem_kind kind;
	enum osmem_heap heap;
	const void *start; /* of the header, if there is one */
	size_t size; /* bytes from start on, with the header, without the reserve */
	int status; /* BLOCK, MAPPED: 0 free, 1 allocated, 2 mapped, as in block_meta.h */
	/* SPAN: 1 allocated, 0 freed and cached by a thread */
	size_t payload; /* BLOCK, MAPPED, SPAN: bytes for the user; 0 otherwise */
	size_t ahead; /* REGION: bytes of the reserve, which is behind size */
	size_t mapping; /* MAPPED: bytes of the whole mapping, with guard pages if hardened */
	uint64_t used; /* SEGMENT: bit i: slot i has used pages; slot 0 is the header */
	uint64_t dirty; /* SEGMENT: bit i: slot i has free pages that were not purged */
	size_t cell; /* SLAB: bytes of a cell */
	size_t cells; /* SLAB: its capacity */
	size_t carved; /* SLAB: cells from its start that have ever been in use */
	size_t out; /* SLAB: cells live or in caches */
	int is_own; /* SLAB: its cells are the library's own objects */
};

/* A callback. Returns 0 to continue, anything else to end the walk. */
typedef int osmem_visit(const struct osmem_item *item, void *arg);

/*
 * Call visit(item, arg) for every item, heap by heap, in address order; mapped blocks follow the
 * regions. The items are a copy that is made before the first call. So visit runs without locks,
 * may allocate, free, walk and end its thread, and does not see later changes. Returns 0, the value
 * with which visit ended the walk, or -1 with errno ENOMEM.
 */
int osmem_walk(osmem_visit *visit, void *arg);

/*
 * Statistics of the heap of os_malloc, or of malloc's objects above 32 KiB, whose blocks are spans.
 * Spans that are not live are cached by threads. Searches, splits, coalesces, brk calls and regions
 * exist for os_malloc only. In hardened mode all of malloc's objects count as mapped.
 */
struct osmem_heap_stats {
	size_t allocs, frees, reallocs; /* calls that the thread caches did not serve */
	size_t searches, splits, coalesces;
	size_t brk_calls, mmap_calls, munmap_calls, mremap_calls, madvise_calls;
	size_t regions, region_bytes; /* filled with blocks; of malloc: bytes of spans */
	size_t ahead_bytes; /* the reserve; of malloc: bytes of cached mappings */
	size_t blocks, live_blocks; /* in regions; of malloc: spans */
	size_t live_bytes; /* of live_blocks, with headers */
	size_t mapped_blocks, mapped_bytes; /* whole mappings */
	size_t peak_bytes; /* the maximum of live_bytes + mapped_bytes */
};

struct osmem_cell_stats {
	size_t segments, slabs;
	size_t live, live_bytes; /* owned by the program */
	size_t cached, cached_bytes; /* in thread caches and depots */
	size_t free, free_bytes; /* in slabs */
	size_t own_bytes; /* the library's own objects, and what it notes of others */
	size_t dirty_bytes; /* free pages that were not purged */
	size_t mmap_calls, munmap_calls, madvise_calls;
	size_t threads; /* with a cache */
	size_t allocs, frees, reallocs; /* counted only with OSMEM_OPTIONS=stats or trace */
};

struct osmem_stats {
	size_t size; /* bytes of this struct that were filled in: see below */
	struct osmem_heap_stats course, libc;
	struct osmem_cell_stats cells;
	size_t live_bytes; /* of all three, with mapped blocks, without caches */
	size_t held_bytes; /* memory from the kernel, with the library's own objects */
};

/*
 * Fill in the first size bytes of *stats. size is the caller's sizeof(struct osmem_stats). Later
 * versions add members at the end only. An older library sets stats->size to its own size and the
 * members that it does not know to zero. Never fails.
 */
void osmem_get_stats(struct osmem_stats *stats, size_t size);

/*
 * Check every invariant of all heaps and caches. Returns NULL, or a static text that describes a
 * violation. Takes time linear in the number of objects, holds locks and changes nothing. With
 * several threads it does not check the thread caches.
 */
const char *osmem_check(void);

/*
 * Write a map of all heaps to file, which is created or truncated, for heapview. Returns 0, or -1
 * with errno: that of open(2), EWOULDBLOCK if a process is writing its trace there, ENOSPC, EFBIG
 * or ENOMEM.
 */
int osmem_write_map(const char *file);

/*
 * Write the heap profile of OSMEM_OPTIONS=profile so far to file, in the format of pprof. The file
 * is replaced when the profile is complete, so a reader never sees a part. Returns 0, or -1 with
 * errno, and the file is unchanged: EINVAL if nothing is profiled, those of open(2) and rename(2)
 * for a file in the same folder, ENOSPC, EFBIG or ENOMEM. If file is no regular file but a link, a
 * pipe or a device, it is written to in place, and is incomplete after an error.
 */
int osmem_write_profile(const char *file);

#ifdef __cplusplus
}
#endif
