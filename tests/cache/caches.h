/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * Shared by tests of thread caches. The programs have so many keys of thread-specific data that
 * pthread_setspecific allocates for the library's key.
 */

#pragma once

#include <pthread.h>
#include <stdlib.h>

#include "block/block.h"
#include "broken.h"
#include "cache/tcache_core.h"
#include "harness.h"
#include "slab/slab_core.h"

#define FIRST_LEVEL_KEYS 32 /* of glibc */

__attribute__((constructor(200))) static void use_up_keys(void)
{
	for (int i = 0; i < FIRST_LEVEL_KEYS; i++) {
		pthread_key_t key;

		if (pthread_key_create(&key, NULL))
			abort();
	}
}

static inline void check_all(void)
{
	const char *fault = tcache_check();

	CHECK_MSG(!fault, "%s", fault);
	fault = block_check();
	CHECK_MSG(!fault, "%s", fault);
}

static inline struct tcache *own_cache(void)
{
	free(malloc(1));
	CHECK(tcache_thread.own && tcache_thread.own != TCACHE_ENDED);
	return tcache_thread.own;
}

static inline size_t out_of(unsigned int class)
{
	return slab_class_states[class].out;
}

static inline size_t out_cells(void)
{
	struct osmem_cell_stats stats;

	slab_get_stats(&stats);
	return stats.live;
}

static inline void in_thread(void *(*body)(void *arg), void *arg)
{
	pthread_t thread;

	CHECK(pthread_create(&thread, NULL, body, arg) == 0);
	CHECK(pthread_join(thread, NULL) == 0);
}

#define SIZE 240 /* used by the test only */

static inline unsigned int class_in_use(void)
{
	unsigned int class = class_of_size(SIZE);

	own_cache();
	CHECK(out_of(class) == 0);
	return class;
}

static void *cells[30000];

static inline void alloc_cells_of(size_t size, size_t n)
{
	for (size_t i = 0; i < n; i++)
		CHECK((cells[i] = malloc(size)));
}

static inline void alloc_cells(size_t n)
{
	alloc_cells_of(SIZE, n);
}

static inline void free_cells(size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(cells[i]);
}

static unsigned int shard_in_thread;

static inline void *alloc_in_thread(void *arg)
{
	shard_in_thread = own_cache()->shard;
	alloc_cells(*(size_t *)arg);
	return NULL;
}

static inline void *use_cells(void *arg)
{
	alloc_cells(1000);
	free_cells(1000);
	return arg;
}
