// SPDX-License-Identifier: BSD-3-Clause

/*
 * Threads that allocate from the course's heap, large objects and from thread caches, hand what
 * they have on to each other, and fork meanwhile: for ThreadSanitizer, on builds without the C
 * library's names, which leave malloc to it. Exit status 0, or 1 with one line on standard error.
 */

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "block/block.h"
#include "cache/tcache.h"
#include "common.h"
#include "large/large.h"
#include "osmem.h"
#include "slab/slab.h"

#define THREADS 6
#define STEPS 4000
#define BOXES 64
#define FORKS 10

/* Where blocks change hands: a box is emptied and filled in one exchange. */
static _Atomic(unsigned char *) course_boxes[BOXES], large_boxes[BOXES], cell_boxes[BOXES],
	name_boxes[BOXES];

/* interpose.c, by other names: as programs come in, so that calls are noted. */
void *sanitized_malloc(size_t size);
void *sanitized_calloc(size_t nmemb, size_t size);
void *sanitized_realloc(void *p, size_t size);
void sanitized_free(void *p);

static void fail(const char *what)
{
	fprintf(stderr, "%s\n", what);
	_exit(1); /* others may be forking: no exit handlers */
}

static void check_heap(void)
{
	const char *fault = block_check();

	if (!fault)
		fault = tcache_check();
	if (fault)
		fail(fault);
}

static size_t random_size(uint64_t *state)
{
	return 2 + random_below(state, random_below(state, 50) ? 500 : 300000);
}

/* Any byte but the last one says what all are. */
static unsigned char *filled(unsigned char *p, size_t size, size_t nr)
{
	if (!p)
		fail("out of memory");
	memset(p, (int)(nr % 251), size);
	return p;
}

static void work_on_course(uint64_t *state, size_t nr)
{
	size_t size = random_size(state);
	unsigned char *p = filled(os_malloc(size), size, nr);

	if (nr % 7 == 0) {
		p = os_realloc(p, size * 2);
		if (!p || p[0] != p[size - 1])
			fail("os_realloc lost the contents");
	}
	p = atomic_exchange(&course_boxes[random_below(state, BOXES)], p);
	if (p && p[0] != p[1])
		fail("a block's contents have changed");
	os_free(p);
}

static void work_on_large(uint64_t *state, size_t nr)
{
	size_t size = random_size(state);
	unsigned char *p, *q;

	if (random_below(state, 100) == 0)
		size *= 20; /* a mapping, perhaps */
	p = filled(large_alloc(size, 16, nr % 3), size, nr);
	if (nr % 7 == 0) {
		q = large_resize("realloc", p, size * 2);
		p = q ? q : p;
		if (p[0] != p[size - 1])
			fail("large_resize lost the contents");
	}
	if (large_usable_size("malloc_usable_size", p) < size)
		fail("a large object is too small");
	p = atomic_exchange(&large_boxes[random_below(state, BOXES)], p);
	if (p && p[0] != p[1])
		fail("a block's contents have changed");
	if (p)
		large_free("free", p);
}

static void work_on_cells(uint64_t *state, size_t nr)
{
	size_t size = 2 + random_below(state, random_below(state, 10) ? 700 : CELL_MAX + 1000);
	unsigned char *p;

	p = filled(nr % 5 ? tcache_alloc(size) : tcache_alloc_zeroed(size), size, nr);
	if (nr % 7 == 0) {
		p = tcache_realloc("realloc", p, size * 2);
		if (!p || p[0] != p[size - 1])
			fail("tcache_realloc lost the contents");
	}
	if (tcache_usable_size("malloc_usable_size", p) < size)
		fail("a cell is too small");
	p = atomic_exchange(&cell_boxes[random_below(state, BOXES)], p);
	if (p && p[0] != p[1])
		fail("a cell's contents have changed");
	tcache_free("free", p);
}

static void work_on_names(uint64_t *state, size_t nr)
{
	size_t size = random_size(state);
	unsigned char *p;

	p = filled(nr % 5 ? sanitized_malloc(size) : sanitized_calloc(1, size), size, nr);
	if (nr % 7 == 0) {
		p = sanitized_realloc(p, size * 2);
		if (!p || p[0] != p[size - 1])
			fail("realloc lost the contents");
	}
	p = atomic_exchange(&name_boxes[random_below(state, BOXES)], p);
	if (p && p[0] != p[1])
		fail("what malloc gave has changed");
	sanitized_free(p);
}

/* Threads that come, allocate and end. */
static void *work_briefly(void *arg)
{
	uint64_t state = (uintptr_t)arg;

	for (size_t nr = 0; nr < 300; nr++)
		work_on_cells(&state, nr);
	return NULL;
}

static void start_and_join(size_t nr)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, work_briefly, (void *)(nr + 1)))
		fail("no thread");
	pthread_join(thread, NULL);
}

static void *work(void *arg)
{
	uint64_t state = (uintptr_t)arg;
	struct osmem_heap_stats stats;

	for (size_t nr = 0; nr < STEPS; nr++) {
		work_on_course(&state, nr);
		work_on_large(&state, nr);
		work_on_names(&state, nr);
		for (int i = 0; i < 4; i++)
			work_on_cells(&state, nr);
		if (nr % 500 == 0)
			start_and_join(nr);
		if (nr % 1000 == 0) {
			tcache_trim();
			large_get_stats(&stats);
			tcache_set_trim_threshold(4096 * (nr / 1000));
		}
	}
	return NULL;
}

static void *work_and_fork(void *arg)
{
	uint64_t state = (uintptr_t)arg;
	int status;

	for (size_t nr = 0; nr < FORKS; nr++) {
		pid_t pid = fork();

		if (pid == 0) {
			for (size_t i = 0; i < 50; i++) {
				work_on_course(&state, i);
				work_on_large(&state, i);
				work_on_names(&state, i);
				work_on_cells(&state, i);
			}
			check_heap();
			_exit(0);
		}
		if (waitpid(pid, &status, 0) != pid)
			fail("no child");
		if (status)
			fail(WIFSIGNALED(status) ? "a signal killed a child" : "a child failed");
		work_on_large(&state, nr);
		work_on_cells(&state, nr);
	}
	return NULL;
}

/* With an argument, no thread forks. */
int main(int argc, char **argv)
{
	uintptr_t forking = argc > 1 ? 0 : 2;
	pthread_t threads[THREADS];

	(void)argv;
	for (uintptr_t i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], NULL, i < forking ? work_and_fork : work,
				   (void *)(i + 1)))
			fail("no thread");
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	check_heap();
	return 0;
}
