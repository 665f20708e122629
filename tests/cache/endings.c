// SPDX-License-Identifier: BSD-3-Clause
// Needs: objects, refusals

/*
 * Threads that end in every way, at random moments: they return; call pthread_exit deep in the
 * stack; are cancelled while they sleep, at a cancellation point, or anywhere between two calls.
 * Destructors of keys and of thread-local objects allocate and free, and signals arrive. Afterwards
 * nothing is lost: the figures return to what they were, and the checkers are content.
 */

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cache/tcache.h"
#include "harness.h"
#include "refusals.h"
#include "signals.h"

#define THREADS 8 /* at a time */
#define ROUNDS 12
#define HELD 50

/* Contents. */

struct block {
	size_t size;
	unsigned char bytes[];
};

static struct block *make_block(uint64_t *state)
{
	size_t size = random_below(state, random_below(state, 30) ? 900 : 60000);
	struct block *b = malloc(sizeof(*b) + size);

	CHECK(b);
	b->size = size;
	memset(b->bytes, (unsigned char)size, size < 900 ? size : 900);
	return b;
}

static void drop_block(struct block *b)
{
	for (size_t i = 0; b && i < b->size && i < 900; i++)
		CHECK(b->bytes[i] == (unsigned char)b->size);
	free(b);
}

/* ---- Lives ---- */

struct life {
	pthread_t thread;
	uint64_t state;
	struct block *held[HELD];
	volatile size_t sum; /* of a computation without allocations */
};

static struct life lives[THREADS];

static void work(struct life *life)
{
	size_t i = random_below(&life->state, HELD);

	drop_block(life->held[i]);
	life->held[i] = NULL; /* a cancellation may happen between the two */
	life->held[i] = make_block(&life->state);
}

/* A cleanup handler, which each of these threads has. */
static void drop_all(void *arg)
{
	struct life *life = arg;

	for (size_t i = 0; i < HELD; i++) {
		drop_block(life->held[i]);
		life->held[i] = NULL;
	}
}

static void return_at_random(struct life *life)
{
	for (size_t i = random_below(&life->state, 300); i > 0; i--)
		work(life);
}

static void (*volatile leave)(void *value) =
	pthread_exit; /* the compiler must believe that it returns */

static void exit_from(struct life *life, size_t depth)
{
	struct block *b = make_block(&life->state);

	pthread_cleanup_push((void (*)(void *))drop_block, b);
	work(life);
	if (depth > 0)
		exit_from(life, depth - 1);
	else
		leave(NULL);
	pthread_cleanup_pop(1);
}

static void exit_from_deep_inside(struct life *life)
{
	return_at_random(life);
	exit_from(life, random_below(&life->state, 20));
}

static void wait_for_cancellation(struct life *life)
{
	for (;;) {
		work(life);
		if (random_below(&life->state, 20) == 0)
			usleep(1);
		pthread_testcancel();
	}
}

/*
 * Asynchronous cancellation, except in the library's functions: like all others, they do not
 * support it.
 */
static void wait_for_cancellation_anywhere(struct life *life)
{
	for (;;) {
		work(life);
		pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
		for (size_t i = 0; i < 2000; i++)
			life->sum += i;
		pthread_setcanceltype(PTHREAD_CANCEL_DEFERRED, NULL);
	}
}

static void (*const ways[])(struct life *life) = {
	return_at_random,
	exit_from_deep_inside,
	wait_for_cancellation,
#ifdef __GLIBC__ /* with musl 1.2, asynchronous cancellation may leave the stack misaligned */
	wait_for_cancellation_anywhere,
#endif
};

/* ---- Destructors ---- */

static pthread_key_t keys[3];

struct value {
	pthread_key_t key;
	int again; /* as often again; libc repeats at most three times */
	unsigned char bytes[];
};

static void set_value(pthread_key_t key, int again)
{
	struct value *v = malloc(sizeof(*v) + (size_t)again * 5000);

	CHECK(v);
	*v = (struct value){.key = key, .again = again};
	CHECK(pthread_setspecific(key, v) == 0);
}

static void end_of_key(void *value)
{
	struct value v = *(struct value *)value;
	uint64_t state = 7;

	free(value);
	for (size_t i = 0; i < 20; i++)
		drop_block(make_block(&state));
	if (v.again)
		set_value(v.key, v.again - 1);
}

/* Not every C library has it. */
int __cxa_thread_atexit_impl(void (*function)(void *), void *object, void *dso)
	__attribute__((weak));
