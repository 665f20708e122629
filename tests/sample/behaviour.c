// SPDX-License-Identifier: BSD-3-Clause
// Needs: objects

/* Samples in all ways in which objects come and go, and in all modes. */

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "cache/tcache_core.h"
#include "osmem.h"
#include "sample/guard.h"
#include "sample/sample_table.h"
#include "sample/stack.h"
#include "samples.h"
#include "trace/calls.h"

void free_sized(void *p, size_t size);

/* At this interval, an object of 50 bytes is a sample: the probability of another is 2^-72. */
#define EACH 1
#define SIZE 50

static size_t live_samples(void)
{
	struct sample_stats stats;

	sample_get_stats(&stats);
	return stats.live;
}

static size_t dropped_samples(void)
{
	struct sample_stats stats;

	sample_get_stats(&stats);
	return stats.dropped;
}

static bool is_sample(const void *p, size_t size)
{
	struct sample_info info;

	return sample_find(p, &info) && info.size == size;
}

TEST(nothing_is_sampled_before_the_start_or_after_the_end)
{
	void *p = malloc(SIZE), *q;

	CHECK(!sample_is_on() && !is_sample(p, SIZE));
	sample_start(EACH);
	q = malloc(SIZE);
	CHECK(sample_is_on() && is_sample(q, SIZE) && !is_sample(p, SIZE));
	free(p);
	sample_stop();
	p = malloc(SIZE);
	CHECK(!sample_is_on() && is_sample(q, SIZE) && !is_sample(p, SIZE));
	free(p);
	free(q);
	check_no_sample_lives();
	sample_start(EACH);
	q = malloc(SIZE);
	CHECK(is_sample(q, SIZE));
	free(q);
	check_no_sample_lives();
}

TEST(os_malloc_is_not_sampled)
{
	void *p;

	sample_start(EACH);
	p = os_malloc(SIZE);
	CHECK(p && !live_samples());
	p = os_realloc(p, 1000 * SIZE);
	CHECK(p && !live_samples());
	os_free(p);
}

TEST(refused_sizes)
{
	volatile size_t most = SIZE_MAX; /* the compiler knows that it is too much */

	sample_start(EACH);
	errno = 0;
	CHECK(!malloc(most) && errno == ENOMEM && !malloc(most / 2));
	CHECK(!calloc(most / 2, 3) && !memalign(64, most - 10) && !live_samples());
	free(malloc(0));
	check_no_sample_lives();
}

static void use_each(void)
{
	for (size_t size = SIZE; size < 3 * MIB; size += size / 3) {
		unsigned char *p = malloc(size), *q = calloc(1, size), *r = memalign(256, size);

		CHECK(is_sample(p, size) && is_sample(q, size) && is_sample(r, size));
		CHECK(is_all(q, size, 0) && malloc_usable_size(p) >= size);
		CHECK((uintptr_t)r % 256 == 0);
		memset(p, 1, size);
		p = realloc(p, size + 30);
		CHECK(is_sample(p, size + 30) && is_all(p, size, 1));
		p = realloc(p, SIZE + 1);
		CHECK(is_sample(p, SIZE + 1) && is_all(p, SIZE, 1));
		errno = 4711;
		free(p);
		free_sized(q, size);
		free(r);
		CHECK(errno == 4711);
	}
	check_no_sample_lives();
	CHECK(!tcache_check());
}

TEST(each_object_of_a_thread)
{
	sample_start(EACH);
	use_each();
}

TEST(perturbed)
{
	unsigned char *p;

	sample_start(EACH);
	tcache_set_perturb(0x5a);
	p = malloc(SIZE);
	CHECK(is_sample(p, SIZE) && is_all(p, SIZE, 0xa5));
	free(p);
	use_each();
}

static void check_alignment(size_t align)
{
	for (size_t size = SIZE; size < 100 * KIB; size = size * 2 + 8) {
		void *p = NULL;

		CHECK(posix_memalign(&p, align, size) == 0);
		CHECK_MSG((uintptr_t)p % 16 == 0 && (uintptr_t)p % align == 0 && is_sample(p, size),
			  "%zu bytes, aligned to %zu: %p", size, align, p);
		free(p);
	}
}

