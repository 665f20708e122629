/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * System calls that bypass libc, for files of this folder only. Tools interpose libc's
 * mmap, madvise, clock_gettime, syscall and so on, and allocate in them. Some of libc's functions
 * are cancellation points. The library makes system calls during an allocation, with locks held,
 * where neither is allowed.
 */

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>

/* A system call. Returns errors as -errno. */
long kernel_raw(long number, long a, long b, long c, long d, long e, long f);

/* The same, but -1 with errno. */
long kernel_call(long number, long a, long b, long c, long d, long e, long f);

/* As clock_gettime(2), through the vDSO where possible. */
int kernel_clock(clockid_t clock, struct timespec *now);

/*
 * CALL returns -1 with errno, RAW returns -errno. Missing arguments are 0. One function of libc
 * remains in use: sbrk, because libc caches the break.
 */
#define CALL(...) SIX_LONGS(kernel_call, __VA_ARGS__, 0, 0, 0, 0, 0, 0)
#define RAW(...) SIX_LONGS(kernel_raw, __VA_ARGS__, 0, 0, 0, 0, 0, 0)
#define SIX_LONGS(function, name, a, b, c, d, e, f, ...)                                           \
	function(SYS_##name, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))

/* The headers of musl define pread64 and so on as pread, before SYS_ is put in front of it. */
#define SYS_pread SYS_pread64
#define SYS_pwrite SYS_pwrite64
#define SYS_prlimit SYS_prlimit64

#define KERNEL_MASK_SIZE sizeof(uint64_t) /* of its sigset_t */

/* ---- files.c ---- */

/* As open(2), closed on exec. */
int sys_open(const char *path, int flags);

/* Read the start of a file of /proc, with a null behind it. False with errno, and it is empty. */
bool sys_read_text(const char *path, char *text, size_t size);

/* Write len bytes. False with errno. */
bool sys_write_all(int fd, const char *text, size_t len);

/* Write to standard error of the program, or to the copy of sys_keep_stderr, from any thread. */
void sys_write_stderr(const char *text, size_t len);
