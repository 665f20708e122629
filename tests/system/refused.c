// SPDX-License-Identifier: BSD-3-Clause
// Needs: objects

/*
 * What a refusal costs: system calls, and how often everything free is searched for. faults.c has
 * what a refusal leaves behind.
 */

#include <errno.h>
#include <malloc.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "harness.h"
#include "helpers.h"

#define REFUSALS 1000
#define LEFT (64 * MIB) /* below the limit */

/* All system calls about memory so far. */
static size_t calls(void)
{
	size_t sum = 0;

	for (enum sys_event event = 0; event < SYS_EVENTS; event++)
		sum += sys_count(event);
	return sum;
}

static void expect_refused(const char *what, size_t size, void *p, size_t before)
{
	CHECK_MSG(!p && errno == ENOMEM, "%s of %#zx: %p, errno %d", what, size, p, errno);
	CHECK_MSG(calls() == before, "%s of %#zx: %zu system calls", what, size, calls() - before);
	errno = 0;
}

static void check_size_that_no_kernel_has(volatile size_t size)
{
	void *small = malloc(100), *medium = malloc(10000), *large = malloc(MIB), *p;
	size_t before = calls();

	expect_refused("malloc", size, malloc(size), before);
	expect_refused("calloc", size, calloc(1, size), before);
	expect_refused("calloc", size, calloc(size / 16, 16), before);
	expect_refused("realloc of 100 bytes", size, realloc(small, size), before);
	expect_refused("realloc of 10000 bytes", size, realloc(medium, size), before);
	expect_refused("realloc of a MiB", size, realloc(large, size), before);
	expect_refused("aligned_alloc", size, aligned_alloc(64, size), before);
	expect_refused("memalign to a MiB", size, memalign(MIB, size), before);
	p = NULL;
	CHECK(posix_memalign(&p, 4096, size) == ENOMEM);
	expect_refused("posix_memalign", size, p, before);
	expect_refused("valloc", size, valloc(size), before);
	expect_refused("pvalloc", size, pvalloc(size), before);
	free(small);
	free(medium);
	free(large);
}

TEST(what_no_address_space_has_is_refused_at_once)
{
	void *first = malloc(1);

	for (size_t size = (size_t)1 << 49; size; size *= 2) {
		check_size_that_no_kernel_has(size);
		check_size_that_no_kernel_has(size + 1);
		check_size_that_no_kernel_has(size - 1 + size);
	}
	for (volatile size_t align = (size_t)1 << 49; align; align *= 2) {
		size_t before = calls();

		expect_refused("memalign of 100 bytes", align, memalign(align, 100), before);
		expect_refused("memalign of a MiB", align, memalign(align, MIB), before);
	}
	free(first);
}

/* Blocks of size bytes to the limit; the last one, each with the address of the one before. */
static void **exhaust(size_t size)
{
	void **last = NULL, **next;

	while ((next = malloc(size))) {
		next[0] = last;
		last = next;
	}
	return last;
}

static void free_all(void **last)
{
	while (last) {
		void **before = last[0];

		free(last);
		last = before;
	}
}

/* What a search for anything free does, and a mere attempt does not. */
static size_t search_calls(void)
{
	return sys_count(SYS_MUNMAP) + sys_count(SYS_MADVISE);
}

/*
 * Refused again and again, with nothing freed meanwhile: one search. What is freed then is found,
 * every time.
 */
static void check_refusals_in_a_row(size_t size, size_t larger)
{
	struct sys_memory memory;
	void **last;
	size_t before;

	free(malloc(size));
	sys_get_memory(&memory);
	limit_addresses(memory.size + LEFT);
	for (int round = 0; round < 3; round++) {
		last = exhaust(size);
		CHECK(!malloc(larger) && errno == ENOMEM);
		before = search_calls();
		for (int i = 0; i < REFUSALS; i++)
			CHECK(!malloc(larger) && !calloc(1, larger) && !memalign(4096, larger));
		CHECK_MSG(search_calls() == before, "%d refusals: %zu system calls that search",
			  REFUSALS, search_calls() - before);
		free_all(last);
		last = malloc(larger);
		CHECK_MSG(last, "blocks of %zu bytes were freed, and malloc(%zu) fails", size,
			  larger);
		free(last);
	}
	limit_addresses(RLIM_INFINITY);
}

TEST(refusals_in_a_row_search_once)
{
	check_refusals_in_a_row(100, LEFT / 2);
	check_refusals_in_a_row(20000, LEFT / 2);
	check_refusals_in_a_row(100000, LEFT / 2);
}

/* All of this program once more, in a process that is hardened from its first call on. */

TEST(the_same_hardened)
{
	char *arguments[] = {"refused", NULL}, said[1024];
	int status;

	if (secure_getenv("OSMEM_OPTIONS")) {
		CHECK(malloc_usable_size(malloc(17)) == 17);
		return;
	}
	status = test_again("hardened", arguments, said, sizeof(said));
	CHECK_MSG(status == 0, "%s", said);
	CHECK_MSG(strstr(said, "3 passed, 0 failed"), "%s", said);
}
