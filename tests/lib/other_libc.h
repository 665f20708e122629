/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Included before every test where the C library is not glibc: what the tests use of glibc, and of
 * the kernel's headers, which the Makefile makes reachable.
 */

#pragma once

#include <stdio.h>

#include "compat.h"

void *moving_sbrk(intptr_t size);

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t nmemb, size_t size);
void *__libc_realloc(void *p, size_t size);
void __libc_free(void *p);
void *__libc_memalign(size_t align, size_t size);
void *__libc_valloc(size_t size);
void *__libc_pvalloc(size_t size);
int __posix_memalign(void **out, size_t align, size_t size);