/* Hardened, an object may lie at the end of its pages. */
TEST(all_alignments)
{
	char *arguments[] = {"behaviour", "all_alignments", NULL}, said[1024];
	bool is_again = getenv("OSMEM_OPTIONS");

	sample_start(EACH);
	for (size_t align = sizeof(void *); align <= 64 * KIB; align *= 2)
		check_alignment(align);
	if (is_again)
		return;
	CHECK(test_again("hardened,profile_interval=1", arguments, said, sizeof(said)) == 0);
	CHECK_MSG(strstr(said, "1 passed, 0 failed"), "%s", said);
}

TEST(counted)
{
	sample_start(EACH);
	calls_set_mode(CALLS_COUNTED, true);
	tcache_set_mode(TCACHE_COUNTS, true);
	use_each();
}

/* Threads. */

static pthread_key_t key;

static void alloc_late(void *arg)
{
	void **p = arg;

	CHECK(tcache_thread.own == TCACHE_ENDED);
	*p = malloc(SIZE);
	CHECK(is_sample(*p, SIZE));
	free(malloc(2 * SIZE));
}

static void *end_thread(void *arg)
{
	void **late = arg;

	free(malloc(SIZE));
	late[1] = malloc(SIZE);
	CHECK(pthread_setspecific(key, late) == 0);
	return NULL;
}

/* Each object is a sample, also without a cache, and another thread may free it. */
TEST(threads_that_end)
{
	pthread_t thread;
	void *late[2];

	CHECK(pthread_key_create(&key, alloc_late) == 0);
	sample_start(EACH);
	for (size_t i = 0; i < 20; i++) {
		CHECK(pthread_create(&thread, NULL, end_thread, late) == 0);
		CHECK(pthread_join(thread, NULL) == 0);
		CHECK(is_sample(late[0], SIZE) && is_sample(late[1], SIZE));
		free(late[0]);
		free(late[1]);
		CHECK(!is_sample(late[0], SIZE) && !is_sample(late[1], SIZE));
	}
	CHECK(!dropped_samples() && !tcache_check());
}

static uint32_t other_thread;

static void count_threads(const struct sample_entry *entry, void *arg)
{
	size_t *counts = arg;

	counts[0] += entry->thread == sys_thread() ? entry->live_objects : 0;
	counts[1] += entry->thread == other_thread ? entry->live_objects : 0;
}

static void *alloc_three(void *arg)
{
	other_thread = sys_thread();
	for (size_t i = 0; i < 3; i++)
		((void **)arg)[i] = malloc(SIZE);
	return NULL;
}

TEST(samples_have_a_thread)
{
	size_t counts[2] = {0}, before[2] = {0};
	pthread_t thread;
	void *p[5];

	sample_start(EACH);
	p[3] = malloc(SIZE);
	CHECK(sample_each_stack(count_threads, before));
	CHECK(pthread_create(&thread, NULL, alloc_three, p) == 0);
	CHECK(pthread_join(thread, NULL) == 0);
	p[4] = malloc(SIZE);
	CHECK(sample_each_stack(count_threads, counts));
	CHECK(counts[1] == 3 && counts[0] >= before[0] + 1);
}

/* Stacks. */

static __attribute__((noinline)) void *alloc_here(void)
{
	void *p = malloc(SIZE);

	__asm__ volatile("");
	return p;
}

static bool has_frame(const struct sample_info *info, uintptr_t function)
{
	for (unsigned int i = 0; i < info->depth; i++)
		if (info->frames[i] - function < 64)
			return true;
	return false;
}

TEST(samples_have_a_stack)
{
	struct sample_info info;
	const uintptr_t *frames;
	void *p, *q;

	if (!stack_begin())
		test_skip("no stacks here");
	sample_start(EACH);
	p = alloc_here();
	CHECK(sample_find(p, &info) && has_frame(&info, (uintptr_t)alloc_here));
	frames = info.frames;
	q = malloc(SIZE);
	CHECK(sample_find(q, &info) && !has_frame(&info, (uintptr_t)alloc_here));
	CHECK(info.frames != frames && info.thread == sys_thread());
}

/* A signal handler that interrupts a thread inside. */

