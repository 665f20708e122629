// SPDX-License-Identifier: BSD-3-Clause
// Needs: objects, refusals

/*
 * The kernel refuses, in the midst of everything: a scenario over every public function, threads
 * that start and end, and forks. It must get NULL and ENOMEM where memory was needed, keep every
 * block's contents, leave both heaps and the store of cells sound, lose nothing, and run without a
 * failure once memory is there again.
 *
 *	OSMEM_FAULTS_STEPS	steps of each run with random refusals (default 500000; two each)
 *	OSMEM_FAULTS_SEED	their first seed (default: by the clock; it is printed on failure)
 */

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "harness.h"
#include "osmem.h"
#include "refusals.h"
#include "ways.h"

/* Blocks with contents. */

struct slot {
	unsigned char *p;
	size_t size;
	size_t align; /* 0: none was asked for */
	unsigned char byte;
	bool is_course;
	bool is_resized; /* so it may be more than was asked for */
};

#define SLOTS 48
#define RUN 64 /* bytes that are looked at together */

static struct slot slots[SLOTS];
static bool is_strict; /* nothing may fail */
static size_t large_per_mille = 230; /* blocks of more than 3000 bytes */

static size_t random_size(void)
{
	static const size_t small[] = {16, 200, 200, 3000},
			    large[] = {70000, 70000, 200000, 1500000};
	bool is_large = random_below(&random_state, 1000) < large_per_mille;

	return 1 + random_below(&random_state,
				(is_large ? large
					  : small)[random_below(&random_state, COUNT_OF(small))]);
}

/*
 * Large blocks have their start written and looked at, runs that are ever further apart, and their
 * last byte. In every page it would be page faults, not refusals, that these tests spend their time
 * on.
 */
static size_t next_run(size_t i)
{
	return i + RUN + i / 4;
}

static size_t run_end(size_t i, size_t size)
{
	return size - i < RUN ? size : i + RUN;
}

static void fill(struct slot *s, size_t size, unsigned char byte)
{
	s->size = size;
	s->byte = byte;
	for (size_t i = 0; i < size; i = next_run(i))
		memset(s->p + i, byte, run_end(i, size) - i);
	s->p[size - 1] = byte;
}

static void check_contents(const struct slot *s, size_t size)
{
	for (size_t i = 0; i < size; i = next_run(i))
		for (size_t j = i; j < run_end(i, size); j++)
			CHECK(s->p[j] == s->byte);
	CHECK(size < s->size || s->p[size - 1] == s->byte);
}

static void refused(void)
{
	int error = errno;

	CHECK_MSG(error == ENOMEM, "errno is %d", error);
	CHECK(!is_strict);
}

static void get(struct slot *s, size_t nr)
{
	const struct way *way = &ways[nr % COUNT_OF(ways)];
	size_t size = random_size();
	unsigned char byte = (unsigned char)random_below(&random_state, 256);

	errno = 0;
	alignment = 0;
	s->p = way->get(size);
	s->align = alignment;
	s->is_course = way->is_course;
	s->is_resized = false;
	if (s->p)
		fill(s, size, byte);
	else
		refused();
}

static void resize(struct slot *s, size_t nr)
{
	size_t size = random_size();
	unsigned char byte = (unsigned char)random_below(&random_state, 256), *p;

	errno = 0;
	if (s->is_course)
		p = os_realloc(s->p, size);
	else
		p = nr % 2 ? realloc(s->p, size) : reallocarray(s->p, size, 1);
	if (!p) {
		refused();
		check_contents(s, s->size);
		return;
	}
	s->p = p;
	s->align = 0;
	s->is_resized = true;
	check_contents(s, size < s->size ? size : s->size);
	fill(s, size, byte);
}

static void free_with_size(struct slot *s)
{
	if (s->align)
		free_aligned_sized(s->p, s->align, s->size);
	else
		free_sized(s->p, s->size);
}

static void give_back_in_way(struct slot *s, size_t way)
{
	switch (way) {
	case 0:
	case 1:
		free_with_size(s);
		break;
	case 2:
		CHECK(realloc(s->p, 0) == NULL);
		break;
	case 3:
	case 4:
		if (s->align)
			operator_delete_aligned(s->p, s->align);
		else if (s->is_resized)
			operator_delete(s->p);
		else
			operator_delete_array_sized(s->p, s->size);
		break;
	default:
		free(s->p);
	}
}

