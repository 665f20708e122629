// SPDX-License-Identifier: BSD-3-Clause
// Needs: objects

/*
 * Fork between any two instructions. A thread is single-stepped through calls of every kind. Now
 * and then it is copied between two instructions. The child acts as another thread: it has to
 * repair what the stepped thread was changing. Or a signal handler of the only thread forks there,
 * and the child continues the call. FORK_STEPS in the environment is the average number of
 * instructions between two forks.
 */

#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cache/tcache_core.h"
#include "forks.h"
#include "harness.h"
#include "large/large.h"
#include "large/large_core.h"
#include "places.h"
#include "registers.h"
#include "slab/slab_core.h"
#include "steps.h"

/* Between any two instructions. */

extern char __executable_start, etext; /* the program's and the library's code */
static size_t steps_to_a_child = 400;
static uint64_t step_state = 1;
static size_t children, instructions;
static _Thread_local bool is_stepped;
static bool is_alone; /* a signal handler forks, and children continue */
static bool is_child;

/* A child as fork makes it continues as another thread, which has no cache yet. */
static void __attribute__((noreturn)) be_the_child(void)
{
	is_stepped = false;
	signal(SIGTRAP, SIG_DFL);
	tcache_thread =
		(struct tcache_thread){.fast = (struct tcache *)(uintptr_t)&tcache_none,
				       .fast_free = (struct tcache *)(uintptr_t)&tcache_none};
	become_child();
	look_and_end(1);
}

static void copy_the_process(void)
{
	pid_t pid;

	children++;
	pid = is_alone ? fork() : raw_fork(); /* as if by another thread */
	if (pid == 0 && !is_alone)
		be_the_child();
	if (pid == 0)
		is_child = true;
	else
		expect_good_end(pid);
}

static void on_step(int nr, siginfo_t *info, void *context)
{
	ucontext_t *stepped = context;
	uintptr_t at = registers_interrupted(stepped).pc;

	(void)nr, (void)info;
	if (at - (uintptr_t)&__executable_start >= (uintptr_t)(&etext - &__executable_start))
		return; /* in libc */
	instructions++;
	if (!is_child && !random_below(&step_state, steps_to_a_child))
		copy_the_process();
	if (is_child)
		steps_leave(stepped);
}

static inline void end_steps(void)
{
	steps_end();
	is_stepped = false;
}

static inline void begin_steps(void)
{
	is_stepped = true;
	steps_begin();
}

/* Replaces libc's function, of which each byte would be stepped through. */

void *memcpy(void *restrict to, const void *restrict from, size_t n)
{
	bool was_stepped = is_stepped;

	if (was_stepped)
		end_steps();
	steps_copy(to, from, n);
	if (was_stepped)
		begin_steps();
	return to;
}

void *memset(void *to, int byte, size_t n)
{
	bool was_stepped = is_stepped;

	if (was_stepped)
		end_steps();
	steps_fill(to, byte, n);
	if (was_stepped)
		begin_steps();
	return to;
}

static void start_stepping(size_t usual)
{
	struct sigaction action = {.sa_sigaction = on_step, .sa_flags = SA_SIGINFO};
	const char *given = getenv("FORK_STEPS");

	steps_to_a_child = given ? (size_t)atol(given) : usual;
	test_timeout(given ? 3600 : 120);
	if (!is_alone)
		have_had_a_thread();
	free(malloc(1));
	CHECK(sigaction(SIGTRAP, &action, NULL) == 0);
}

static void expect_children(size_t least)
{
	if (getenv("FORK_STEPS"))
		dprintf(STDERR_FILENO, "%zu children in %zu instructions\n", children,
			instructions);
	CHECK_MSG(children >= least, "%zu children in %zu instructions", children, instructions);
}

/* Random calls. Some are stepped through, once there are objects of every kind. */
static void step_through(const char *what, void (*call)(uint64_t *state), size_t calls)
{
	uint64_t state = 1;

	where = what;
	for (size_t i = 0; i < 500; i++)
		step(objects[0], &state);
	for (size_t i = 0; i < calls; i++) {
		for (size_t j = random_below(&state, 30); j > 0; j--)
			step(objects[0], &state);
		begin_steps();
		call(&state);
		end_steps();
		if (is_child)
			look_and_end(0);
	}
	check_all("in the parent");
	drop_all();
}

static void call_anything(uint64_t *state)
{
	step(objects[0], state);
}

static void call_trim(uint64_t *state)
{
	(void)state;
	malloc_trim(0);
}

static void call_sweep(uint64_t *state)
{
	(void)state;
	if (slab_begin_sweep(false))
		slab_end_sweep();
	cache_sweep(0);
	tcache_scavenge(tcache_thread.own);
}

TEST(between_instructions_of_calls)
{
	start_stepping(1200);
	step_through("calls", call_anything, 40);
	expect_children(20);
}

TEST(between_instructions_of_trims)
{
	start_stepping(1500);
	step_through("trims", call_trim, 1);
	expect_children(20);
}

