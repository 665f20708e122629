/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Shared by tests of fork: a table of known objects. Each child runs all checkers, frees every
 * known object, allocates, and measures what is lost: at most what each other thread had in use.
 */

#pragma once

#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "block/block.h"
#include "cache/tcache_core.h"
#include "fork.h"
#include "harness.h"
#include "large/large_core.h"
#include "slab/slab_core.h"

/* fork(2) without the handlers of the C library. The system call of that name is not everywhere. */
static inline pid_t raw_fork(void)
{
	return (pid_t)syscall(SYS_clone, (long)SIGCHLD, 0L, 0L, 0L, 0L);
}

/* Known objects: p is set after their contents identify them, and cleared before they are freed. */
struct object {
	unsigned char *_Atomic p;
	size_t size;
};

#define OBJECTS 24 /* of a thread */
#define WORKERS 4

static struct object objects[WORKERS][OBJECTS];

/* Large cells, which soon fill and empty magazines, depots and slabs; spans; mappings. */
static const size_t sizes[] = {16,    100,   1000,	8000,	   20000,    20000,   32000,  32000,
			       40000, 40000, 100 * KIB, 300 * KIB, SPAN_MAX, 3 * MIB, 5 * MIB};
#define SIZES_OF_CELLS 8 /* of these */

static size_t size_count = COUNT_OF(sizes);

static inline unsigned char mark_of(const struct object *o)
{
	return (unsigned char)(1 + (o - objects[0]) % 251);
}

static inline void publish(struct object *o, unsigned char *p, size_t size)
{
	CHECK(p);
	for (size_t at = 0; size <= 128 * KIB && at < size; at += 4096)
		p[at] = 0xff;
	p[0] = p[size / 2] = p[size - 1] = mark_of(o);
	o->size = size;
	o->p = p;
}

static inline unsigned char *take_back(struct object *o)
{
	unsigned char *p = o->p;

	CHECK(!p ||
	      (p[0] == mark_of(o) && p[o->size / 2] == mark_of(o) && p[o->size - 1] == mark_of(o)));
	o->p = NULL;
	return p;
}

static inline unsigned char *zeroed(size_t size)
{
	unsigned char *p = calloc(1, size);

	CHECK(p);
	for (size_t at = 0; at < size; at += 4096)
		CHECK(p[at] == 0);
	return p;
}

static inline void make(struct object *o, uint64_t *state)
{
	size_t size = sizes[random_below(state, size_count)];

	size -= random_below(state, size / 8);
	switch (random_below(state, 8)) {
	case 0:
		publish(o, zeroed(size), size);
		break;
	case 1:
		publish(o, memalign((size_t)16 << random_below(state, 13), size), size);
		break;
	default:
		publish(o, malloc(size), size);
	}
}

static inline void resize(struct object *o, uint64_t *state)
{
	size_t size = o->size / 2 + random_below(state, o->size + 100);
	unsigned char *p = take_back(o), *q = realloc(p, size);

	CHECK(q && q[0] == mark_of(o));
	publish(o, q, size);
}

static inline void step(struct object *own, uint64_t *state)
{
	struct object *o = &own[random_below(state, OBJECTS)];

	if (!o->p)
		make(o, state);
	else if (random_below(state, 5) == 0)
		resize(o, state);
	else
		free(take_back(o));
	if (random_below(state, 200) == 0)
		malloc_trim(0);
}

static inline void drop_all(void)
{
	for (size_t i = 0; i < WORKERS * OBJECTS; i++)
		free(take_back(&objects[0][i]));
}

static const char *where = "";

static inline void check_all(const char *when)
{
	const char *fault = tcache_check();

	if (!fault)
		fault = block_check();
	CHECK_MSG(!fault, "%s, %s: %s", where, when, fault);
}

static inline void allocate_all(void)
{
	uint64_t state = 7;

	for (size_t i = 0; i < OBJECTS; i++)
		make(&objects[0][i], &state);
	for (size_t i = 0; i < OBJECTS; i += 3)
		resize(&objects[0][i], &state);
}

#define LIBC_CELLS 8 /* of its threads */

/*
 * At most threads other threads were in a call, and lose what they were working on. Of spans that
 * may be three: realloc has the new one, the old one, and one that the old one evicts from the page
 * cache.
 */
static inline void check_lost(size_t threads)
{
	struct mapping_stats mappings;
	struct osmem_cell_stats cells;
	struct span_stats spans;
	struct tcache_stats caches;

	malloc_trim(0);
	slab_get_stats(&cells);
	span_get_stats(&spans);
	mapping_get_stats(&mappings);
	tcache_get_stats(&caches);
	CHECK_MSG(cells.live - caches.cached_cells <=
				  LIBC_CELLS + threads * (MAGAZINE_CELLS_MAX + 1) &&
			  spans.spans <= 3 * threads && mappings.count <= threads &&
			  large_dirty_bytes() == 0,
		  "%s: %zu cells, %zu spans, %zu mappings are lost, and %zu bytes kept", where,
		  cells.live - caches.cached_cells, spans.spans, mappings.count,
		  large_dirty_bytes());
}

static inline void __attribute__((noreturn)) look_and_end(size_t threads)
{
	test_timeout(20);
	check_all("at first");
	drop_all();
	check_all("after all was freed");
	check_lost(threads);
	allocate_all();
	check_all("after as many were made");
	drop_all();
	malloc_trim(0);
	check_all("in the end");
	check_lost(threads);
	_exit(0);
}

static inline void expect_good_end(pid_t pid)
{
	int status;

	CHECK(pid > 0 && waitpid(pid, &status, 0) == pid);
	if (WIFEXITED(status) && WEXITSTATUS(status))
		_exit(WEXITSTATUS(status)); /* the child has printed the reason */
	CHECK_MSG(status == 0, "%s: a child was killed by signal %d", where, WTERMSIG(status));
}

/* The rest of fork(): the process is a copy, and other threads may hold its locks. */
static inline void become_child(void)
{
	fork_parent = (uint32_t)getppid();
	fork_check_slow();
	CHECK(!fork_parent);
}

/* Where libc does not tell that there is a thread, its first section does. */
static inline void *enter_section(void *arg)
{
	static struct lock lock;

	lock_acquire(&lock);
	lock_release(&lock);
	return arg;
}

/* From now on locks are taken. */
static inline void have_had_a_thread(void)
{
	pthread_t thread;

	CHECK(pthread_create(&thread, NULL, enter_section, NULL) == 0);
	CHECK(pthread_join(thread, NULL) == 0);
}
