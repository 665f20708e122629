/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * The only room that talks to the kernel. Memory that is refused is returned as NULL or -1 (errno
 * is ENOMEM); anything else that fails is a bug of the caller and fatal. Sizes are in bytes.
 */

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KIB ((size_t)1024)
#define MIB (KIB * KIB)

/* The page size; 4096 where the kernel does not say. */
size_t sys_page_size(void);

/* The current program break, as libc knows it, or NULL. */
char *sys_break(void);

/* Raise the break by size; the old break, or NULL. */
char *sys_raise_break(size_t size);

/* Fresh zeroed private memory at a page boundary, or NULL. */
void *sys_map(size_t size);

/* As sys_map, at exactly this place; NULL with errno EEXIST if anything is there, or ENOMEM. */
void *sys_map_at(void *at, size_t size);

/*
 * Give a mapping back. -1 if the kernel cannot: it may have no room to note that a mapping has become
 * two.
 */
int sys_unmap(void *p, size_t size);

/*
 * Give a mapping back for good; size need not be a multiple of the page size. Where the kernel cannot
 * take it, it takes the pages at least, if it can, and the rest is noted, in the first bytes of the
 * mapping itself, to be tried again. errno is preserved.
 */
void sys_release(void *p, size_t size);

/*
 * Try again; true if anything went. What is tried is on no list meanwhile: a fork may not happen, so
 * the caller has a lock that it takes.
 */
bool sys_release_rest(void);

/* Resize a mapping, moving it if it must; the new place, or NULL with the old one intact. */
void *sys_remap(void *p, size_t old_size, size_t new_size);

/* Give whole pages back but keep the addresses; they read as zero afterwards if 0 is returned. */
int sys_purge(void *p, size_t size);

/* A secret of this process, the same for its whole life. */
uint64_t sys_secret(void);

/* Milliseconds of a clock that never goes back, coarse. */
uint64_t sys_now_ms(void);

/* Write text to standard error, all of it, leaving errno alone. */
void sys_print(const char *text, size_t len);

/*
 * From now on print to what is standard error now, even when the program closes it: coreutils do so
 * before the last destructors run.
 */
void sys_keep_stderr(void);

/*
 * Print one line "osmem: CALL(POINTER): WHAT" on standard error, then abort(). what is a format of
 * utils/printf.c.
 */
void sys_fatal(const char *call, const void *p, const char *what, ...)
	__attribute__((noreturn, cold, format(__printf__, 3, 4)));
