// SPDX-License-Identifier: BSD-3-Clause
// Needs: objects

/* Estimates of programs whose truth is known. */

#include <malloc.h>
#include <pthread.h>
#include <string.h>

#include "samples.h"

void free_sized(void *p, size_t size);
void free_aligned_sized(void *p, size_t align, size_t size);
void *new_form(size_t size) __asm__("_Znwm");
void *new_array_form(size_t size) __asm__("_Znam");
void *new_aligned_form(size_t size, size_t align) __asm__("_ZnwmSt11align_val_t");
void delete_form(void *p) __asm__("_ZdlPv");
void delete_sized_form(void *p, size_t size) __asm__("_ZdaPvm");
void delete_aligned_form(void *p, size_t size, size_t align) __asm__("_ZdlPvmSt11align_val_t");

/* Sizes. */

static size_t equal_sizes(uint64_t *random)
{
	(void)random;
	return 48;
}

static size_t small_sizes(uint64_t *random)
{
	return 8 + random_below(random, 1017);
}

static size_t wide_sizes(uint64_t *random)
{
	return 1025 + random_below(random, 40000);
}

static size_t large_sizes(uint64_t *random)
{
	return 33000 + random_below(random, 4 * MIB);
}

/* As many of each power of two: most calls are for small objects, most bytes in large ones. */
static size_t all_sizes(uint64_t *random)
{
	size_t power = (size_t)8 << random_below(random, 14);

	return power + random_below(random, power);
}

/* Names. */

#define ALIGN 64

static void *alloc_by(size_t name, size_t size)
{
	void *p = NULL;

	switch (name) {
	case 0:
		return calloc(1, size);
	case 1:
		return memalign(ALIGN, size);
	case 2:
		return posix_memalign(&p, ALIGN, size) ? NULL : p;
	case 3:
		return new_form(size);
	case 4:
		return new_array_form(size);
	case 5:
		return new_aligned_form(size, ALIGN);
	case 6:
		return realloc(NULL, size);
	default:
		return malloc(size);
	}
}

static void free_by(size_t name, void *p, size_t size)
{
	if (name == 1 || name == 2)
		free_aligned_sized(p, ALIGN, size);
	else if (name == 3)
		delete_form(p);
	else if (name == 4)
		delete_sized_form(p, size);
	else if (name == 5)
		delete_aligned_form(p, size, ALIGN);
	else if (name == 6)
		CHECK(!realloc(p, 0));
	else if (name == 7)
		free_sized(p, size);
	else
		free(p);
}

#define NAMES 9

/* What a thread does: it allocates objects, and replaces some. */

#define OBJECTS_MAX 30000

struct part {
	size_t (*size_of)(uint64_t *random);
	size_t count, interval;
	uint64_t random;
	struct truth truth;
	struct object {
		void *p;
		size_t size, name;
	} objects[OBJECTS_MAX];
};

static void end_object(struct part *part, struct object *o)
{
	if (!o->p)
		return;
	free_by(o->name, o->p, o->size);
	end_live(&part->truth, o->size, part->interval);
	o->p = NULL;
}

static void make_object(struct part *part, struct object *o)
{
	o->size = part->size_of(&part->random);
	o->name = random_below(&part->random, NAMES);
	o->p = alloc_by(o->name, o->size);
	CHECK(o->p);
	memset(o->p, 1, o->size < 64 ? o->size : 64);
	add_live(&part->truth, o->size, part->interval);
}

/* One pass over the objects, which is another program each time. */
static void make_objects(struct part *part)
{
	for (size_t i = 0; i < part->count; i++)
		make_object(part, &part->objects[i]);
	for (size_t i = 0; i < part->count; i++) {
		struct object *o = &part->objects[random_below(&part->random, part->count)];

		end_object(part, o);
		make_object(part, o);
	}
}

/* Threads. They begin before sampling does: what libc allocates for them is not counted. */

static pthread_barrier_t begin_round, end_round;
static size_t rounds_left;

static void *run_thread(void *part)
{
	for (;;) {
		pthread_barrier_wait(&begin_round);
		if (!rounds_left)
			return NULL;
		make_objects(part);
		pthread_barrier_wait(&end_round);
	}
}

static void start_threads(struct part *parts, pthread_t *ids, size_t threads)
{
	CHECK(pthread_barrier_init(&begin_round, NULL, (unsigned int)threads + 1) == 0);
	CHECK(pthread_barrier_init(&end_round, NULL, (unsigned int)threads + 1) == 0);
	for (size_t i = 0; i < threads; i++)
		CHECK(pthread_create(&ids[i], NULL, run_thread, &parts[i]) == 0);
}

static void run_round(struct part *parts, size_t threads)
{
	if (threads == 1) {
		make_objects(parts);
		return;
	}
	pthread_barrier_wait(&begin_round);
	pthread_barrier_wait(&end_round);
}

static void end_threads(const pthread_t *ids, size_t threads)
{
	pthread_barrier_wait(&begin_round);
	for (size_t i = 0; i < threads; i++)
		CHECK(pthread_join(ids[i], NULL) == 0);
}

/*
 * rounds times, threads fill count objects each, which are compared while they live. Another thread
 * frees them. So the estimates of all rounds are independent of each other.
 */
static void check_mix(size_t (*size_of)(uint64_t *random), size_t interval, size_t count,
		      size_t threads, size_t rounds)
{
	static struct part parts[8];
	struct truth sum = {0}, now;
	pthread_t ids[8];

	test_timeout(300);
	for (size_t i = 0; i < threads; i++)
		parts[i] = (struct part){size_of, count, interval, .random = i + 1};
	if (threads > 1)
		start_threads(parts, ids, threads);
	sample_start(interval);
	for (rounds_left = rounds; rounds_left; rounds_left--) {
		run_round(parts, threads);
		now = estimates();
		add_sum(&sum.live_bytes, &now.live_bytes);
		add_sum(&sum.live_objects, &now.live_objects);
		for (size_t i = 0; i < threads; i++) {
			add_sum(&sum.live_bytes, &parts[i].truth.live_bytes);
			add_sum(&sum.live_objects, &parts[i].truth.live_objects);
		}
		for (size_t i = 0; i < threads * count; i++)
			end_object(&parts[i / count], &parts[i / count].objects[i % count]);
		check_no_sample_lives();
	}
	add_sum(&sum.total_bytes, &now.total_bytes);
	add_sum(&sum.total_objects, &now.total_objects);
	for (size_t i = 0; i < threads; i++) {
		add_sum(&sum.total_bytes, &parts[i].truth.total_bytes);
		add_sum(&sum.total_objects, &parts[i].truth.total_objects);
	}
	check_truth(&sum);
	if (threads > 1)
		end_threads(ids, threads);
}

#define MIX(sizes, interval, count, rounds)                                                        \
	TEST(sizes)                                                                                \
	{                                                                                          \
		check_mix(sizes, interval, count, 1, rounds);                                      \
	}                                                                                          \
	TEST(sizes##_in_threads)                                                                   \
	{                                                                                          \
		check_mix(sizes, interval, (count) / 8, 8, rounds);                                \
	}

MIX(equal_sizes, 200, 20000, 20)
MIX(small_sizes, 1000, 20000, 40)
MIX(wide_sizes, 10000, 4000, 100)
MIX(large_sizes, 1000000, 80, 700)
MIX(all_sizes, 500, 4000, 100)
