// SPDX-License-Identifier: BSD-3-Clause
// Needs: objects

/*
 * Samples in children of programs with threads. Each object is a sample, so threads are inside the
 * tables most of the time. A child knows every sample that its parent had, and goes on.
 */

#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

#include "samples.h"

#define WORKERS 4
#define FORKERS 2
#define OBJECTS 40
#define FORKS 150
#define SIZE_MIN 50 /* larger ones are samples for certain */

/* p is set when the object is a sample, and cleared before it is freed. */
static struct object {
	void *_Atomic p;
	size_t size;
} objects[WORKERS][OBJECTS];

static atomic_bool is_over;

static void *keep_sampling(void *arg)
{
	struct object *own = arg;
	uint64_t random = (uintptr_t)arg;

	while (!is_over) {
		struct object *o = &own[random_below(&random, OBJECTS)];
		size_t size = SIZE_MIN + random_below(&random, one_in(&random, 9) ? 90000 : 2000);
		void *p = o->p;

		o->p = NULL;
		if (p && one_in(&random, 2)) {
			p = realloc(p, size);
		} else {
			free(p);
			p = malloc(size);
		}
		o->size = size;
		o->p = p;
	}
	return NULL;
}

static bool is_known(const struct object *o)
{
	struct sample_info info;

	return sample_find(o->p, &info) && info.size == o->size;
}

/* The exit status, for a child has no other way to tell. */
static int look_around(void)
{
	struct truth now = {0};
	struct sample_stats stats;
	size_t known = 0;

	for (size_t i = 0; i < WORKERS * OBJECTS; i++) {
		const struct object *o = &objects[i / OBJECTS][i % OBJECTS];

		if (o->p && !is_known(o))
			return 2;
		known += o->p != NULL;
	}
	sample_get_stats(&stats);
	/* The threads and the one that forks may have one more at hand, or pthread_create had. */
	if (stats.live < known || stats.live > known + 4 * (WORKERS + FORKERS + 1))
		return 3;
	for (size_t i = 0; i < WORKERS * OBJECTS; i++) {
		struct object *o = &objects[i / OBJECTS][i % OBJECTS];

		free(o->p);
		o->p = o->size % 2 ? malloc(o->size = SIZE_MIN + i) : NULL;
		if (o->p && !is_known(o))
			return 4;
	}
	for (size_t i = 0; i < WORKERS * OBJECTS; i++)
		free(objects[i / OBJECTS][i % OBJECTS].p);
	if (!sample_each_stack(add_entry, &now))
		return 5;
	sample_get_stats(&stats);
	return stats.live > 4 * (WORKERS + FORKERS + 1) ? 6 : 0;
}

static void *keep_forking(void *arg)
{
	for (size_t i = 0; i < FORKS; i++) {
		pid_t pid = fork();
		int status = -1;

		if (pid == 0) {
			alarm(20 * test_patience());
			_exit(look_around());
		}
		CHECK(pid > 0 && waitpid(pid, &status, 0) == pid);
		CHECK_MSG(status == 0, "fork %zu: a child ended with wait status %#x", i, status);
	}
	return arg;
}

TEST(children_know_all_samples)
{
	pthread_t workers[WORKERS], forkers[FORKERS];

	test_timeout(200);
	sample_start(1);
	for (size_t i = 0; i < WORKERS; i++)
		CHECK(pthread_create(&workers[i], NULL, keep_sampling, objects[i]) == 0);
	for (size_t i = 0; i < FORKERS; i++)
		CHECK(pthread_create(&forkers[i], NULL, keep_forking, NULL) == 0);
	for (size_t i = 0; i < FORKERS; i++)
		CHECK(pthread_join(forkers[i], NULL) == 0);
	is_over = true;
	for (size_t i = 0; i < WORKERS; i++)
		CHECK(pthread_join(workers[i], NULL) == 0);
	CHECK(look_around() == 0);
}

/* A child of a single thread, and its child, have samples of their own. */
TEST(generations)
{
	struct truth now;
	int status;
	void *p;

	sample_start(1);
	p = malloc(1000);
	for (size_t generation = 0; generation < 3; generation++) {
		pid_t pid = fork();

		CHECK(pid >= 0);
		if (pid) {
			CHECK(waitpid(pid, &status, 0) == pid && status == 0);
			break;
		}
		now = estimates();
		CHECK(now.live_bytes.estimate == 1000);
		free(p);
		p = malloc(1000);
		now = estimates();
		CHECK(now.live_bytes.estimate == 1000);
		CHECK(now.total_bytes.estimate == 1000 * ((double)generation + 2));
	}
	now = estimates();
	CHECK(now.live_bytes.estimate == 1000);
	free(p);
	check_no_sample_lives();
}
