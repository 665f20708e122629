/* SPDX-License-Identifier: BSD-3-Clause */

#pragma once

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * The course allocator. Sizes are in bytes and are rounded up to a multiple of 8; every pointer
 * returned is aligned to 8 and belongs to the caller until it is handed to os_free or os_realloc.
 * All four functions may be called from any thread at any time, but not from a signal handler.
 *
 * A pointer that is not a live payload (freed twice, interior, on the stack, from another
 * allocator, its header overwritten) is reported in one line on standard error; then abort().
 */

/*
 * Allocate size bytes, uninitialised. NULL for size 0 (errno untouched), and with errno ENOMEM when
 * the kernel refuses memory or size is above PTRDIFF_MAX.
 */
void *os_malloc(size_t size);

/*
 * Allocate an array of nmemb elements of size bytes each, zeroed. NULL when either is 0 (errno
 * untouched), and with errno ENOMEM when there is no memory or the product overflows.
 */
void *os_calloc(size_t nmemb, size_t size);

/*
 * Resize the block at ptr to size bytes, keeping the contents up to the smaller of the two sizes.
 * ptr NULL: os_malloc(size). size 0: os_free(ptr), returns NULL. NULL when the block has already
 * been freed (nothing changes), and with errno ENOMEM when there is no memory (ptr stays valid).
 */
void *os_realloc(void *ptr, size_t size);

/* Free the block at ptr; NULL is ignored. errno is preserved. */
void os_free(void *ptr);

#ifdef __cplusplus
}
#endif
