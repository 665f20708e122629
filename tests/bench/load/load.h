/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * What the workloads share. A workload is one C file in this folder that needs nothing but the C
 * library and threads; it is built without libosmem and run under each allocator in turn. Without
 * arguments it takes about half a second and exits with 0. It calls LOAD_MALLOC and LOAD_FREE,
 * so that it can also be built upon os_malloc.
 */

#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#ifdef LOAD_OSMEM
#include "osmem.h"
#define LOAD_MALLOC os_malloc
#define LOAD_FREE os_free
#else
#define LOAD_MALLOC malloc
#define LOAD_FREE free
#endif

/* xorshift64*; state is not 0. */
static inline uint64_t load_random(uint64_t *state)
{
	uint64_t x = *state;

	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	*state = x;
	return x * 0x2545f4914f6cdd1du;
}

/* A random number below n, which is less than 2^32. */
static inline size_t load_below(uint64_t *state, size_t n)
{
	return (size_t)(((load_random(state) >> 32) * n) >> 32);
}

/* CPU time of the process, which a busy machine disturbs less than the wall's. */
static inline double load_cpu_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

/* A block of size bytes whose first word is written, as a program would; exits without memory. */
static inline void *load_block(size_t size)
{
	uint64_t *p = LOAD_MALLOC(size);

	if (!p) {
		fprintf(stderr, "out of memory\n");
		exit(1);
	}
	*(volatile uint64_t *)p = size;
	return p;
}
