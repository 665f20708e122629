/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * The kernel without libc between: helpers.c and files.c only. Tools put functions of their own in
 * the place of libc's mmap, madvise, clock_gettime, syscall and so on, and allocate in them; some
 * of libc's are cancellation points as well. The library calls from the middle of an allocation,
 * with locks held, where neither may happen.
 */

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <time.h>

/* System call number with these arguments: what the kernel returns, errors as -errno. */
long kernel_raw(long number, long a, long b, long c, long d, long e, long f);

/* The same, but -1 with errno. */
long kernel_call(long number, long a, long b, long c, long d, long e, long f);

/* As libc's clock_gettime: mostly without a system call. */
int kernel_clock(clockid_t clock, struct timespec *now);

/*
 * What libc has functions for, straight from the kernel. Only sbrk is left to libc,
 * which keeps the break, and getcwd and readlink, which a trace or a report begins with.
 *
 * CALL returns -1 with errno, RAW an error as a negative number. Arguments that are left out are 0.
 */
#define CALL(...) SIX_LONGS(kernel_call, __VA_ARGS__, 0, 0, 0, 0, 0, 0)
#define RAW(...) SIX_LONGS(kernel_raw, __VA_ARGS__, 0, 0, 0, 0, 0, 0)
#define SIX_LONGS(function, name, a, b, c, d, e, f, ...)                                           \
	function(SYS_##name, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))

/* files.c, for the two. */

/* As open(2), closed on exec. */
int sys_open(const char *path, int flags);

/* A copy of fd, closed on exec, out of the way; or -1. */
int sys_copy_high(int fd);

/* False with errno. */
bool sys_write_all(int fd, const char *text, size_t len);