TEST(nested_calls)
{
	size_t dropped;
	void *p, *q;

	sample_start(EACH);
	p = malloc(SIZE);
	CHECK(is_sample(p, SIZE) && table_begin());
	dropped = dropped_samples();
	q = malloc(SIZE);
	CHECK(q && dropped_samples() == dropped + 1);
	free(q);
	free(p);
	CHECK(!sample_each_stack(add_entry, NULL) && errno == EDEADLK);
	table_end();
	CHECK(!is_sample(p, SIZE) && !is_sample(q, SIZE));
	CHECK(estimates().live_bytes.estimate == 0);
	q = malloc(SIZE);
	CHECK(is_sample(q, SIZE));
	CHECK(table_begin());
	p = realloc(q, 2 * SIZE);
	CHECK(p);
	table_end();
	free(p);
	CHECK(estimates().live_bytes.estimate == 0);
}

/* The table grows, and entries are used again. */
TEST(many_samples)
{
	static void *objects[20000];
	struct sample_stats stats;
	size_t bytes = 0;

	sample_start(EACH);
	for (size_t round = 0; round < 3; round++) {
		for (size_t i = 0; i < COUNT_OF(objects); i++)
			objects[i] = malloc(SIZE);
		for (size_t i = 0; i < COUNT_OF(objects); i++)
			CHECK(is_sample(objects[i], SIZE));
		sample_get_stats(&stats);
		CHECK(stats.live == COUNT_OF(objects) && (!bytes || stats.table_bytes == bytes));
		bytes = stats.table_bytes;
		for (size_t i = 0; i < COUNT_OF(objects); i++)
			free(objects[i]);
		check_no_sample_lives();
	}
	CHECK(bytes < 200 * COUNT_OF(objects));
}

/* Growth. */

static size_t growths;
static uint64_t live_at_growth;

static void note_growth(void)
{
	struct sample_stats stats;

	sample_get_stats(&stats);
	CHECK(stats.live_bytes >= live_at_growth + MIB);
	live_at_growth = stats.live_bytes;
	growths++;
	free(malloc(SIZE));
}

TEST(growth_of_the_peak)
{
	static void *objects[100];

	sample_start(EACH);
	sample_on_growth(MIB, note_growth);
	for (size_t round = 0; round < 3; round++) {
		for (size_t i = 0; i < COUNT_OF(objects); i++)
			CHECK((objects[i] = malloc(100 * KIB)));
		for (size_t i = 0; i < COUNT_OF(objects); i++)
			free(objects[i]);
		CHECK_MSG(growths >= 8 && growths <= 9, "%zu", growths);
	}
}

/* Guards. */

static void check_guards(size_t every, size_t calls)
{
	size_t guarded = 0;
	double p = 1.0 / (double)every, off;

	CHECK(sample_start_guards(every));
	for (size_t i = 0; i < calls; i++) {
		void *q = i % 3 ? malloc(20) : calloc(1, 1000);

		guarded += guard_owns(q);
		free(q);
	}
	off = (double)guarded - p * (double)calls;
	CHECK_MSG(off * off <= 36 * p * (1 - p) * (double)calls, "%zu of %zu, every %zu", guarded,
		  calls, every);
	CHECK(!live_samples());
}

TEST(each_call_is_guarded)
{
	check_guards(1, 1000);
}

TEST(every_second_call_is_guarded)
{
	check_guards(2, 50000);
}

TEST(every_tenth_call_is_guarded)
{
	check_guards(10, 200000);
}

TEST(few_calls_are_guarded)
{
	check_guards(5000, 20000000);
}

TEST(guards_and_samples)
{
	void *p, *q;

	CHECK(guard_begin()); /* musl allocates for its fork handler, which must not be sampled */
	sample_start(EACH);
	CHECK(sample_start_guards(1));
	p = malloc(SIZE);
	CHECK(guard_owns(p) && is_sample(p, SIZE));
	q = realloc(p, 4 * SIZE);
	CHECK(guard_owns(q) && is_sample(q, 4 * SIZE) && !is_sample(p, SIZE));
	q = realloc(q, 2 * SIZE);
	CHECK(is_sample(q, 2 * SIZE));
	sample_stop();
	free(q);
	q = malloc(SIZE);
	CHECK(guard_owns(q) && !is_sample(q, SIZE));
	free(q);
	check_no_sample_lives();
}
