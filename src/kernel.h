/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * The kernel without libc between: helpers.c only. Tools put functions of their own in the place of
 * libc's mmap, madvise, clock_gettime, syscall and so on, and allocate in them; some of libc's are
 * cancellation points as well. The library calls from the middle of an allocation, with locks held,
 * where neither may happen.
 */

#pragma once

#include <time.h>

/* System call number with these arguments: what the kernel returns, errors as -errno. */
long kernel_raw(long number, long a, long b, long c, long d, long e, long f);

/* The same, but -1 with errno. */
long kernel_call(long number, long a, long b, long c, long d, long e, long f);

/* As libc's clock_gettime: mostly without a system call. */
int kernel_clock(clockid_t clock, struct timespec *now);
