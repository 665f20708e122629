/* SPDX-License-Identifier: BSD-3-Clause */

/* What tests of forks and signals share: allocation that goes on in the background. */

#pragma once

#include "libc_common.h"

#include <pthread.h>
#include <spawn.h>
#include <sys/time.h>

/* A child that has not ended after this long never will. */
#define DEADLOCK_SECONDS 20

/*
 * Sizes of all kinds, mostly small: every page that a child writes to, and every page that its
 * parent then writes to, is a page fault, and many of them are most of what a test of forks costs.
 */
static inline size_t size_of(size_t i)
{
	return i % 16 ? i * i % 1500 : i * i % 40000;
}

enum {
	NOISY = 4,
	KEPT = 400
};

static volatile bool stop, is_quiet;
static pthread_t noisy[NOISY];
static void *kept[NOISY][KEPT]; /* blocks of each thread that are live all the time */

static inline void keep(size_t n)
{
	for (size_t i = 0; i < KEPT; i++) {
		kept[n][i] = malloc(size_of(i));
		CHECK(kept[n][i] != NULL);
		fill(kept[n][i], size_of(i), (unsigned int)n);
	}
}

static pthread_barrier_t all_kept;

/*
 * Threads matter at the moment of a fork. While the child is looked at, they would only take the
 * time that it needs.
 */
static inline void wait_while_quiet(void)
{
	while (is_quiet && !stop)
		sleep_ms(1);
}

static inline void noise_step(void **p, size_t count, uint64_t *state)
{
	size_t i = random_next(state) % count;
	size_t top = random_next(state) % 16 ? 8 : 14;
	size_t size = random_next(state) % ((size_t)16 << random_next(state) % top);

	if (random_next(state) % 4 == 0) {
		p[i] = realloc(p[i], size + 1);
		return;
	}
	free(p[i]);
	p[i] = malloc(size);
}

static inline void *make_noise(void *arg)
{
	size_t n = (size_t)arg;
	uint64_t state = n + 1;
	void *p[64] = {0};

	keep(n);
	pthread_barrier_wait(&all_kept);
	while (!stop) {
		wait_while_quiet();
		noise_step(p, COUNT_OF(p), &state);
	}
	for (size_t i = 0; i < COUNT_OF(p); i++)
		free(p[i]);
	return NULL;
}

static inline void start_noise(void)
{
	stop = false;
	is_quiet = false;
	pthread_barrier_init(&all_kept, NULL, NOISY + 1);
	for (size_t i = 0; i < NOISY; i++)
		CHECK(pthread_create(&noisy[i], NULL, make_noise, (void *)i) == 0);
	pthread_barrier_wait(&all_kept);
}

static inline void check_and_free_kept(void)
{
	for (size_t n = 0; n < NOISY; n++) {
		for (size_t i = 0; i < KEPT; i++) {
			CHECK(is_filled(kept[n][i], size_of(i), (unsigned int)n));
			free(kept[n][i]);
		}
	}
}

static inline void end_noise(void)
{
	stop = true;
	for (size_t i = 0; i < NOISY; i++)
		CHECK(pthread_join(noisy[i], NULL) == 0);
	check_and_free_kept();
}
