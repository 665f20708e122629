// SPDX-License-Identifier: BSD-3-Clause
// Needs: objects, refusals

/*
 * OSMEM_OPTIONS=hardened from inside: a kernel that refuses any of its calls, and the checker of
 * what waits to be used again. hardened.c has what a program sees.
 */

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "broken.h"
#include "cache/tcache.h"
#include "hardened_inside.h"
#include "harness.h"
#include "refusals.h"
#include "slab/slab_core.h"

#define CALLS_MAX 500 /* of the kernel's in one scenario, at most */
#define EXIT_UNTOUCHED 99

/* Blocks of a size each: p is NULL where there was no memory. */
static const size_t sizes[] = {0, 100, 3000, 40000, 200000, SPAN_MAX, 9 * MIB};

static struct {
	unsigned char *p;
	size_t size;
} blocks[COUNT_OF(sizes)];

static bool may_fail;

/* Of large ones a byte now and then is enough: these are moved by the page. */
static size_t step(size_t size)
{
	return size < MIB ? 1 : 60001;
}

static void check_filled(size_t i, size_t size)
{
	for (size_t at = 0; at < size; at += step(blocks[i].size))
		CHECK_MSG(blocks[i].p[at] == i + 1, "byte %zu of %zu has changed", at, size);
}

static void set(size_t i, void *p, size_t size)
{
	blocks[i].p = p;
	blocks[i].size = size;
	for (size_t at = 0; at < size; at += step(size))
		blocks[i].p[at] = (unsigned char)(i + 1);
}

static void make(size_t i, size_t align)
{
	size_t size = sizes[i];
	void *p;

	errno = 0;
	p = align ? memalign(align, size) : i % 2 ? malloc(size) : calloc(1, size);
	if (p)
		set(i, p, size);
	else
		expect_refusal(may_fail);
}

static void resize(size_t i, size_t size)
{
	size_t old = blocks[i].size;
	void *p;

	if (!blocks[i].p)
		return;
	errno = 0;
	p = realloc(blocks[i].p, size);
	if (!p) {
		expect_refusal(may_fail);
		check_filled(i, blocks[i].size);
		return;
	}
	blocks[i].p = p;
	check_filled(i, old < size ? old : size);
	set(i, p, size);
}

static void drop_all(void)
{
	for (size_t i = 0; i < COUNT_OF(sizes); i++) {
		if (!blocks[i].p)
			continue;
		check_filled(i, blocks[i].size);
		free(blocks[i].p);
		blocks[i].p = NULL;
	}
}

/*
 * Every size is made, grown a lot, grown a little, shrunk to a cell, grown to a mapping and freed;
 * then aligned.
 */
static void scenario(void)
{
	for (size_t i = 0; i < COUNT_OF(sizes); i++)
		make(i, 0);
	for (size_t i = 0; i < COUNT_OF(sizes); i++)
		resize(i, sizes[i] * 2 + 1);
	for (size_t i = 0; i < COUNT_OF(sizes); i++)
		resize(i, sizes[i] * 9 / 4 + 1);
	for (size_t i = 0; i < COUNT_OF(sizes); i++)
		resize(i, 50);
	for (size_t i = 0; i < COUNT_OF(sizes); i++)
		resize(i, 70000);
	drop_all();
	for (size_t i = 0; i < COUNT_OF(sizes); i++)
		make(i, 256);
	drop_all();
}

/* What the kernel has not got back once all is freed, and nothing waits. */
static size_t kept(void)
{
	malloc_trim(0);
	return kernel.mapped;
}

/* With memory again all of it works, and nothing was lost. */
static void recover(size_t kept_before)
{
	refuse_nothing();
	may_fail = false;
	scenario();
	check_all();
	CHECK_MSG(kept() <= kept_before, "%zu bytes are kept, and there were %zu", kernel.mapped,
		  kept_before);
}

