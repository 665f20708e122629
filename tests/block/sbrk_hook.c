// SPDX-License-Identifier: BSD-3-Clause
// Needs: libosmem.so

/*
 * A tool that has put itself in front of sbrk and allocates there, from this library too: before
 * the break moves, and after. The heap is whole at both moments, and whatever was raised meanwhile
 * is used or left alone, but never twice.
 */

#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "block_meta.h"
#include "broken.h"
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
static bool is_refused; /* the hook wants the next call to fail */

void *sbrk(intptr_t by)
{
	void *p;

#ifdef __GLIBC__
	if (!real_sbrk)
		real_sbrk = (void *(*)(intptr_t))dlsym(RTLD_NEXT, "sbrk");
#else
	real_sbrk = moving_sbrk;
#endif
	if (!hook || is_inside)
		return real_sbrk(by);
	is_inside = true;
	hook(by, false);
	p = is_refused ? (void *)-1 : real_sbrk(by);
	is_refused = false;
	if (hook)
		hook(by, true);
	is_inside = false;
	return p;
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
	expect_sound(osmem_check);
	p = malloc(100);
	keep_one(hook_size);
	p = realloc(p, 50000);
	CHECK(p);
	free(p);
	os_free(os_malloc(hook_size / 2 + 1));
	expect_sound(osmem_check);
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
		expect_sound(osmem_check);
	}
	hook = NULL;
	CHECK(hook_calls);
	for (size_t i = 0; i < kept_count; i++)
		expect_kept(&kept[i]);
	for (size_t i = 0; i < kept_count; i++)
		os_free(kept[i].p);
	expect_sound(osmem_check);
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
	expect_sound(osmem_check);
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
	expect_sound(osmem_check);
	CHECK(end.tv_sec - start.tv_sec < (is_forked ? 2 : 5));
	if (is_forked)
		_exit(0);
}

/* The hook takes and gives back what is free: the break moves by as much as without it. */

static void use_a_hole(intptr_t by, bool is_after)
{
	void *p = os_malloc(40);

	(void)by;
	(void)is_after;
	CHECK(p);
	os_free(p);
	hook_calls++;
}

TEST(hook_that_uses_a_hole_changes_no_growth)
{
	char *hole = os_malloc(40), *last = os_malloc(131032 - 40 - 32), *end;

	CHECK(hole && last);
	os_free(hole);
	end = sbrk(0);
	hook = use_a_hole;
	for (size_t i = 1; i < 30; i++) {
		CHECK(os_malloc(i * 1000) == end + 32);
		end += 32 + i * 1000;
	}
	hook = NULL;
	CHECK(hook_calls);
	CHECK((char *)sbrk(0) == end);
	expect_sound(osmem_check);
}

/* The hook lets a block of its own grow, between the moment the break is read and the next. */

static struct kept growing;

static void grow_one(intptr_t by, bool is_after)
{
	if (by || !is_after || hook_calls++ > 50)
		return;
	expect_kept(&growing);
	growing.size += 3000;
	growing.p = os_realloc(growing.p, growing.size);
	CHECK(growing.p);
	memset(growing.p, growing.byte, growing.size);
	expect_sound(osmem_check);
}

TEST(hook_that_reallocates)
{
	keep_one(131000);
	keep(&growing, 100, 77);
	hook = grow_one;
	for (size_t i = 0; i < 20; i++)
		keep_one(2000 + i * 100);
	hook = NULL;
	CHECK(hook_calls);
	expect_kept(&growing);
	for (size_t i = 0; i < kept_count; i++)
		expect_kept(&kept[i]);
	expect_sound(osmem_check);
}

/* In first use, too, the heap begins once. */

static void begin_in_hook(intptr_t by, bool is_after)
{
	if (by == 0 && is_after && hook_calls++ == 0)
		keep_one(100);
}

TEST(hook_in_first_use)
{
	char *start = sbrk(0);

	hook = begin_in_hook;
	keep_one(1000);
	hook = NULL;
	CHECK(kept_count == 2);
	expect_kept(&kept[0]);
	expect_kept(&kept[1]);
	CHECK((char *)sbrk(0) == start + 131072);
	expect_sound(osmem_check);
}

/* The hook waits for a lock, and who holds it needs the heap. */

static atomic_bool is_in_hook, is_locked;
static void (*under_lock)(void);

static void wait_for_lock(intptr_t by, bool is_after)
{
	if (by <= 0 || is_after || is_in_hook)
		return;
	is_in_hook = true;
	pthread_mutex_lock(&hook_lock);
	pthread_mutex_unlock(&hook_lock);
}

static void *hold_lock(void *arg)
{
	pthread_mutex_lock(&hook_lock);
	is_locked = true;
	while (!is_in_hook)
		usleep(1000);
	under_lock();
	pthread_mutex_unlock(&hook_lock);
	return arg;
}