extern void *__dso_handle;

static void end_of_object(void *object)
{
	object = realloc(object, 30000);
	CHECK(object);
	free(object);
}

/* ---- Many keys ---- */

#define MANY_KEYS 40 /* libc has room for 32 in each thread */

static pthread_key_t many_keys[MANY_KEYS];

/* Before the first allocation; the library creates its key even earlier. */
__attribute__((constructor)) static void make_many_keys(void)
{
	for (size_t i = 0; i < COUNT_OF(many_keys); i++)
		pthread_key_create(&many_keys[i], NULL);
}

static void set_destructors(void)
{
	for (size_t i = 0; i < COUNT_OF(keys); i++) {
		set_value(keys[i], (int)i);
		if (__cxa_thread_atexit_impl)
			__cxa_thread_atexit_impl(end_of_object, malloc(i * 300), &__dso_handle);
	}
}

/* ---- Tests ---- */

struct plan {
	void (*end)(struct life *life);
	bool has_destructors;
};

static struct plan plan;

static void *live(void *arg)
{
	struct life *life = arg;
	void (*end)(struct life * life) = plan.end;

	if (!end)
		end = ways[random_below(&life->state, COUNT_OF(ways))];
	pthread_cleanup_push(drop_all, life);
	if (plan.has_destructors)
		set_destructors();
	(plan.end ? plan.end : ways[random_below(&life->state, COUNT_OF(ways))])(life);
	pthread_cleanup_pop(1);
	return NULL;
}

/* Cancel threads that wait for it; others may have ended before. */
static void live_and_end(uint64_t *state)
{
	for (size_t i = 0; i < THREADS; i++) {
		lives[i].state = random_below(state, SIZE_MAX / 2);
		CHECK(pthread_create(&lives[i].thread, NULL, live, &lives[i]) == 0);
	}
	for (size_t i = 0; i < THREADS; i++) {
		usleep((useconds_t)random_below(state, 500));
		pthread_cancel(lives[i].thread);
	}
	for (size_t i = 0; i < THREADS; i++)
		CHECK(pthread_join(lives[i].thread, NULL) == 0);
	for (size_t i = 0; i < THREADS; i++)
		for (size_t j = 0; j < HELD; j++)
			CHECK(!lives[i].held[j]);
}

static void run(void (*end)(struct life *life), bool has_destructors)
{
	uint64_t state = 1;

	for (size_t i = 0; i < COUNT_OF(keys); i++)
		CHECK(pthread_key_create(&keys[i], end_of_key) == 0);
	/* Let libc make its one-time allocations: stacks, and the first cancellation. */
	plan = (struct plan){.has_destructors = has_destructors};
	live_and_end(&state);
	malloc_trim(0);
	note_live();
	plan.end = end;
	for (int i = 0; i < ROUNDS; i++) {
		live_and_end(&state);
		check_all();
	}
	check_nothing_lost();
}

/* libc allocates memory for the value, with the thread's first call of malloc. */
static void *set_first(void *arg)
{
	CHECK(pthread_setspecific(many_keys[MANY_KEYS - 1], arg) == 0);
	return NULL;
}

TEST(value_of_a_late_key_is_the_first_allocation)
{
	struct tcache_stats before, after;
	pthread_t threads[THREADS];

	free(malloc(100));
	tcache_get_stats(&before);
	for (size_t i = 0; i < COUNT_OF(threads); i++)
		CHECK(pthread_create(&threads[i], NULL, set_first, threads) == 0);
	for (size_t i = 0; i < COUNT_OF(threads); i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
	tcache_get_stats(&after);
	CHECK(after.caches == before.caches);
	check_all();
}

TEST(returned)
{
	run(return_at_random, false);
}

TEST(exited_from_deep_inside)
{
	run(exit_from_deep_inside, false);
}

TEST(cancelled)
{
	run(wait_for_cancellation, false);
}

TEST(cancelled_anywhere)
{
	if (ways[COUNT_OF(ways) - 1] != wait_for_cancellation_anywhere)
		test_skip("after an asynchronous cancellation the stack may be misaligned");
	run(wait_for_cancellation_anywhere, false);
}

TEST(ended_in_any_way_with_destructors)
{
	run(NULL, true);
}

/* The same with frequent signals at any instruction. */

TEST(ended_in_any_way_under_signals)
{
	signals_begin(NULL);
	run(NULL, true);
	CHECK(signals_end() > 10);
}
