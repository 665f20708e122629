// SPDX-License-Identifier: BSD-3-Clause
// Needs: objects

/*
 * realloc and samples: each call counts as a free and an allocation, in place or not. What moves
 * keeps its contents.
 */

#include <malloc.h>
#include <string.h>
#include <unistd.h>

#include "samples.h"

#define COUNT 4000

static struct object {
	unsigned char *p;
	size_t size;
	unsigned char byte;
} objects[COUNT];

static struct truth truth;

/* The first and the last bytes of each object have its byte. */
#define END 8

static void check_ends(const struct object *o, size_t size)
{
	CHECK(is_all(o->p, END, o->byte));
	CHECK(size < o->size || is_all(o->p + o->size - END, END, o->byte));
}

static void resize_object(struct object *o, size_t size, size_t interval)
{
	bool is_new = !o->p;

	o->p = realloc(o->p, size);
	CHECK(o->p);
	if (!is_new) {
		end_live(&truth, o->size, interval);
		check_ends(o, size);
	}
	add_live(&truth, size, interval);
	o->size = size;
	o->byte++;
	memset(o->p, o->byte, END);
	memset(o->p + size - END, o->byte, END);
}

/* Resize all objects steps times in each of some rounds, and compare after each round. */
static void check_resizes(size_t (*next)(size_t old, uint64_t *random), size_t interval,
			  size_t count, size_t steps, size_t rounds)
{
	struct truth sum = {0}, now;
	uint64_t random = 1;

	test_timeout(300);
	sample_start(interval);
	for (size_t round = 0; round < rounds; round++) {
		for (size_t i = 0; i < count * steps; i++) {
			struct object *o = &objects[i % count];

			resize_object(o, next(o->p ? o->size : 0, &random), interval);
		}
		now = estimates();
		add_sum(&sum.live_bytes, &now.live_bytes);
		add_sum(&sum.live_objects, &now.live_objects);
		add_sum(&sum.live_bytes, &truth.live_bytes);
		add_sum(&sum.live_objects, &truth.live_objects);
		for (size_t i = 0; i < count; i++) {
			end_live(&truth, objects[i].size, interval);
			CHECK(!realloc(objects[i].p, 0));
			objects[i].p = NULL;
		}
		check_no_sample_lives();
	}
	sum.total_bytes = truth.total_bytes;
	sum.total_objects = truth.total_objects;
	add_sum(&sum.total_bytes, &now.total_bytes);
	add_sum(&sum.total_objects, &now.total_objects);
	check_truth(&sum);
}

/* Most stay in place. */
static size_t a_little_more(size_t old, uint64_t *random)
{
	return old ? old + 1 + random_below(random, 8) : 100 + random_below(random, 3000);
}

static size_t twice(size_t old, uint64_t *random)
{
	return old ? 2 * old : 10 + random_below(random, 300);
}

static size_t any_size(size_t old, uint64_t *random)
{
	(void)old;
	return 100 + random_below(random, random_below(random, 10) ? 2000 : 200000);
}

static size_t less(size_t old, uint64_t *random)
{
	return old ? 1 + old / 2 + random_below(random, old / 2)
		   : 5000 + random_below(random, 20000);
}

/* Spans and mappings grow in place. */
static size_t larger(size_t old, uint64_t *random)
{
	return old ? old + 4096 : 100000 + random_below(random, 3 * MIB);
}

TEST(small_steps)
{
	check_resizes(a_little_more, 2000, 4000, 10, 60);
}

TEST(doublings)
{
	check_resizes(twice, 2000, 2000, 6, 60);
}

TEST(any_sizes)
{
	check_resizes(any_size, 700, 2000, 6, 60);
}

TEST(shrinking)
{
	check_resizes(less, 3000, 4000, 5, 60);
}

TEST(large_objects)
{
	check_resizes(larger, 500000, 40, 5, 400);
}

/* An object that grows a little keeps its stack, and is one sample of its present size. */
TEST(a_growing_buffer_is_one_sample)
{
	struct sample_info info;
	const uintptr_t *frames;
	char *p;

	sample_start(1000);
	p = malloc(100000);
	CHECK(sample_find(p, &info) && info.size == 100000);
	frames = info.frames;
	for (size_t size = 100000; size < 100900; size += 8)
		CHECK(realloc(p, size) == p);
	CHECK(sample_find(p, &info) && info.size == 100896 && info.frames == frames);
	p = realloc(p, 102000);
	CHECK(p && sample_find(p, &info) && info.size == 102000 && info.frames != frames);
	free(p);
	CHECK(!sample_find(p, &info));
	check_no_sample_lives();
}

/* A mapping mostly stays as it is when it grows. It keeps its stack, too, and each call counts. */
TEST(a_growing_mapping_is_one_sample)
{
	size_t interval = MIB, size = 30 * MIB; /* a sample in any case */
	struct truth now, before;
	struct sample_info info;
	const uintptr_t *frames;
	char *p;

	sample_start(interval);
	p = malloc(size - (size_t)sysconf(_SC_PAGESIZE));
	p = realloc(p, size); /* moves, for room to grow */
	CHECK(p && sample_find(p, &info) && info.size == size);
	frames = info.frames;
	before = estimates();
	for (size_t i = 1; i <= 1000; i++) {
		p = realloc(p, size + 8 * i);
		CHECK(p && sample_find(p, &info) && info.size == size + 8 * i);
		CHECK(info.frames == frames);
	}
	now = estimates();
	CHECK(now.live_objects.estimate == 1 && now.live_bytes.estimate == (double)size + 8000);
	CHECK(now.total_objects.estimate == before.total_objects.estimate + 1000);
	CHECK(now.total_bytes.estimate ==
	      before.total_bytes.estimate + 1000.0 * (double)size + 4.0 * 1000 * 1001);
	for (size_t grown = size + 8000; grown < size + interval; grown += 4096)
		CHECK((p = realloc(p, grown)));
	CHECK((p = realloc(p, size + interval)) && sample_find(p, &info) && info.frames != frames);
	CHECK((p = realloc(p, size)) && sample_find(p, &info) && info.size == size);
	free(p);
	check_no_sample_lives();
}

/* An object that cannot grow stays a sample. */
TEST(a_refused_resize)
{
	struct sample_info info;
	char *p;

	sample_start(1);
	p = malloc(100);
	CHECK(!realloc(p, PTRDIFF_MAX) && sample_find(p, &info) && info.size == 100);
	CHECK(malloc_usable_size(p) >= 100);
	free(p);
	check_no_sample_lives();
}
