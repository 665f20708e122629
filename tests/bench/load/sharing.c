// SPDX-License-Identifier: BSD-3-Clause

/*
 * False sharing: small objects that threads keep writing to, such as counters, locks and iterators.
 * If two threads' objects lie in one cache line, the cores fight over it.
 *
 *	sharing [OBJECTS [THREADS [active|passive]]]
 *
 * active: each thread allocates objects, writes to them and frees them. passive: the main thread
 * allocates one object for each thread beforehand, next to each other; the threads free these
 * first, so an allocator that gives freed cells to the thread that freed them spreads a shared
 * line.
 */

#include "load.h"

#define SIZE 8
#define WRITES 400

static void *given[LOAD_MAX_THREADS];
static size_t objects;

static void write_often(volatile unsigned char *object)
{
	for (int i = 0; i < WRITES; i++)
		object[i % SIZE] = (unsigned char)i;
}

static void work(unsigned int index)
{
	if (given[index])
		write_often(given[index]);
	free(given[index]);
	for (size_t i = 0; i < objects; i++) {
		void *object = load_block(SIZE);

		write_often(object);
		free(object);
	}
}

int main(int argc, char **argv)
{
	size_t threads = load_argument(argc, argv, 2, 2);

	if (threads > LOAD_MAX_THREADS)
		return 2;
	objects = load_argument(argc, argv, 1, 600000) / threads;
	if (argc > 3 && strcmp(argv[3], "passive") == 0)
		for (size_t i = 0; i < threads; i++)
			given[i] = load_block(SIZE);
	load_threads(threads, work);
	return 0;
}
