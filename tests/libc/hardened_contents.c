// SPDX-License-Identifier: BSD-3-Clause
// Needs: libosmem.so

/* OSMEM_OPTIONS=hardened: contents under every kind of change, in threads and through forks. */

#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hardened_common.h"
#include "libc_common.h"

/* Contents under every kind of change. */

#define SLOTS 400

struct slot {
	unsigned char *p;
	size_t size;
	unsigned char value;
};

static size_t some_size(uint64_t *state)
{
	uint64_t r = random_next(state);

	if (r % 100 == 0)
		return r % 300000;
	return r % 10 ? r % 200 : r % 20000;
}

static void check_slot(const struct slot *s)
{
	CHECK(!s->size || (s->p[0] == s->value && s->p[s->size - 1] == s->value));
	CHECK(!s->size || memcmp(s->p, s->p + 1, s->size - 1) == 0);
}

static void fill_slot(struct slot *s, void *p, size_t size, unsigned char value)
{
	CHECK(p && (uintptr_t)p % 16 == 0);
	*s = (struct slot){.p = p, .size = size, .value = value};
	memset(p, value, size);
}

static void change(struct slot *s, uint64_t *state)
{
	size_t size = some_size(state), kept = size < s->size ? size : s->size;
	unsigned char value = (unsigned char)random_next(state), *p;

	if (s->p)
		check_slot(s);
	switch (random_next(state) % 4) {
	case 0:
		p = size ? realloc(s->p, size) : s->p;
		CHECK(p || !size);
		if (!size)
			return;
		for (size_t i = 0; i < kept; i += 97)
			CHECK(p[i] == s->value);
		fill_slot(s, p, size, value);
		return;
	case 1:
		free(s->p);
		p = calloc(1, size);
		for (size_t i = 0; i < size; i += 61)
			CHECK(p[i] == 0);
		fill_slot(s, p, size, value);
		return;
	case 2:
		free(s->p);
		fill_slot(s, aligned_alloc((size_t)16 << random_next(state) % 10, size), size,
			  value);
		return;
	default:
		free(s->p);
		fill_slot(s, malloc(size), size, value);
	}
}

static void change_often(uint64_t state, int times)
{
	static _Thread_local struct slot slots[SLOTS];

	for (int i = 0; i < times; i++)
		change(&slots[random_next(&state) % SLOTS], &state);
	for (size_t i = 0; i < SLOTS; i++) {
		if (slots[i].p)
			check_slot(&slots[i]);
		free(slots[i].p);
		slots[i] = (struct slot){.p = NULL};
	}
}

static void *change_many(void *arg)
{
	change_often((uintptr_t)arg, 10000);
	return NULL;
}

static void change_in_threads(void *arg)
{
	pthread_t threads[4];

	(void)arg;
	for (uintptr_t i = 0; i < COUNT_OF(threads); i++)
		CHECK(pthread_create(&threads[i], NULL, change_many, (void *)(i + 1)) == 0);
	for (size_t i = 0; i < COUNT_OF(threads); i++)
		pthread_join(threads[i], NULL);
}

TEST(contents_stay_in_threads)
{
	change_in_threads(NULL);
	malloc_trim(0);
}

/* While other threads allocate, and the child of each fork frees what they had. */
static void *fork_often(void *arg)
{
	for (int i = 0; i < 10; i++) {
		pid_t child = fork();
		int status;

		if (child == 0) {
			change_often((uint64_t)i + 7, 500);
			malloc_trim(0);
			_exit(0);
		}
		CHECK(child > 0 && waitpid(child, &status, 0) == child && status == 0);
	}
	return arg;
}

TEST(contents_stay_through_forks)
{
	pthread_t thread;

	CHECK(pthread_create(&thread, NULL, fork_often, NULL) == 0);
	change_in_threads(NULL);
	pthread_join(thread, NULL);
}

/* Options that others set never let a call past the checks, not for a moment. */

static _Atomic(bool) is_setting;

static void *set_options(void *arg)
{
	for (int i = 0; i < 300000; i++)
		mallopt(M_PERTURB, i & 1);
	is_setting = false;
	return arg;
}

TEST(options_are_set_by_another_thread)
{
	pthread_t thread;
	char *p[32];

	is_setting = true;
	CHECK(pthread_create(&thread, NULL, set_options, NULL) == 0);
	while (is_setting) {
		for (size_t i = 0; i < COUNT_OF(p); i++) {
			p[i] = malloc(100);
			CHECK(p[i]);
			memset(p[i], 'a', 100);
		}
		for (size_t i = 0; i < COUNT_OF(p); i++)
			free(p[i]);
	}
	pthread_join(thread, NULL);
}
