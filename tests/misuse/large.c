// SPDX-License-Identifier: BSD-3-Clause
// Needs: libosmem.so

/*
 * Large objects freed twice: what malloc gives above CELL_MAX. Up to SPAN_MAX it is a span, pages
 * of a segment; above, a mapping. A free one may be kept, by the thread or for the next mapping of
 * its size; or its pages are free, with the process or the kernel.
 */

#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "misuse_large.h"
#include "pointers.h"

/* Whatever has become of p since it was freed, if nobody has its memory. */
static void expect_freed(void *p)
{
	for (const struct call *call = libc.calls; call->name; call++) {
		char line[2][128], err[256];
		int status;

		for (int i = 0; i < 2; i++)
			snprintf(line[i], sizeof(line[i]), "osmem: %s(0x%lx): %s\n", call->name,
				 (unsigned long)(uintptr_t)p, i ? MEMORY_FREE : ALREADY_FREE);
		status = test_in_child(call->run, p, err, sizeof(err));
		CHECK_MSG(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT &&
				  (strcmp(err, line[0]) == 0 || strcmp(err, line[1]) == 0),
			  "%p: it %s and said %s", p, test_ending(status), err);
	}
}

static void expect_foreign(void *p)
{
	expect_all(&libc, p, false, FOREIGN);
}

/* Double frees. */

TEST(span_freed_twice)
{
	never_sweep();
	for (size_t i = 0; i < COUNT_OF(span_sizes); i++) {
		char *p = new_object(span_sizes[i]), *q = new_object(span_sizes[i]);
		bool is_kept = span_sizes[i] <= KEPT_MAX;

		free(p);
		expect_all(&libc, p, false, is_kept ? ALREADY_FREE : MEMORY_FREE);
		free(q);
		expect_all(&libc, p, false, is_kept ? ALREADY_FREE : MEMORY_FREE);
		expect_all(&libc, q, false, is_kept ? ALREADY_FREE : MEMORY_FREE);
		malloc_trim(0); /* a thread keeps a MiB */
	}
}

/* More than a thread keeps. */
TEST(span_freed_twice_after_other_frees)
{
	for (size_t i = 0; i < COUNT_OF(span_sizes); i++) {
		char *p[24];

		never_sweep();
		for (size_t k = 0; k < COUNT_OF(p); k++)
			p[k] = new_object(span_sizes[i]);
		for (size_t k = 0; k < COUNT_OF(p); k++)
			if (k % 3)
				free(p[k]);
		for (size_t k = 1; k < COUNT_OF(p); k += k % 3)
			expect_freed(p[k]);
		for (size_t k = 0; k < COUNT_OF(p); k += 3)
			free(p[k]);
	}
}

/* Its neighbors are handed out again, and it is not. */
TEST(span_freed_twice_after_reuse_of_its_neighbors)
{
	char *p[5], *q, *r;

	never_sweep();
	new_row(p, COUNT_OF(p), 9 * PAGE);
	free(p[2]);
	free(p[1]);
	free(p[3]);
	q = new_object(9 * PAGE);
	r = new_object(9 * PAGE);
	for (size_t i = 1; i < 4; i++)
		if (p[i] != q && p[i] != r)
			expect_all(&libc, p[i], false, ALREADY_FREE);
}

TEST(span_freed_twice_after_its_pages_went_back)
{
	for (size_t i = 0; i < COUNT_OF(span_sizes); i++) {
		char *p = new_object(span_sizes[i]), *q = new_object(span_sizes[i]);

		free(p);
		malloc_trim(0);
		expect_foreign(p);
		expect_foreign(p + PAGE);
		free(q);
		malloc_trim(0); /* perhaps its segment, too */
		expect_foreign(q);
	}
}

/* Pages of several are one span's, or what is left of one is free. */
TEST(span_freed_twice_after_reuse_by_others)
{
	char *p[8], *q;

	new_row(p, COUNT_OF(p), 128 * KIB);
	for (size_t i = 0; i < COUNT_OF(p); i++)
		free(p[i]);
	malloc_trim(0);
	q = new_object(MIB);
	CHECK(q == p[0]);
	for (size_t i = 1; i < COUNT_OF(p); i++)
		expect_inside(&libc, p[i], "one", q, MIB);
	never_sweep();
	CHECK(realloc(q, 128 * KIB) == q);
	for (size_t i = 1; i < COUNT_OF(p); i++)
		expect_memory_free(p[i]);
	q = new_object(3 * PAGE * 8);
	CHECK(q == p[1]);
	expect_memory_free(p[1] + 24 * PAGE);
}

/* Cells are where it was. */
TEST(span_freed_twice_after_reuse_by_cells)
{
	char *p[8];

	new_row(p, COUNT_OF(p), SLOT);
	free(p[3]);
	free(p[4]);
	malloc_trim(0);
	CHECK(malloc(112) == p[3]);
	for (size_t i = 1; i < SLOT / 112; i++)
		CHECK(malloc(112));
	expect_inside(&libc, p[3] + 16, "one", p[3], 112);
	expect_inside(&libc, p[3] + PAGE, "one", p[3] + PAGE / 112 * 112, 112);
}

