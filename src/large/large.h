/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Objects above CELL_MAX, and those that no cell is aligned enough for: spans of pages in segments
 * (span.h) up to SPAN_MAX, mappings of their own (mapping.h) above. Sizes are in bytes; alignments
 * are powers of two. Any thread may call. Functions that take the name of the public call use it in
 * the report of a bad pointer: one line on standard error, then abort().
 */

#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "helpers.h"
#include "osmem_inspect.h"

/*
 * size bytes (0 counts as 1) aligned to align. NULL with errno ENOMEM. With zero the first size
 * bytes are zero.
 */
void *large_alloc(size_t size, size_t align, bool zero);

/* Free p, which is not NULL and no cell. errno is preserved. */
void large_free(const char *call, void *p);

/* Whether it is known at once that p, which is no cell, stays as it is with size bytes. */
bool large_stays(const void *p, size_t size);

/*
 * Resize p, which is not NULL and no cell, to size bytes (not 0) where it is, or move it without a
 * copy. NULL: it is as it was, and has to be copied.
 */
void *large_resize(const char *call, void *p, size_t size);

/* As large_alloc, for what has grown to size from p: there is some room to grow on. */
void *large_alloc_growing(size_t size);

/* The capacity of p, which is no cell: every byte of it may be written. */
size_t large_usable_size(const char *call, void *p);

/* A count that has grown when something may have become free since. */
size_t large_frees(void);

/* Whether p is in one, live or free; for the report of a bad pointer, with nothing locked. */
bool large_has(const void *p);

/* Bytes that a sweep could give back, apart from the segments' (slab.h). Takes no lock. */
size_t large_dirty_bytes(void);

/* Give back what has been free for a period, or everything; whether there was anything. */
bool large_sweep(void);
bool large_trim(void);

/* Objects this large are mappings; 0: all that are no cells. */
void large_set_threshold(size_t size);

/* Milliseconds that freed memory stays with the process at least. */
void large_set_sweep_period(uint64_t ms);

/* From now on large objects are guarded: hardened.h. Before the first one. */
void large_harden(void);

/* Figures of spans and mappings as one heap, as osmem_inspect.h has them. */
void large_get_stats(struct osmem_heap_stats *stats);