/* The calls from first to last fail. Was there a call to fail? */
static bool survives(size_t first, size_t last)
{
	int status;
	pid_t pid = fork();

	CHECK(pid >= 0);
	if (pid == 0) {
		size_t kept_before;
		bool is_refused;

		scenario();
		kept_before = kept();
		may_fail = true;
		refuse(first, last);
		scenario();
		is_refused = kernel.failures > 0;
		recover(kept_before);
		_exit(is_refused ? 0 : EXIT_UNTOUCHED);
	}
	CHECK(waitpid(pid, &status, 0) == pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_UNTOUCHED)
		return false;
	CHECK_MSG(status == 0, "calls %zu to %zu refused: wait status %#x", first, last, status);
	return true;
}

TEST(each_call_refused)
{
	size_t n = 1;

	test_timeout(300);
	while (n < CALLS_MAX && survives(n, n))
		n++;
	CHECK_MSG(n > 20 && n < CALLS_MAX, "%zu calls", n);
}

TEST(all_calls_refused_from_one_on)
{
	size_t n = 1;

	test_timeout(300);
	while (n < CALLS_MAX && survives(n, SIZE_MAX))
		n++;
	CHECK_MSG(n > 20 && n < CALLS_MAX, "%zu calls", n);
}

/*
 * What is on its way to be kept by a thread that a child has not got is not kept, and not counted.
 */
static void fork_midway(void)
{
	int status;
	pid_t pid;

	kernel.before = NULL;
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		check_all();
		_exit(0);
	}
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
}

static void *free_and_fork(void *p)
{
	kernel.before = fork_midway;
	free(p);
	CHECK(!kernel.before);
	return NULL;
}

TEST(fork_while_pages_are_put_away)
{
	pthread_t thread;
	char *p = malloc(100000);

	CHECK(p && pthread_create(&thread, NULL, free_and_fork, p) == 0);
	pthread_join(thread, NULL);
	check_all();
}

/*
 * Where there is no memory, a block that is to shrink stays, unless no canary could tell how much.
 */
TEST(shrinking_without_memory)
{
	for (size_t size = MIB; size <= 64 * MIB; size *= 2) {
		char *p = malloc(size), *q;

		CHECK(p);
		p[0] = p[69999] = p[size - 1] = 'x';
		errno = 0;
		refuse(1, SIZE_MAX);
		q = realloc(p, 70000);
		refuse_nothing();
		CHECK(q ? malloc_usable_size(q) == 70000 : errno == ENOMEM);
		if (!q)
			CHECK(malloc_usable_size(p) == size && p[size - 1] == 'x');
		q = q ? q : p;
		CHECK(q[0] == 'x' && q[69999] == 'x');
		free(q);
		check_all();
	}
}

TEST(no_room_for_addresses_of_nothing)
{
	char *arguments[] = {"faults_hardened", NULL}, *environment[] = {REFUSED_START, NULL};

	execve(program_invocation_name, arguments, environment);
	CHECK(!"started again");
}

/* What is freed waits, zeroed. */
TEST(q1_cells_that_wait)
{
	char *p = malloc(100);

	CHECK(p);
	free(p);
	BREAK_BY(tcache_check, p[0], 1, "Q1");
	BREAK_BY(tcache_check, p[99], 1, "Q1");
}

/* Large objects: spans up to SPAN_MAX, mappings above. */

TEST(zero_when_handed_out)
{
	static char *p[40];
	size_t i;

	for (size_t nr = 0; nr < 2000; nr++) {
		size_t size = 32768 + nr * 7919 % 400000, step_of = nr % 50 ? 509 : 1;

		i = nr * 31 % COUNT_OF(p);
		free(p[i]);
		p[i] = nr % 3 ? malloc(size) : memalign(4096 << nr % 4, size);
		CHECK(p[i]);
		for (size_t at = 0; at < size; at += step_of)
			CHECK(p[i][at] == 0);
		memset(p[i], 1, size);
		if (nr % 100 == 0)
			malloc_trim(0);
	}
	check_all();
}

TEST(sizes_beyond_everything)
{
	void *p = malloc(100);

	CHECK(p && slab_store.is_hardened);
	for (size_t size = (size_t)PTRDIFF_MAX - 8; size < (size_t)PTRDIFF_MAX + 2; size++) {
		errno = 0;
		CHECK(!malloc(size) && errno == ENOMEM);
		errno = 0;
		CHECK(!realloc(p, size) && errno == ENOMEM);
		errno = 0;
		CHECK(!memalign(64, size) && errno == ENOMEM);
	}
	free(p);
}
