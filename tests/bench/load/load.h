/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * What the workloads share. A workload is one C file in this folder that needs nothing but the C
 * library and threads; it is built without libosmem and run under each allocator in turn:
 *
 *	PROGRAM [AMOUNT [THREADS [ARGUMENT]…]]
 *
 * AMOUNT is the work of all threads together, in a unit that the program names; the same arguments
 * always make the same calls, so time is all that varies. Without arguments a program takes about
 * half a second. It writes to its blocks as a real program would, and exits with 0.
 */

#pragma once

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LOAD_MAX_THREADS 64

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

static inline size_t load_between(uint64_t *state, size_t least, size_t most)
{
	return least + load_below(state, most - least + 1);
}

/* A state for each thread, none of them 0. */
static inline uint64_t load_seed(unsigned int index)
{
	return 0x9e3779b97f4a7c15u * (index + 1);
}

/* The sizes that programs ask for: most are small, each larger power of four is rarer. */
static inline size_t load_size(uint64_t *state)
{
	size_t dice = load_below(state, 1000);

	if (dice < 620)
		return load_between(state, 8, 64);
	if (dice < 900)
		return load_between(state, 65, 256);
	if (dice < 980)
		return load_between(state, 257, 1024);
	if (dice < 998)
		return load_between(state, 1025, 8192);
	return load_between(state, 8193, 32768);
}

/* A size between two powers of two, each power as likely as the others. */
static inline size_t load_power(uint64_t *state, unsigned int least, unsigned int most)
{
	size_t power = (size_t)1 << load_between(state, least, most - 1);

	return power + load_below(state, power);
}

/* The block of a call that must not fail. */
static inline void *load_checked(void *block)
{
	if (!block) {
		fprintf(stderr, "out of memory\n");
		exit(1);
	}
	return block;
}

/* The same, with its ends written. */
static inline void *load_touch(void *block, size_t size)
{
	volatile unsigned char *p = (volatile unsigned char *)load_checked(block);

	p[0] = 1;
	p[size - 1] = 1;
	return block;
}

/* size is not 0. */
static inline void *load_block(size_t size)
{
	return load_touch(malloc(size), size);
}

/* The argument at place i as a number, or its default. */
static inline size_t load_argument(int argc, char **argv, int i, size_t by_default)
{
	return i < argc ? strtoul(argv[i], NULL, 10) : by_default;
}

struct load_thread {
	pthread_t id;
	unsigned int index;
	void (*work)(unsigned int index);
};

static inline void *load_begin(void *arg)
{
	struct load_thread *thread = (struct load_thread *)arg;

	thread->work(thread->index);
	return NULL;
}

/* Run work(0) … work(count - 1), each in a thread; a single one runs in the caller's. */
static inline void load_threads(size_t count, void (*work)(unsigned int index))
{
	static struct load_thread threads[LOAD_MAX_THREADS];

	if (count == 1) {
		work(0);
		return;
	}
	if (count > LOAD_MAX_THREADS)
		exit(2);
	for (unsigned int i = 0; i < count; i++) {
		threads[i].index = i;
		threads[i].work = work;
		if (pthread_create(&threads[i].id, NULL, load_begin, &threads[i]) != 0)
			exit(1);
	}
	for (unsigned int i = 0; i < count; i++)
		pthread_join(threads[i].id, NULL);
}
