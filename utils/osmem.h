/* SPDX-License-Identifier: BSD-3-Clause */

#pragma once

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * The course allocator. Sizes are in bytes, rounded up to a multiple of 8. Results are aligned to 8
 * and belong to the caller until os_free or os_realloc. Any thread may call these functions at any
 * time, but not from a signal handler.
 *
 * An invalid pointer (freed twice, interior, on the stack, from another allocator, its header
 * overwritten) is reported in one line on standard error, then abort(). Exception: os_realloc of a
 * free block.
 */

/*
 * Allocate size bytes, uninitialised. NULL for size 0 (errno is preserved), and with errno ENOMEM
 * if the kernel refuses memory or size is above PTRDIFF_MAX.
 */
void *os_malloc(size_t size);

/*
 * Allocate a zeroed array of nmemb elements of size bytes each. NULL if either is 0 (errno is
 * preserved), and with errno ENOMEM if the kernel refuses memory or the product is above
 * PTRDIFF_MAX.
 */
void *os_calloc(size_t nmemb, size_t size);

/*
 * Resize the block at ptr to size bytes. Preserves the contents up to the smaller of the two sizes.
 * ptr NULL: os_malloc(size). size 0: os_free(ptr), returns NULL. NULL if the block is already free
 * (nothing changes), and with errno ENOMEM as os_malloc (ptr stays valid).
 */
void *os_realloc(void *ptr, size_t size);

/* Free the block at ptr; NULL is ignored. errno is preserved. */
void os_free(void *ptr);

#ifdef __cplusplus
}
#endif