/* Locked memory, which cannot be purged; in children it is not locked. */
static void lock_and_trim(uint64_t *state)
{
	(void)state;
	munlockall();
	if (mlockall(MCL_CURRENT) == 0)
		malloc_trim(0);
}

TEST(between_instructions_of_trims_of_locked_pages)
{
	if (mlockall(MCL_CURRENT) || munlockall())
		test_skip("memory may not be locked");
	start_stepping(1500);
	step_through("locked", lock_and_trim, 1);
	expect_children(20);
}

TEST(between_instructions_of_sweeps)
{
	start_stepping(1000);
	slab_sweep_period_ms = 0;
	step_through("sweeps", call_sweep, 4);
	expect_children(20);
}

/* Spans only: resized in place, and with a full page cache. */
static void call_span(uint64_t *state)
{
	struct object *o = &objects[0][random_below(state, OBJECTS)];
	size_t size = 40000 + random_below(state, 60000);

	if (!o->p)
		publish(o, malloc(size), size);
	else if (random_below(state, 2))
		resize(o, state);
	else
		free(take_back(o));
}

TEST(between_instructions_of_spans)
{
	start_stepping(1000);
	step_through("spans", call_span, 40);
	expect_children(20);
}

/* Mappings only, so many that the table grows. */
static void call_mapping(uint64_t *state)
{
	struct object *o = &objects[random_below(state, WORKERS)][random_below(state, OBJECTS)];
	size_t size = SPAN_MAX + 1 + random_below(state, 8 * MIB);

	if (!o->p)
		publish(o, malloc(size), size);
	else if (random_below(state, 4) == 0 && o->size > SPAN_MAX)
		resize(o, state);
	else
		free(take_back(o));
}

TEST(between_instructions_of_mappings)
{
	start_stepping(1000);
	step_through("mappings", call_mapping, 40);
	expect_children(20);
}

/* Cells only, of all sizes: clearing large objects takes too many steps. */
TEST(between_instructions_of_cells)
{
	size_count = SIZES_OF_CELLS;
	start_stepping(300);
	step_through("cells", call_anything, 60);
	expect_children(20);
}

/* Again in a process that has these options from its first call on. */

static void expect_again(const char *options, char *test)
{
	char *arguments[] = {"fork_steps", test, NULL}, said[1024];
	int status;

	test_timeout(150); /* more than the other run has */
	status = test_again(options, arguments, said, sizeof(said));
	CHECK_MSG(status == 0 && strstr(said, "1 passed, 0 failed"), "%s", said);
}

TEST(between_instructions_hardened)
{
	expect_again("hardened", "between_instructions_of_cells");
}

TEST(between_instructions_of_the_block_list)
{
	expect_again("course", "between_instructions_of_calls");
}

TEST(between_instructions_of_the_block_list_of_the_only_thread)
{
	expect_again("course", "between_instructions_of_the_only_thread");
}

/* With one thread nothing is locked, and nothing may be lost. */
static void call_alone(uint64_t *state)
{
	if (random_below(state, 2))
		call_mapping(state);
	else
		call_anything(state);
}

TEST(between_instructions_of_the_only_thread)
{
	is_alone = true;
	start_stepping(300);
	step_through("alone", call_alone, 30);
	expect_children(20);
}

/* The start of a thread, and its exit until the next destructor runs. */

static pthread_key_t after_key;

static void end_of_steps(void *arg)
{
	(void)arg;
	end_steps();
}

static void *begin_and_end(void *arg)
{
	uint64_t state = (uintptr_t)arg;

	CHECK(pthread_setspecific(after_key, arg) == 0);
	begin_steps();
	for (int i = 0; i < 3; i++)
		step(objects[1], &state);
	end_steps();
	for (int i = 0; i < 300; i++)
		step(objects[1], &state);
	begin_steps();
	return NULL;
}

TEST(between_instructions_of_a_thread)
{
	uint64_t state = 1;

	start_stepping(1500);
	where = "thread";
	CHECK(pthread_key_create(&after_key, end_of_steps) == 0); /* created after the library's */
	for (int i = 0; i < 200; i++)
		step(objects[0], &state);
	for (uintptr_t i = 1; i <= 2; i++) {
		pthread_t thread;

		CHECK(pthread_create(&thread, NULL, begin_and_end, (void *)i) == 0);
		CHECK(pthread_join(thread, NULL) == 0);
	}
	check_all("in the parent");
	drop_all();
	expect_children(20);
}

/* A new window is created. */
static void call_for_window(uint64_t *state)
{
	static size_t nr;

	(void)state;
	end_steps();
	take_last_window();
	begin_steps();
	publish(&objects[1][nr++], malloc(SPAN_MAX), SPAN_MAX);
}

TEST(between_instructions_of_windows)
{
	start_stepping(1000);
	step_through("windows", call_for_window, 20);
	CHECK(window_first()->next->next->next);
	expect_children(20);
}
