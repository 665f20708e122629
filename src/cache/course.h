/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * OSMEM_OPTIONS=course: the block list of os_malloc (osmem.c) serves malloc and its relatives, by
 * the placement rules and under one lock. The first call of the process decides; then every call
 * takes the slow path and ends here.
 *
 * Sizes are rounded up to 16, those of os_* as well. An aligned block is cut from a larger one. The
 * break is never lowered, so malloc_trim returns nothing.
 */

#pragma once

#include "tcache.h"

/* Whether OSMEM_OPTIONS asks for it. If so, the list serves malloc from now on. */
bool course_start(void);

/* The contracts of malloc(3) and its relatives; course_usable_size as hardened_usable_size. */
void *course_alloc(size_t size, size_t align);
void *course_alloc_zeroed(size_t size);
void *course_realloc(const char *call, void *p, size_t size);
void course_free(const char *call, void *p);
size_t course_usable_size(const char *call, void *p);

/* Whether a block of usable bytes may have been allocated or resized with size (rule 12). */
bool course_may_have(size_t usable, size_t size);
