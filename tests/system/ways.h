/* SPDX-License-Identifier: BSD-3-Clause */

/* Every way to get a block, for faults.c. */

#pragma once

#include <errno.h>
#include <malloc.h>
#include <setjmp.h>
#include <stdlib.h>
#include <unistd.h>

#include "harness.h"
#include "osmem.h"

static uint64_t random_state;

void free_sized(void *p, size_t size);
void free_aligned_sized(void *p, size_t align, size_t size);

/* The C++ runtime as the library knows it: a new-handler that helps once, and an exception. */

void *operator_new(size_t size) __asm__("_Znwm");
void *operator_new_array(size_t size) __asm__("_Znam");
void *operator_new_aligned(size_t size, size_t align) __asm__("_ZnwmSt11align_val_t");
void *operator_new_array_aligned(size_t size, size_t align) __asm__("_ZnamSt11align_val_t");
void *operator_new_nothrow(size_t size, const void *tag) __asm__("_ZnwmRKSt9nothrow_t");
void *operator_new_aligned_nothrow(size_t size, size_t align,
				   const void *tag) __asm__("_ZnwmSt11align_val_tRKSt9nothrow_t");
void operator_delete(void *p) __asm__("_ZdlPv");
void operator_delete_array_sized(void *p, size_t size) __asm__("_ZdaPvm");
void operator_delete_aligned(void *p, size_t align) __asm__("_ZdlPvSt11align_val_t");

typedef void new_handler(void);
new_handler *get_new_handler(void) __asm__("_ZSt15get_new_handlerv");
void throw_bad_alloc(void) __asm__("_ZSt17__throw_bad_allocv") __attribute__((noreturn));

static new_handler *handler;
static jmp_buf caught;

static void help_once(void)
{
	handler = NULL;
	malloc_trim(0);
}

new_handler *get_new_handler(void)
{
	return handler;
}

void throw_bad_alloc(void)
{
	longjmp(caught, 1);
}

static size_t alignment; /* that the block made last was asked for with, or 0 */

static inline void *by_new(size_t size)
{
	void *p = NULL;

	alignment = size % 4 < 2 ? 0 : size % 4 == 2 ? 64 : 4096;

	handler = help_once;
	if (setjmp(caught) == 0)
		switch (size % 4) {
		case 0:
			p = operator_new(size);
			break;
		case 1:
			p = operator_new_array(size);
			break;
		case 2:
			p = operator_new_aligned(size, alignment);
			break;
		default:
			p = operator_new_array_aligned(size, alignment);
		}
	handler = NULL;
	if (!p)
		errno = ENOMEM; /* C++ does not care */
	return p;
}

static inline void *by_nothrow_new(size_t size)
{
	void *p;

	alignment = size % 2 ? 0 : 32;
	p = alignment ? operator_new_aligned_nothrow(size, alignment, NULL)
		      : operator_new_nothrow(size, NULL);
	if (!p)
		errno = ENOMEM;
	return p;
}

/* Every way to get a block. */

static inline void *zeroed(unsigned char *p, size_t size)
{
	for (size_t i = 0; p && i < size; i += i < 256 ? 1 : 61)
		CHECK(p[i] == 0);
	return p;
}

static inline void *by_os_calloc(size_t size)
{
	return zeroed(os_calloc(1, size), size);
}

static inline void *by_os_realloc(size_t size)
{
	return os_realloc(NULL, size);
}

static inline void *by_calloc(size_t size)
{
	return zeroed(calloc(size, 1), size);
}

static inline void *by_realloc(size_t size)
{
	return realloc(NULL, size);
}

static inline void *by_reallocarray(size_t size)
{
	return reallocarray(NULL, 1, size);
}

static inline void *by_aligned_alloc(size_t size)
{
	alignment = 64;
	return aligned_alloc(alignment, size);
}

static inline void *by_memalign(size_t size)
{
	alignment = (size_t)16 << random_below(&random_state, 18);
	return memalign(alignment, size);
}

static inline void *by_posix_memalign(size_t size)
{
	void *p = NULL;
	int saved = errno, error;

	alignment = (size_t)8 << random_below(&random_state, 12);
	error = posix_memalign(&p, alignment, size);
	CHECK(error == (p ? 0 : ENOMEM) && errno == (p ? saved : ENOMEM));
	errno = error;
	return p;
}

static inline void *by_valloc(size_t size)
{
	alignment = (size_t)sysconf(_SC_PAGESIZE); /* of valloc */
	return size % 2 ? valloc(size) : pvalloc(size);
}

struct way {
	void *(*get)(size_t size);
	bool is_course;
};

static const struct way ways[] = {
	{.get = os_malloc, .is_course = true},
	{.get = malloc},
	{.get = by_os_calloc, .is_course = true},
	{.get = by_calloc},
	{.get = by_os_realloc, .is_course = true},
	{.get = by_realloc},
	{.get = by_aligned_alloc},
	{.get = os_malloc, .is_course = true},
	{.get = by_memalign},
	{.get = by_posix_memalign},
	{.get = by_reallocarray},
	{.get = by_valloc},
	{.get = by_valloc},
	{.get = by_new},
	{.get = by_nothrow_new},
	{.get = by_new},
};
