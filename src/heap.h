/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * What the layers above may ask of the block heap (osmem.c).
 *
 * There are two heaps of the same make. The course heap serves os_malloc and its three sisters; it
 * grows through brk and follows the placement rules to the address. The libc heap serves the C
 * library's names; it grows in mapped regions, so that nothing a program's own malloc calls do can
 * move the break or a block under os_malloc. The functions below work on the libc heap unless they
 * say otherwise.
 *
 * Sizes are in bytes. Every function may be called from any thread. Functions that take the name of
 * the public call use it in the fatal report about a bad pointer: one line on standard error, then
 * abort().
 */

#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "osmem_inspect.h"

#define HEAP_ALIGN ((size_t)16) /* what malloc promises at every size */

enum heap_id {
	HEAP_COURSE,
	HEAP_LIBC,
	HEAP_COUNT,
};

/*
 * Allocate size bytes (0 counts as 1) aligned to align, a power of two (less than HEAP_ALIGN counts
 * as HEAP_ALIGN). NULL with errno ENOMEM. With zero the payload's first size bytes are zero.
 */
void *heap_alloc(size_t size, size_t align, bool zero);

/* Free p, which is not NULL. errno is preserved. */
void heap_free(const char *call, void *p);

/*
 * Resize p, which is not NULL, to size bytes (not 0), in place where possible. NULL with errno
 * ENOMEM leaves the block as it was.
 */
void *heap_realloc(const char *call, void *p, size_t size);

/*
 * A realloc found no memory, and left what it was given, or even with the free room behind it: from
 * then on something may be more than twice as large as was asked for. Set here and above.
 */
extern _Atomic(bool) heap_has_oversized;

/* The capacity of p, which is not NULL: every byte of it may be written. */
size_t heap_usable_size(const char *call, void *p);

/* Give every free page of the libc heap back to the kernel; true if anything was given back. */
bool heap_trim(void);

/* Bytes freed that a sweep could give back; 0 below HEAP_TRIM_THRESHOLD. Takes no lock. */
size_t heap_dirty_bytes(void);

/* Give back what has been free for a whole period, if one has passed. errno is preserved. */
void heap_sweep(void);

/* What mallopt may set; sizes in bytes. */
enum heap_option {
	HEAP_MMAP_THRESHOLD, /* chunks this large get a mapping of their own; no longer adapts */
	HEAP_TRIM_THRESHOLD, /* this much free and unreturned memory starts a delayed trim */
	HEAP_SWEEP_PERIOD, /* milliseconds that free pages stay with the process at least */
	HEAP_PERTURB, /* low byte: fill freed payloads with it, new ones with its complement */
};

void heap_set_option(enum heap_option option, size_t value);

/*
 * From now on every block is a mapping of its own between guard pages; before the first one. Where
 * heap_realloc makes a block grow it may leave it that much more room, and a page.
 */
#define HEAP_GUARDED_ROOM_MAX ((size_t)8 << 20)
void heap_harden(void);

/*
 * The fork protocol, called by handlers of pthread_atfork: see fork.c. They take the
 * heaps' own locks and call nothing that could take another.
 */
void heap_fork_prepare(void);
void heap_fork_parent(void);
void heap_fork_child(void);

/* Figures of one heap at one moment. */
struct heap_stats {
	size_t allocs, frees, reallocs; /* calls that reached the heap */
	size_t searches, splits, coalesces;
	size_t brk_calls, map_calls, unmap_calls, remap_calls, advise_calls;
	size_t regions;
	size_t region_bytes; /* tiled by blocks; what is raised ahead of need is not in it */
	size_t reserve_bytes; /* raised or mapped ahead of need */
	size_t blocks, live_blocks; /* of the regions */
	size_t live_bytes; /* chunks of live blocks, headers included */
	size_t mapped_blocks, mapped_bytes; /* STATUS_MAPPED, whole mappings */
	size_t peak_bytes; /* highest live_bytes + mapped_bytes so far */
};

void heap_get_stats(enum heap_id id, struct heap_stats *stats);

/*
 * Copy a heap's regions and blocks into items, room of them at most; how many there are, which may
 * be more. At one moment; the heap is locked meanwhile.
 */
size_t heap_list(enum heap_id id, struct osmem_item *items, size_t room);

/* Set by the layer above: whether p is a live block of its own, for the report of a bad pointer. */
extern bool (*heap_is_others)(const void *p);

/* Whether p is a live block of this heap; for the report of a bad pointer, with no lock held. */
bool heap_is_block(const void *p);

/*
 * Check every invariant of both heaps. Returns NULL, or the text of the first invariant that does
 * not hold. O(n); it takes the locks and changes nothing.
 */
const char *heap_check(void);