TEST(span_that_moved_is_free)
{
	char *p[3], *q;

	never_sweep();
	new_row(p, COUNT_OF(p), 16 * PAGE);
	q = realloc(p[0], 64 * PAGE);
	CHECK(q && q != p[0]);
	expect_all(&libc, p[0], false, ALREADY_FREE);
	q = realloc(p[1], MAPPED);
	CHECK(q && q != p[1]);
	expect_all(&libc, p[1], false, ALREADY_FREE);
	q = realloc(p[2], 1000);
	CHECK(q && q != p[2]);
	expect_all(&libc, p[2], false, ALREADY_FREE);
}

TEST(span_that_was_grown_over)
{
	char *p[4];

	never_sweep();
	new_row(p, COUNT_OF(p), 3 * MIB / 8);
	free(p[1]);
	malloc_trim(0);
	CHECK(realloc(p[0], 3 * MIB / 4) == p[0]);
	expect_inside(&libc, p[1], "one", p[0], 3 * MIB / 4);
}

static void *free_it(void *arg)
{
	free(arg);
	return NULL;
}

static atomic_bool is_freed;

static void *free_it_and_wait(void *arg)
{
	free(arg);
	atomic_store(&is_freed, true);
	pause();
	return NULL;
}

TEST(object_freed_by_a_thread_that_ended_then_here)
{
	static const size_t sizes[] = {9 * PAGE, KEPT_MAX, SPAN_MAX, MAPPED};

	never_sweep();
	for (size_t i = 0; i < COUNT_OF(sizes); i++) {
		char *p = new_object(sizes[i]);
		pthread_t thread;

		CHECK(pthread_create(&thread, NULL, free_it, p) == 0);
		CHECK(pthread_join(thread, NULL) == 0);
		expect_freed(p);
	}
}

TEST(object_freed_by_a_thread_that_lives_then_here)
{
	static const size_t sizes[] = {9 * PAGE, KEPT_MAX, SPAN_MAX, MAPPED};

	never_sweep();
	for (size_t i = 0; i < COUNT_OF(sizes); i++) {
		char *p = new_object(sizes[i]);
		pthread_t thread;

		atomic_store(&is_freed, false);
		CHECK(pthread_create(&thread, NULL, free_it_and_wait, p) == 0);
		while (!atomic_load(&is_freed))
			usleep(1000);
		expect_freed(p);
	}
}

TEST(mapping_freed_twice)
{
	char *p = new_object(MAPPED), *q = new_object(MAPPED);

	never_sweep();
	free(p);
	expect_all(&libc, p, false, ALREADY_FREE);
	free(q);
	expect_all(&libc, p, false, ALREADY_FREE);
	expect_all(&libc, q, false, ALREADY_FREE);
	malloc_trim(0);
	expect_foreign(p);
	expect_foreign(q);
}

/* More than are kept: those that were freed first are unmapped. */
TEST(mapping_freed_twice_after_many)
{
	char *p[80];

	never_sweep();
	for (size_t i = 0; i < COUNT_OF(p); i++)
		p[i] = malloc(MAPPED);
	for (size_t i = 0; i < COUNT_OF(p); i++)
		free(p[i]);
	for (size_t i = 0; i < COUNT_OF(p) - 64; i += 5)
		expect_foreign(p[i]);
	for (size_t i = COUNT_OF(p) - 64; i < COUNT_OF(p); i += 9)
		expect_all(&libc, p[i], false, ALREADY_FREE);
}

TEST(mapping_freed_twice_after_reuse)
{
	char *p = new_object(MAPPED);

	never_sweep();
	free(p);
	CHECK(malloc(MAPPED - 100) == p);
	expect_inside(&libc, p + 16, "one", p, MAPPED);
	CHECK(realloc(p, 3 * MIB) == p);
	expect_inside(&libc, p + 16, "one", p, 3 * MIB);
	expect_foreign(p + 3 * MIB);
	free(p);
	expect_all(&libc, p, false, ALREADY_FREE);
}

TEST(mapping_that_moved_is_none)
{
	char *p = new_object(MAPPED), *q = p;

	for (size_t size = 2 * MAPPED; q == p; size *= 2) {
		CHECK(size < (size_t)1 << 40);
		q = realloc(p, size);
	}
	CHECK(q);
	expect_foreign(p);
}

/* A span becomes a mapping and a cell, and a mapping both. */
TEST(mapping_that_became_another_is_free)
{
	char *p = new_object(MAPPED), *q = new_object(MAPPED);

	never_sweep();
	CHECK(realloc(p, 100) != p);
	expect_all(&libc, p, false, ALREADY_FREE);
	free(q);
	expect_all(&libc, q, false, ALREADY_FREE);
}
