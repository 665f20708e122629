// SPDX-License-Identifier: BSD-3-Clause

/*
 * A tool that has put itself in front of sbrk and allocates there, from this library too: before
 * the break moves, and after. The heap is whole at both moments, and whatever was raised meanwhile
 * is used or left alone, but never twice.
 */

#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "block_meta.h"
#include "harness.h"
#include "osmem.h"
#include "osmem_inspect.h"

#define KEPT 4096
#define THREADS 4
#define ROUNDS 400
#define BLOCKS 40

static void *(*real_sbrk)(intptr_t by);
static void (*hook)(intptr_t by, bool is_after);
static __thread bool is_inside;
static bool is_forked; /* this is the child */

void *sbrk(intptr_t by)
{
	void *p;

	if (!real_sbrk)
		real_sbrk = (void *(*)(intptr_t))dlsym(RTLD_NEXT, "sbrk");
	if (!hook || is_inside)
		return real_sbrk(by);
	is_inside = true;
	hook(by, false);
	p = real_sbrk(by);
	if (hook)
		hook(by, true);
	is_inside = false;
	return p;
}

static void expect_sound(void)
{
	const char *fault = osmem_check();

	CHECK_MSG(!fault, "%s", fault);
}

/* Blocks with what they were filled with. */

struct kept {
	unsigned char *p;
	size_t size;
	unsigned char byte;
};

static void keep(struct kept *k, size_t size, unsigned char byte)
{
	k->p = os_malloc(size);
	CHECK(k->p);
	memset(k->p, byte, size);
	k->size = size;
	k->byte = byte;
}

static void expect_kept(const struct kept *k)
{
	for (size_t i = 0; i < k->size; i++)
		CHECK_MSG(k->p[i] == k->byte, "byte %zu of %zu", i, k->size);
}

static struct kept kept[KEPT];
static size_t kept_count, hook_size, hook_calls;
static bool wants_after, wants_before;

static void keep_one(size_t size)
{
	CHECK(kept_count < KEPT);
	keep(&kept[kept_count], size, (unsigned char)(kept_count + 1));
	kept_count++;
}

static void allocate_in_hook(intptr_t by, bool is_after)
{
	void *p;

	hook_calls++;
	if (by < 0 || !(is_after ? wants_after : wants_before) || kept_count == KEPT)
		return;
	expect_sound();
	p = malloc(100);
	keep_one(hook_size);
	p = realloc(p, 50000);
	CHECK(p);
	free(p);
	os_free(os_malloc(hook_size / 2 + 1));
	expect_sound();
}

static void grow_with_hook(size_t size, bool before, bool after)
{
	kept_count = 0;
	wants_before = before;
	wants_after = after;
	hook_size = size;
	hook = allocate_in_hook;
	for (size_t i = 0; i < 60; i++) {
		keep_one(i % 7 * 9000 + 100);
		if (i % 3 == 0) {
			struct kept *k = &kept[kept_count - 1];

			k->p = os_realloc(k->p, k->size + 30000);
			CHECK(k->p);
		}
		expect_sound();
	}
	hook = NULL;
	CHECK(hook_calls);
	for (size_t i = 0; i < kept_count; i++)
		expect_kept(&kept[i]);
	for (size_t i = 0; i < kept_count; i++)
		os_free(kept[i].p);
	expect_sound();
}

TEST(hook_that_only_looks)
{
	grow_with_hook(0, false, false);
}

TEST(hook_that_allocates_before)
{
	grow_with_hook(200, true, false);
	grow_with_hook(100000, true, false);
}

TEST(hook_that_allocates_after)
{
	grow_with_hook(200, false, true);
	grow_with_hook(100000, false, true);
}

TEST(hook_that_allocates_before_and_after)
{
	grow_with_hook(8, true, true);
	grow_with_hook(120000, true, true);
}

/* With threads: the hook has a lock of its own, and allocates under it. */

static pthread_mutex_t hook_lock = PTHREAD_MUTEX_INITIALIZER;

static void allocate_under_lock(intptr_t by, bool is_after)
{
	struct kept one;
	void *p;

	(void)by;
	(void)is_after;
	pthread_mutex_lock(&hook_lock);
	p = malloc(3000);
	CHECK(p);
	keep(&one, 5000, 7);
	free(p);
	expect_kept(&one);
	os_free(one.p);
	pthread_mutex_unlock(&hook_lock);
}

static void *work(void *arg)
{
	struct kept blocks[BLOCKS] = {0};
	unsigned int seed = (unsigned int)(uintptr_t)arg;

	for (size_t i = 0; i < ROUNDS; i++) {
		struct kept *k = &blocks[(seed = seed * 1664525 + 1013904223) % BLOCKS];

		if (k->p) {
			expect_kept(k);
			os_free(k->p);
		}
		keep(k, (seed >> 8) % 60000 + 1, (unsigned char)seed);
	}
	for (size_t i = 0; i < BLOCKS; i++) {
		if (blocks[i].p)
			expect_kept(&blocks[i]);
		os_free(blocks[i].p);
	}
	return NULL;
}

TEST(hook_under_a_lock_with_threads)
{
	pthread_t threads[THREADS];

	hook = allocate_under_lock;
	for (uintptr_t i = 0; i < THREADS; i++)
		CHECK(pthread_create(&threads[i], NULL, work, (void *)(i + 1)) == 0);
	for (size_t i = 0; i < THREADS; i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
	hook = NULL;
	expect_sound();
}

/* The child of a fork in sbrk goes on where its parent was; it waits for nobody. */

static void fork_in_hook(intptr_t by, bool is_after)
{
	int status;
	pid_t child;

	if (by <= 0 || is_after)
		return;
	hook = NULL;
	child = fork();
	CHECK(child >= 0);
	if (child > 0)
		CHECK_MSG(waitpid(child, &status, 0) == child && status == 0, "status %#x",
			  (unsigned int)status);
	else
		is_forked = true;
}

TEST(fork_in_hook_goes_on)
{
	struct timespec start, end;

	hook = fork_in_hook;
	clock_gettime(CLOCK_MONOTONIC, &start);
	for (size_t i = 0; i < 20; i++)
		keep_one(30000);
	clock_gettime(CLOCK_MONOTONIC, &end);
	for (size_t i = 0; i < kept_count; i++)
		expect_kept(&kept[i]);
	expect_sound();
	CHECK(end.tv_sec - start.tv_sec < (is_forked ? 2 : 5));
	if (is_forked)
		_exit(0);
}
