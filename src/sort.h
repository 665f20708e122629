/* SPDX-License-Identifier: BSD-3-Clause */

/* A sort that allocates nothing: libc's qsort may call malloc. */

#pragma once

#include <stdbool.h>
#include <stddef.h>

#define SORT_SIZE_MAX 64 /* bytes of an element */

/* Sort count elements of size bytes. What is mostly sorted takes O(n log n). */
void sort(void *elements, size_t count, size_t size, bool (*is_before)(const void *, const void *));