static void give_back(struct slot *s, size_t nr)
{
	check_contents(s, s->size);
	errno = 4711;
	if (s->is_course)
		nr % 3 ? os_free(s->p) : (void)os_realloc(s->p, 0);
	else
		give_back_in_way(s, nr % 8);
	CHECK(errno == 4711);
	s->p = NULL;
}

static void ask(const struct slot *s, size_t nr)
{
	struct mallinfo2 info;

	if (s->p && !s->is_course)
		CHECK(malloc_usable_size(s->p) >= s->size);
	if (nr % 40 == 0)
		malloc_trim(0);
	if (nr % 100 == 1)
		mallopt(M_MMAP_THRESHOLD, nr % 200 ? 65536 : 1 << 20);
	if (nr % 200 == 2)
		CHECK(malloc_info(0, stderr) == 0);
	if (nr % 200 == 3)
		malloc_stats();
	info = mallinfo2();
	CHECK(info.uordblks <= info.arena);
}

/* Cells enough for several segments, there or gone. */

#define BULK 130
#define BULK_SIZE 32768

static unsigned char *bulk[BULK];

static void free_bulk(void)
{
	for (size_t i = 0; i < BULK; i++) {
		CHECK(!bulk[i] || (bulk[i][0] == (unsigned char)i && bulk[i][BULK_SIZE - 1] == 1));
		free(bulk[i]);
		bulk[i] = NULL;
	}
}

static void toggle_bulk(void)
{
	if (bulk[0]) {
		free_bulk();
		return;
	}
	for (size_t i = 0; i < BULK; i++) {
		errno = 0;
		bulk[i] = malloc(BULK_SIZE);
		if (!bulk[i]) {
			refused();
			return;
		}
		bulk[i][0] = (unsigned char)i;
		bulk[i][BULK_SIZE - 1] = 1;
	}
}

/* One call with random arguments, the same ones for the same seed while nothing fails. */
static void step(size_t nr)
{
	struct slot *s = &slots[random_below(&random_state, SLOTS)];
	size_t what = random_below(&random_state, 4);

	if (nr % 10 == 9)
		ask(s, nr / 10);
	else if (!s->p)
		get(s, nr);
	else if (what)
		resize(s, nr);
	else
		give_back(s, nr);
}

static size_t steps; /* of the run */

static void run(size_t seed, size_t n, size_t bulk_every, size_t check_every)
{
	random_state = seed * 0x9e3779b97f4a7c15u + 1;
	steps = n;
	for (size_t nr = 0; nr < steps; nr++) {
		step(nr);
		if (nr % bulk_every == bulk_every / 2)
			toggle_bulk();
		if (nr % check_every == 0)
			check_all();
	}
}

static void give_back_all(void)
{
	for (size_t i = 0; i < SLOTS; i++)
		if (slots[i].p)
			give_back(&slots[i], i);
	free_bulk();
}

/* Memory is there again: everything works, and everything can be given back. */
static void recover(void)
{
	kernel.before = NULL;
	refuse_nothing();
	is_strict = true;
	run(random_state, 80, 100, 10);
	give_back_all();
	check_nothing_lost();
}

/*
 * Every call refused. The scenario is run once, and at every system call that it is about to make
 * it forks twice, without the fork handlers: in one child this call fails, in the other this one
 * and all that follow. Each goes on for some steps, recovers, and ends with EXIT_RECOVERED; that it
 * is a thread which goes on, or a process that was forked on the way, does not matter.
 */
#define EXIT_RECOVERED 42
#define SCENARIO_SEED 7
#define SCENARIO_STEPS 500
#define STEPS_ON 30 /* after the refusal, before memory is there again */

static size_t calls; /* of the scenario's, so far */
static size_t step_nr;

static void expect_recovery(pid_t pid, const char *what)
{
	int status;

	CHECK(pid > 0 && waitpid(pid, &status, 0) == pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 1)
		_exit(1); /* the child has said why */
	CHECK_MSG(WIFEXITED(status) && WEXITSTATUS(status) == EXIT_RECOVERED,
		  "%s %zu refused: wait status %#x", what, calls, status);
}

static void finish(void)
{
	recover();
	_exit(EXIT_RECOVERED);
}

