/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * What the tests of the C library's names share. Including it also makes sure that they
 * test this library: the program ends at once if its malloc is anybody else's.
 */

#pragma once

#include <dlfcn.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "harness.h"
#include "memory.h"

/* Does name, as the program sees it, come from this library? */
static inline bool is_ours(const char *name)
{
	void *function = dlsym(RTLD_DEFAULT, name);
	Dl_info info;

	return function && dladdr(function, &info) && strstr(info.dli_fname, "libosmem");
}

__attribute__((constructor(1000))) static void require_ours(void)
{
	static const char text[] = "FAIL malloc is not libosmem's\n0 passed, 1 failed, 0 skipped\n";

	if (is_ours("malloc") && is_ours("free"))
		return;
	if (write(STDOUT_FILENO, text, sizeof(text) - 1) < 0)
		abort();
	_exit(1);
}

/* How many mappings the kernel notes for this process. */
static inline size_t count_mappings(void)
{
	static char text[64 * KIB];
	int fd = open("/proc/self/maps", O_RDONLY);
	size_t lines = 0;
	ssize_t n;

	if (fd < 0)
		test_fail(__FILE__, __LINE__, "cannot read /proc/self/maps");
	while ((n = read(fd, text, sizeof(text))) > 0)
		for (ssize_t i = 0; i < n; i++)
			lines += text[i] == '\n';
	close(fd);
	return lines;
}

static inline size_t mapped_bytes(void)
{
	return status_bytes("\nVmSize:");
}

static inline size_t resident_bytes(void)
{
	return status_bytes("\nVmRSS:");
}

static inline double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static inline void sleep_ms(long ms)
{
	struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

	nanosleep(&t, NULL);
}

/* Bytes that differ by place and by seed, so that a moved or a mixed-up block is seen. */
static inline unsigned char pattern(size_t i, unsigned int seed)
{
	return (unsigned char)(i * 31 + (i >> 8) + seed);
}

static inline void fill(void *p, size_t size, unsigned int seed)
{
	unsigned char *bytes = p;

	for (size_t i = 0; i < size; i++)
		bytes[i] = pattern(i, seed);
}

static inline bool is_filled(const void *p, size_t size, unsigned int seed)
{
	const unsigned char *bytes = p;

	for (size_t i = 0; i < size; i++)
		if (bytes[i] != pattern(i, seed))
			return false;
	return true;
}

static inline bool is_zero(const void *p, size_t size)
{
	const char *bytes = p;

	return size == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, size - 1) == 0);
}

static inline bool is_aligned(const void *p, size_t align)
{
	return ((uintptr_t)p & (align - 1)) == 0;
}