static void wait_crosswise(void (*what)(void))
{
	pthread_t thread;

	test_timeout(20);
	under_lock = what;
	keep_one(131000);
	CHECK(pthread_create(&thread, NULL, hold_lock, NULL) == 0);
	while (!is_locked)
		usleep(1000);
	hook = wait_for_lock;
	keep_one(5000);
	CHECK(pthread_join(thread, NULL) == 0);
	hook = NULL;
	for (size_t i = 0; i < kept_count; i++)
		expect_kept(&kept[i]);
	expect_sound(osmem_check);
}

static void grow(void)
{
	struct kept one;

	keep(&one, 7000, 3);
	expect_kept(&one);
}

static void fork_and_grow(void)
{
	int status;
	pid_t child = fork();

	CHECK(child >= 0);
	if (child == 0) {
		hook = NULL;
		grow();
		expect_sound(osmem_check);
		_exit(0);
	}
	CHECK(waitpid(child, &status, 0) == child && status == 0);
}

TEST(hook_that_waits_for_one_that_grows)
{
	wait_crosswise(grow);
}

TEST(hook_that_waits_for_one_that_forks)
{
	wait_crosswise(fork_and_grow);
}

/* A process that is stopped while one is in sbrk and another waits: they stay apart. */

static atomic_int inside_count, inside_most;

static void stop_inside(intptr_t by, bool is_after)
{
	int count;

	if (by <= 0)
		return;
	if (is_after) {
		inside_count--;
		return;
	}
	count = ++inside_count;
	if (count > inside_most)
		inside_most = count;
	if (is_in_hook)
		return;
	is_in_hook = true;
	usleep(100000); /* the other one comes to wait */
	CHECK(kill(getpid(), SIGSTOP) == 0);
	usleep(200000);
}

static void *grow_meanwhile(void *arg)
{
	while (!is_in_hook)
		usleep(1000);
	grow();
	return arg;
}

/* Let the parent go on a while after it has stopped. */
static pid_t start_waker(void)
{
	pid_t parent = getpid(), waker = fork();

	CHECK(waker >= 0);
	if (waker == 0) {
		usleep(1700000);
		kill(parent, SIGCONT);
		_exit(0);
	}
	return waker;
}

TEST(threads_stay_apart_in_a_stopped_process)
{
	pthread_t thread;
	pid_t waker;

	keep_one(131000);
	CHECK(pthread_create(&thread, NULL, grow_meanwhile, NULL) == 0);
	waker = start_waker();
	hook = stop_inside;
	keep_one(5000);
	CHECK(pthread_join(thread, NULL) == 0);
	hook = NULL;
	CHECK(waitpid(waker, NULL, 0) == waker);
	CHECK(inside_most == 1);
	expect_sound(osmem_check);
}

/*
 * One is refused what others wait for, too; then a fork takes long. They wait for it, and then one
 * for the other.
 */

static atomic_int forks_to_delay;

static void delay_fork(void)
{
	if (forks_to_delay > 0) {
		forks_to_delay--;
		usleep(1500000);
	}
}

/* Before any library's, so after all of theirs when a fork is prepared. */
static void register_delay(void)
{
	pthread_atfork(delay_fork, NULL, NULL);
}

__attribute__((section(".preinit_array"),
	       used)) static void (*const preinit)(void) = register_delay;

static void count_inside(intptr_t by, bool is_after)
{
	int count;

	if (is_after) {
		inside_count--;
		return;
	}
	count = ++inside_count;
	if (count > inside_most)
		inside_most = count;
	usleep(is_in_hook ? 30000 : 0);
	if (!is_in_hook && by) {
		is_in_hook = true;
		is_refused = true;
		usleep(300000); /* all others come to wait, the one that forks first */
	}
}

static void *fork_meanwhile(void *arg)
{
	pid_t child;

	while (!is_in_hook)
		usleep(1000);
	forks_to_delay = 1;
	child = fork();
	CHECK(child >= 0);
	if (child == 0)
		_exit(0);
	CHECK(waitpid(child, NULL, 0) == child);
	return arg;
}

static void *grow_later(void *arg)
{
	while (!is_in_hook)
		usleep(1000);
	usleep(100000);
	grow();
	return arg;
}

TEST(threads_stay_apart_after_a_long_fork)
{
	pthread_t threads[THREADS];

	keep_one(131000);
	hook = count_inside;
	for (size_t i = 0; i < THREADS; i++)
		CHECK(pthread_create(&threads[i], NULL, i ? grow_later : fork_meanwhile, NULL) ==
		      0);
	CHECK(!os_malloc(5000));
	for (size_t i = 0; i < THREADS; i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
	hook = NULL;
	CHECK(inside_most == 1);
	expect_sound(osmem_check);
}