static void try_refusals(void)
{
	static const size_t last[] = {1, SIZE_MAX};

	calls++;
	for (size_t i = 0; i < COUNT_OF(last); i++) {
		pid_t pid = _Fork();

		if (pid == 0) {
			alarm(30 * test_patience());
			kernel.before = NULL;
			refuse(1, last[i]);
			steps = step_nr + STEPS_ON;
			return;
		}
		expect_recovery(pid, i ? "all calls from" : "call");
	}
}

/*
 * A thread that finds itself in a child of try_refusals has nobody to return to. It runs to the end
 * of the library's destructor; this one comes behind it, for its key was made later.
 */
static pthread_key_t end_key;
static pid_t starter;

static void end_of_thread(void *arg)
{
	(void)arg;
	if (getpid() != starter)
		finish();
}

static void *steps_in_thread(void *arg)
{
	pthread_setspecific(end_key, &starter);
	for (size_t i = 0; i < 10; i++)
		step(*(size_t *)arg + i);
	return NULL;
}

/* Without memory for its stack there is no thread. */
static void start_and_end_thread(size_t nr)
{
	pthread_t thread;

	starter = getpid();
	if (pthread_create(&thread, NULL, steps_in_thread, &nr) == 0)
		CHECK(pthread_join(thread, NULL) == 0);
}

static void go_on_in_child(size_t nr)
{
	pid_t pid = fork();

	if (pid == 0) {
		for (size_t i = 0; i < 10; i++)
			step(nr + i);
		finish();
	}
	expect_recovery(pid, "in a child of the scenario's, call");
}

static void scenario(void)
{
	random_state = SCENARIO_SEED;
	steps = SCENARIO_STEPS;
	for (step_nr = 0; step_nr < steps; step_nr++) {
		step(step_nr);
		if (step_nr % 100 == 50)
			toggle_bulk();
		if (step_nr % 100 == 80)
			start_and_end_thread(step_nr);
		if (step_nr % 200 == 90)
			go_on_in_child(step_nr);
		check_all();
	}
}

static void no_messages(void)
{
	dup2(open("/dev/null", O_WRONLY), STDERR_FILENO); /* malloc_stats, malloc_info */
}

TEST(every_call_refused)
{
	test_timeout(300);
	no_messages();
	free(malloc(1)); /* the library has its key */
	CHECK(pthread_key_create(&end_key, end_of_thread) == 0);
	random_state = 1;
	start_and_end_thread(0); /* what libc allocates for a thread's stack stays */
	give_back_all();
	note_live();
	kernel.before = try_refusals;
	scenario();
	if (!kernel.before)
		finish(); /* in a child */
	recover();
	CHECK_MSG(calls > 100, "only %zu calls", calls);
}

static void run_with_refusals(void *arg)
{
	const size_t *plan = arg;
	size_t per_mille = plan[0], n = env_number("OSMEM_FAULTS_STEPS", 500000);

	if (per_mille > 500)
		n /= 5; /* little is left that could differ */

	no_messages();
	note_live();
	large_per_mille = 3;
	refuse_at_random(per_mille, plan[1]);
	run(plan[1], n, n / 20, n / 200 + 1);
	CHECK(kernel.failures > n / 5000 * per_mille / 1000);
	recover();
}

static void refuse_some(size_t per_mille)
{
	size_t plan[] = {per_mille, env_number("OSMEM_FAULTS_SEED", (size_t)time(NULL))};
	char err[256];

	test_timeout(300);
	for (int i = 0; i < 2; i++, plan[1]++) {
		int status = test_in_child(run_with_refusals, plan, err, sizeof(err));

		if (status)
			printf("OSMEM_FAULTS_SEED=%zu\n", plan[1]);
		if (WIFEXITED(status) && WEXITSTATUS(status))
			_exit(WEXITSTATUS(status)); /* the child has said why */
		CHECK_MSG(status == 0, "seed %zu: wait status %#x, %s", plan[1], status, err);
	}
}

TEST(nothing_refused)
{
	no_messages();
	note_live();
	is_strict = true;
	run(1, 3000, 100, 10);
	recover();
	CHECK(kernel.failures == 0);
}

TEST(one_percent_refused)
{
	refuse_some(10);
}

TEST(half_refused)
{
	refuse_some(500);
}

TEST(nearly_all_refused)
{
	refuse_some(950);
}
