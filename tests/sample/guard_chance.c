// SPDX-License-Identifier: BSD-3-Clause
// Needs: libosmem.so

/*
 * OSMEM_OPTIONS=guard=N: one allocation in N is guarded, by each name and in each thread, and a
 * rare use after free is found as often. Bounds are six standard deviations.
 */

#include "libc_common.h"

#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

#define SIZE ((size_t)33) /* no block of this size has exactly these bytes unless it is guarded */
#define EVERY 20
#define COUNT 40000

void *operator_new(size_t size) __asm__("_Znwm");
void operator_delete(void *p) __asm__("_ZdlPv");

static void *by_malloc(void)
{
	return malloc(SIZE);
}

static void *by_calloc(void)
{
	char *p = calloc(1, SIZE);

	CHECK(p && is_zero(p, SIZE));
	memset(p, 1, SIZE);
	return p;
}

static void *by_realloc(void)
{
	return realloc(NULL, SIZE);
}

static void *by_aligned(void)
{
	char *p = aligned_alloc(64, SIZE);

	CHECK((uintptr_t)p % 64 == 0);
	return p;
}

static void *by_new(void)
{
	return operator_new(SIZE);
}

static void *(*const names[])(void) = {by_malloc, by_calloc, by_realloc, by_aligned, by_new};

static size_t count_guarded(void *(*allocate)(void))
{
	size_t guarded = 0;

	for (size_t i = 0; i < COUNT; i++) {
		char *p = allocate();

		CHECK(p);
		guarded += malloc_usable_size(p) == SIZE;
		if (allocate == by_new)
			operator_delete(p);
		else
			free(p);
	}
	return guarded;
}

/* n trials of this probability had these hits. */
static void expect_chance(const char *what, size_t hits, size_t n, double chance)
{
	double mean = (double)n * chance, variance = mean * (1 - chance);
	double off = (double)hits - mean;

	CHECK_MSG(off * off < 36 * variance, "%s: %zu of %zu, not %.0f with a variance of %.0f",
		  what, hits, n, mean, variance);
}

static bool is_on(void)
{
	const char *options = getenv("OSMEM_OPTIONS");

	return options && strstr(options, "guard");
}

/* The calling test again, with the option; it has passed if it exits with 0. */
static void run_with(const char *test, const char *options)
{
	static char said[16 * KIB];
	char name[] = "again", *const arguments[] = {name, (char *)(uintptr_t)test, NULL};
	int status = test_again(options, arguments, said, sizeof(said));

	CHECK_MSG(status == 0, "it %s: %s", test_ending(status), said);
}

TEST(each_name)
{
	const char *options = getenv("OSMEM_OPTIONS");

	if (!options || !is_on()) {
		run_with("each_name", "guard=20");
		run_with("each_name", "guard=20,hardened");
		run_with("each_name", "guard=20,stats=/dev/null,check");
		return;
	}
	for (size_t i = 0; i < COUNT_OF(names); i++) {
		char what[32];

		if (i == 4 && !dlsym(RTLD_DEFAULT, "_ZSt15get_new_handlerv"))
			continue;
		snprintf(what, sizeof(what), "name %zu", i);
		if (!strstr(options, "hardened")) /* all sizes are exact there */
			expect_chance(what, count_guarded(names[i]), COUNT, 1. / EVERY);
		else
			count_guarded(names[i]);
	}
}

static void *count_in_thread(void *guarded)
{
	*(size_t *)guarded = count_guarded(by_malloc);
	return NULL;
}

TEST(each_thread)
{
	pthread_t threads[4];
	size_t guarded[4];

	if (!is_on()) {
		run_with("each_thread", "guard=20");
		return;
	}
	for (size_t i = 0; i < 4; i++)
		CHECK(pthread_create(&threads[i], NULL, count_in_thread, &guarded[i]) == 0);
	for (size_t i = 0; i < 4; i++) {
		CHECK(pthread_join(threads[i], NULL) == 0);
		/* Two threads may want a slot at once: one gets none. */
		expect_chance("thread", guarded[i], COUNT, 1. / EVERY);
	}
}

/* Many threads that allocate little, each. */
static void *allocate_once(void *guarded)
{
	char *p = malloc(SIZE);

	*(size_t *)guarded += malloc_usable_size(p) == SIZE;
	free(p);
	return NULL;
}

TEST(brief_threads)
{
	size_t guarded = 0, n = 4000;

	if (!is_on()) {
		run_with("brief_threads", "guard=5");
		return;
	}
	for (size_t i = 0; i < n; i++) {
		pthread_t thread;

		CHECK(pthread_create(&thread, NULL, allocate_once, &guarded) == 0);
		CHECK(pthread_join(thread, NULL) == 0);
	}
	expect_chance("threads", guarded, n, 1. / 5);
}

TEST(every_allocation_with_1)
{
	if (!is_on()) {
		run_with("every_allocation_with_1", "guard=1");
		return;
	}
	CHECK(count_guarded(by_malloc) == COUNT);
}

/* ---- A rare use after free ---- */

#define PROCESSES 3000
#define BLOCKS 100

static volatile char sink;

/* One of these blocks is used after it was freed. */
static void have_a_bug(size_t which)
{
	char *p[BLOCKS];

	for (size_t i = 0; i < BLOCKS; i++) {
		p[i] = malloc(SIZE);
		*p[i] = 1;
	}
	for (size_t i = 0; i < BLOCKS; i++)
		free(p[i]);
	sink = *p[which];
	_exit(0);
}

static bool is_found(size_t which)
{
	int status;
	pid_t pid = fork();

	CHECK(pid >= 0);
	if (pid == 0) {
		fclose(stderr);
		have_a_bug(which);
	}
	CHECK(waitpid(pid, &status, 0) == pid);
	CHECK(status == 0 || (WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV));
	return status;
}

TEST(a_rare_bug_is_found)
{
	uint64_t state = 1;
	size_t found = 0;

	if (!is_on()) {
		run_with("a_rare_bug_is_found", "guard=20");
		return;
	}
	test_timeout(120);
	for (size_t i = 0; i < PROCESSES; i++) {
		found += is_found(random_below(&state, BLOCKS));
		for (size_t n = random_below(&state, 100); n > 0; n--)
			free(malloc(1));
	}
	expect_chance("bugs", found, PROCESSES, 1. / EVERY);
}
