/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * OSMEM_OPTIONS=hardened: misuse of malloc and its relatives that costs something to see, or that
 * can only be made harmless. Decided by the first call of the process and for all of them; every
 * call then takes the slow path and ends here.
 *
 *	cell
 *	| size bytes of the user | pattern … | canary, 8 bytes |
 *
 * The canary is a keyed hash of its own address and of how many bytes are between it and the
 * user's, which it also has; the pattern is a byte of the process, whose top bit is set, in the
 * first 64 of these. A freed cell is all zero, its canary too. Should two threads free one in the
 * same moment, both have it in quarantine: the second hand-out reports that.
 *
 * 1. One byte past the end, and the byte before the start, are seen when an object is freed or
 *    resized.
 * 2. A freed cell waits in a quarantine, and leaves it at random. It must be all zero when it is
 *    handed out again. Larger objects are made inaccessible when they are freed, and are used again
 *    late: mapping_guard.c.
 * 3. Cells of a fresh batch are in random order.
 * 4. Objects above CELL_MAX are between inaccessible pages, segments have some behind their header
 *    and at their end; the library's own objects have segments of their own (slab_harden).
 * 5. malloc(0) returns addresses where nothing is.
 *
 * Sizes and alignments are in bytes; alignments are powers of two. What does not get memory or
 * address space for its precautions goes without them.
 */

#pragma once

#include "tcache.h"

struct quarantine;

/* Whether the environment asks for it. If so, the layers below are told. */
bool hardened_start(void);

/* As malloc(3) and its relatives, in interpose.c; what is allocated is zero; bin is slab_bin(p). */
void *hardened_alloc(size_t size, size_t align);
void *hardened_malloc(size_t size);
void hardened_free(const char *call, void *p);
void hardened_free_in(const char *call, void *p, uint16_t bin);
void *hardened_realloc(const char *call, void *p, size_t size);
size_t hardened_usable_size(const char *call, void *p);

/* Put cells in random order, tc's own; tc is the caller's. */
void hardened_shuffle(struct tcache *tc, void **cells, unsigned int n);

/*
 * Freed cells of a thread's cache; NULL without memory. Both with the list of caches entered; q is
 * empty.
 */
struct quarantine *hardened_new_quarantine(void);
void hardened_drop_quarantine(struct quarantine *q);

/* What tc has in quarantine of class goes to the store. */
void hardened_flush(struct tcache *tc, unsigned int class);

/* For figures and reports: how many cells tc has in quarantine, whether cell is one. */
size_t hardened_quarantined(const struct tcache *tc, unsigned int class);
bool hardened_has(const struct tcache *tc, unsigned int class, const void *cell);

/*
 * Check what tc has: NULL, or the text of what does not hold.
 *	Q1 cells in quarantine are of their class, out of the store, and zero
 *	Q2 counts are right
 */
const char *hardened_check(const struct tcache *tc);
