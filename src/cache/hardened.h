/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * OSMEM_OPTIONS=hardened: detects, or makes harmless, misuse of malloc that costs time to detect.
 * The first call of the process decides; then every call takes the slow path and ends here.
 *
 *	cell
 *	| size bytes of the user | padding … | canary, 8 bytes |
 *
 * The canary has the number of bytes between the user's and itself, and a keyed hash of that and of
 * its own address. The first 64 bytes of padding hold a byte with its top bit set, the same in the
 * whole process. A freed cell is all zero, canary included. If two threads free one at once, both
 * put it into quarantine; the second hand-out reports that.
 *
 * 1. free and realloc report a write one byte past the end, and to the byte before the start.
 * 2. A freed cell waits in a quarantine and leaves it in random order. When it is handed out again
 *    it must be all zero. Larger objects become inaccessible when they are freed, and are reused
 *    late: mapping_guard.c.
 * 3. Cells of a refill are in random order.
 * 4. Objects above CELL_MAX are between guard pages. Segments have guard pages behind the header
 *    and at the end. The library's own objects have their own segments (slab_harden).
 * 5. malloc(0) returns addresses that are not accessible.
 *
 * If memory or addresses for a precaution are refused, the allocation succeeds without it.
 *
 * Sizes and alignments are in bytes; alignments are powers of two. Any thread may call.
 */

#pragma once

#include "tcache.h"

/* The contracts of malloc(3) and its relatives, but memory is zero. bin is slab_bin(p). */
void *hardened_alloc(size_t size, size_t align);
void *hardened_malloc(size_t size);
void hardened_free(const char *call, void *p);
void hardened_free_in(const char *call, void *p, uint16_t bin);
void *hardened_realloc(const char *call, void *p, size_t size);
size_t hardened_usable_size(const char *call, void *p);
