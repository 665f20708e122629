// SPDX-License-Identifier: BSD-3-Clause
// Needs: objects, refusals

/* The search for leaks where it cannot go on: locks that are held, memory that is refused. */

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "inspect/leaks.h"
#include "refusals.h"
#include "slab/slab_core.h"

#define STATUS 7
#define LOST 480
#define PREFIX "osmem: leaks: process "
#define REPORT ": 1 block, 480 bytes in all\nosmem:   480 bytes in 1 block of 480\n"
#define LOCKED " cannot be searched: a lock of the heap is held\n"
#define MEMORY " cannot be searched: there is no memory for the search\n"

static atomic_bool is_held;
static void *volatile sink;

static __attribute__((noinline)) void lose(void)
{
	sink = memset(malloc(LOST), 0, LOST);
	sink = NULL;
}

/* What body says when it exits must be this, behind the number of the process. */
static bool exits_with(void (*body)(void *arg), void *arg, const char *want, char *said,
		       size_t size)
{
	int status = test_in_child(body, arg, said, size);
	const char *end = strncmp(said, PREFIX, strlen(PREFIX)) ? said : said + strlen(PREFIX);

	CHECK_MSG(WIFEXITED(status) && WEXITSTATUS(status) == STATUS, "it %s and said \"%s\"",
		  test_ending(status), said);
	return strcmp(end + strspn(end, "0123456789"), want) == 0;
}

static void expect_said(void (*body)(void *arg), void *arg, const char *want)
{
	char said[1000];

	CHECK_MSG(exits_with(body, arg, want, said, sizeof(said)), "it said \"%s\"", said);
}

/* ---- Locks ---- */

static void *hold_class(void *arg)
{
	const unsigned int *ms = arg;

	slab_enter(1);
	is_held = true;
	while (!*ms)
		pause();
	usleep(*ms * 1000);
	slab_leave(1);
	for (;;)
		pause();
	return NULL;
}

static void exit_with_holder(void *arg)
{
	pthread_t thread;

	leaks_begin(LEAKS_REPORT);
	lose();
	pthread_create(&thread, NULL, hold_class, arg);
	while (!is_held)
		usleep(1000);
	exit(STATUS);
}

TEST(a_lock_that_is_never_released)
{
	unsigned int ms = 0;

	expect_said(exit_with_holder, &ms, LOCKED);
}

TEST(a_lock_that_is_released)
{
	unsigned int ms = 100;

	expect_said(exit_with_holder, &ms, REPORT);
}

/* As in a signal handler that interrupts malloc. */
static void exit_inside(void *arg)
{
	(void)arg;
	leaks_begin(LEAKS_REPORT);
	lose();
	slab_enter(1);
	exit(STATUS);
}

TEST(a_section_of_the_only_thread)
{
	expect_said(exit_inside, NULL, LOCKED);
}

/* ---- Descriptors ---- */

static void *keep_block(void *arg)
{
	void *volatile block = memset(malloc(LOST), 0, LOST);

	is_held = true;
	for (;;)
		pause();
	return block ? arg : NULL;
}

/* The list of threads can be read once, then not, then again. */
static void exit_with_keeper(void *arg)
{
	pthread_t thread;

	leaks_begin(LEAKS_REPORT);
	pthread_create(&thread, NULL, keep_block, arg);
	while (!is_held)
		usleep(1000);
	refuse(2, 2);
	refuse_only(REFUSE_OPEN);
	exit(STATUS);
}

TEST(threads_that_are_not_listed_run)
{
	expect_said(exit_with_keeper, NULL, "");
}

/* ---- Memory ---- */

static void exit_refused(void *arg)
{
	leaks_begin(LEAKS_REPORT);
	lose();
	refuse(*(size_t *)arg, SIZE_MAX);
	refuse_only(REFUSE_MMAP);
	exit(STATUS);
}

TEST(refused_memory)
{
	char said[1000];
	size_t refused = 1;

	for (; !exits_with(exit_refused, &refused, REPORT, said, sizeof(said)); refused++) {
		CHECK_MSG(strstr(said, MEMORY), "without mapping %zu it said \"%s\"", refused,
			  said);
		CHECK(refused < 100);
	}
	CHECK_MSG(refused > 5, "the search maps %zu times", refused - 1);
}

/* What cannot be unmapped in the end is no fault. */
static void exit_unreleased(void *arg)
{
	(void)arg;
	leaks_begin(LEAKS_REPORT);
	lose();
	refuse(1, SIZE_MAX);
	refuse_only(REFUSE_MUNMAP | REFUSE_MADVISE);
	exit(STATUS);
}

TEST(memory_that_the_kernel_does_not_take_back)
{
	expect_said(exit_unreleased, NULL, REPORT);
}
