// SPDX-License-Identifier: BSD-3-Clause
// Needs: libosmem.so

/*
 * Pointers that are no live payloads, and writes to freed ones, as in blocks.c, of what malloc
 * gives up to CELL_MAX: cells, which have no header.
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

#include "block_meta.h"
#include "harness.h"
#include "misuse.h"
#include "osmem.h"
#include "pointers.h"

/* Cells: what malloc has for sizes up to CELL_MAX. There is no header, and nothing waits. */

#define WRITTEN_TO "this free block was written to, or freed twice"

/* body dies with a line of p that any call may give, and that begins so. */
static void expect_report(void (*body)(void *arg), void *arg, const void *p, const char *what)
{
	char err[256], line[128];
	int status = test_in_child(body, arg, err, sizeof(err));

	snprintf(line, sizeof(line), "(0x%lx): %s", (unsigned long)(uintptr_t)p, what);
	CHECK_MSG(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT && strstr(err, line),
		  "expected %s, not status %d, %s", line, status, err);
}

#define MANY 5000

static char *many_cells[MANY];

static void alloc_many(size_t size)
{
	for (size_t i = 0; i < MANY; i++)
		many_cells[i] = new_cell(size);
}

static void free_many(void)
{
	for (size_t i = 0; i < MANY; i++)
		free(many_cells[i]);
}

/* Whether p is one of those, where only every live-th was kept. */
static bool was_freed(const char *p, size_t live)
{
	for (size_t i = 0; i < MANY; i++)
		if (many_cells[i] == p)
			return i % live;
	return false;
}

/* A second call of p, and what comes next. */
struct second {
	const struct call *call;
	char *p;
	size_t size;
};

static void flush_soon(void *arg)
{
	const struct second *s = arg;

	s->call->run(s->p);
	malloc_trim(0);
}

/* Nobody's words change until the report. */
static void allocate_soon(void *arg)
{
	const struct second *s = arg;

	s->call->run(s->p);
	for (size_t i = 0; i < MANY; i++) {
		many_cells[i] = new_cell(s->size);
		memcpy(many_cells[i], &i, sizeof(i));
		for (size_t j = i - i % 100; j <= i; j++)
			if (memcmp(many_cells[j], &j, sizeof(j)) != 0)
				exit(1);
	}
}

/*
 * p, a cell of size bytes, is free, and has not been freed last: whatever frees it once more may
 * succeed, but it is reported before it is in use twice.
 */
static void expect_free_soon(char *p, size_t size)
{
	for (const struct call *call = libc.calls; call->name; call++) {
		struct second s = {.call = call, .p = p, .size = size};
		char err[256];
		int status;

		expect_report(flush_soon, &s, p, ALREADY_FREE);
		status = test_in_child(allocate_soon, &s, err, sizeof(err));
		CHECK_MSG(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT &&
				  (strstr(err, ALREADY_FREE) || strstr(err, WRITTEN_TO)),
			  "%s: status %d, %s", call->name, status, err);
	}
}

TEST(cell_freed_twice)
{
	EACH_CELL_SIZE(size)
	{
		char *p = new_cell(size), *q = new_cell(size);

		free(p);
		expect_free(&libc, p);
		free(q);
		expect_free_soon(p, size);
		expect_free(&libc, q);
	}
}

TEST(cell_freed_twice_after_other_frees)
{
	EACH_CELL_SIZE(size)
	{
		char *p[40];

		for (size_t i = 0; i < COUNT_OF(p); i++)
			p[i] = new_cell(size);
		for (size_t i = 0; i < COUNT_OF(p); i++)
			if (i % 4) /* no slab becomes empty */
				free(p[i]);
		for (size_t i = 1; i < COUNT_OF(p); i += 12)
			expect_free_soon(p[i], size);
	}
}

/*
 * Most of them are in depots or in the store, then all are in the store, and their pages have gone
 * back where no live cell is near.
 */
TEST(cell_freed_twice_after_it_went_back_to_the_store)
{
	static const size_t sizes[] = {16, 112, 1024, 8192, CELL_MAX};

	for (size_t i = 0; i < COUNT_OF(sizes); i++) {
		size_t live = sizes[i] > 1024 ? 4 : 16; /* no slab becomes empty */

		alloc_many(sizes[i]);
		for (size_t j = 0; j < MANY; j++)
			if (j % live)
				free(many_cells[j]);
		for (size_t j = 9; j < MANY; j += 16 * 29)
			expect_free_soon(many_cells[j], sizes[i]);
		malloc_trim(0);
		for (size_t j = 9; j < MANY; j += 16 * 29)
			expect_free_soon(many_cells[j], sizes[i]);
		for (size_t j = 0; j < MANY; j += live)
			free(many_cells[j]);
	}
}

/* Its page went back, and then some call took it into the thread's cache with its neighbors. */
TEST(cell_freed_twice_after_it_left_the_store_again)
{
	static const size_t sizes[] = {16, 112, 1024};

	for (size_t i = 0; i < COUNT_OF(sizes); i++) {
		size_t live = MANY / 10, n = 0;

		alloc_many(sizes[i]);
		for (size_t j = 0; j < MANY; j++)
			if (j % live)
				free(many_cells[j]);
		malloc_trim(0);
		for (size_t j = 0; j < 50; j++) {
			char *p = new_cell(sizes[i]);

			if (j % 16 || !was_freed(p + sizes[i], live))
				continue;
			expect_free_soon(p + sizes[i], sizes[i]);
			n++;
		}
		CHECK_MSG(n >= 2, "%zu of size %zu", n, sizes[i]);
	}
}

/* Its slab is none any more: the memory is the library's, but no block is there. */
TEST(cell_freed_twice_after_its_slab_went_back)
{
	EACH_CELL_SIZE(size)
	{
		alloc_many(size);
		free_many();
		malloc_trim(0);
		for (size_t j = 0; j < MANY; j += 997)
			expect_all(&libc, many_cells[j], false, FOREIGN);
	}
}

static void *free_cells(void *arg)
{
	char **p = arg;

	for (size_t i = 0; i < 40; i++)
		free(p[i]);
	return NULL;
}

static void free_in_a_thread(char **p)
{
	pthread_t thread;

	CHECK(pthread_create(&thread, NULL, free_cells, p) == 0);
	CHECK(pthread_join(thread, NULL) == 0);
}

static atomic_bool may_end;

static void *free_cells_and_wait(void *arg)
{
	free_cells(arg);
	atomic_store(&may_end, true);
	pause();
	return NULL;
}

TEST(cell_freed_by_a_thread_that_ended_then_here)
{
	char *p[41];

	for (size_t i = 0; i < COUNT_OF(p); i++)
		p[i] = new_cell(256);
	free_in_a_thread(p);
	for (size_t i = 0; i < 40; i += 13)
		expect_free_soon(p[i], 256);
	CHECK(malloc_usable_size(p[40]) == 256);
}

TEST(cell_freed_by_a_thread_that_lives_then_here)
{
	pthread_t thread;
	char *p[40];

	for (size_t i = 0; i < COUNT_OF(p); i++)
		p[i] = new_cell(256);
	CHECK(pthread_create(&thread, NULL, free_cells_and_wait, p) == 0);
	while (!atomic_load(&may_end))
		usleep(1000);
	for (size_t i = 0; i < 40; i += 13)
		expect_free_soon(p[i], 256);
}

TEST(cell_that_moved_is_free)
{
	char *p = new_cell(112), *q = realloc(p, 5000);

	CHECK(q && q != p);
	expect_free(&libc, p);
	p = realloc(q, 100000);
	CHECK(p && p != q);
	expect_free(&libc, q);
}

TEST(cell_interior)
{
	EACH_CELL_SIZE(size)
	{
		char *p = new_cell(size);

		for (size_t i = 1; i < size; i = i < 20 ? i + 1 : i * 2 + i % 2 * 15)
			expect_inside(&libc, p + i, "one", p, size);
		expect_inside(&libc, p + size - 1, "one", p, size);
	}
}

TEST(cell_interior_of_a_free_one)
{
	EACH_CELL_SIZE(size)
	{
		char *p = new_cell(size), *guard = new_cell(size);

		free(p);
		expect_inside(&libc, p + 1, "a free one", p, size);
		expect_inside(&libc, p + 8, "a free one", p, size);
		expect_inside(&libc, p + size / 2 + 1, "a free one", p, size);
		expect_inside(&libc, p + size - 1, "a free one", p, size);
		malloc_trim(0); /* into the store */
		expect_inside(&libc, p + 1, "a free one", p, size);
		expect_inside(&libc, p + size - 1, "a free one", p, size);
		free(guard);
	}
}

/* What a free cell says of itself is no proof: a program may write it, into a cell that is live. */
TEST(cell_with_the_words_of_a_free_one)
{
	static uint64_t freed[512 / sizeof(uint64_t)];
	char *p = new_cell(512), *q = new_cell(512), *last;

	free(p);
	memcpy(freed, p, sizeof(freed));
	memcpy(q, freed, sizeof(freed));
	CHECK(malloc_usable_size(q) == 512);
	CHECK(realloc(q, 500) == q && memcmp(q, freed, 500) == 0);
	expect_inside(&libc, q + 16, "one", q, 512);
	free(q);
	expect_free(&libc, q);
	last = new_cell(512);
	CHECK(last == q);
}

/*
 * The short ways take the start of any cell for one that is live, but the store does not take it
 * back.
 */

static void free_and_flush(void *arg)
{
	free(arg);
	malloc_trim(0);
}

static void realloc_and_flush(void *arg)
{
	free(realloc(arg, 50));
	malloc_trim(0);
}

static void ask_usable_size(void *arg)
{
	malloc_usable_size(arg);
}

static void expect_never_allocated(char *p)
{
	char line[128];

	snprintf(line, sizeof(line), "osmem: free(0x%lx): not a block",
		 (unsigned long)(uintptr_t)p);
	EXPECT_ABORT(free_and_flush, p, line);
	EXPECT_ABORT(realloc_and_flush, p, line);
	snprintf(line, sizeof(line), "osmem: malloc_usable_size(0x%lx): " FOREIGN,
		 (unsigned long)(uintptr_t)p);
	EXPECT_ABORT(ask_usable_size, p, line);
}

TEST(cell_that_was_never_allocated)
{
	static const size_t sizes[] = {16, 112, 1024, 1152};

	for (size_t i = 0; i < COUNT_OF(sizes); i++) {
		char *p = new_cell(sizes[i]), *last;

		last = (char *)((uintptr_t)p & ~(uintptr_t)65535) +
		       (65536 / sizes[i] - 1) * sizes[i];
		expect_never_allocated(last);
		if (sizes[i] > 16)
			expect_all(&libc, last + 16, false, FOREIGN);
	}
}

/* Behind the last cell of a slab there is a rest that has no room for one. */
TEST(cell_behind_the_last_of_a_slab)
{
	char *p, *rest;

	alloc_many(1152);
	p = many_cells[MANY / 2];
	rest = (char *)(((uintptr_t)p & ~(uintptr_t)65535) + 65536 / 1152 * 1152);
	expect_never_allocated(rest);
	expect_all(&libc, rest + 16, false, FOREIGN);
	free_many();
}

/* The library's own memory between the cells: a segment's header, and slots without a slab. */
TEST(cell_segment)
{
	char *p = new_cell(112), *segment;

	segment = (char *)((uintptr_t)p & ~(((uintptr_t)4 << 20) - 1));
	expect_all(&libc, segment, false, FOREIGN);
	expect_all(&libc, segment + 16, false, FOREIGN);
	expect_all(&libc, segment + 65536 - 16, false, FOREIGN);
	expect_all(&libc, segment + 40 * 65536, false, FOREIGN);
	expect_all(&libc, segment - 64, false, FOREIGN);
}

/* Where the library notes where cells are: any write there is seen before it leads anywhere. */
static void overwrite_slabs(void *arg)
{
	char *header = (char *)((uintptr_t)arg & ~(((uintptr_t)4 << 20) - 1));

	memset(header + 4096, 'b', 4096);
	for (size_t i = 0; i < 5000; i++)
		CHECK(malloc(112));
	free(arg);
	malloc_trim(0);
}

TEST(cell_segment_overwritten)
{
	char *p = new_cell(112), err[256];
	int status = test_in_child(overwrite_slabs, p, err, sizeof(err));

	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	CHECK_MSG(strncmp(err, "osmem: heap(0x", 14) == 0 && strstr(err, " is overwritten\n"), "%s",
		  err);
}

/* The course's functions have nothing to do with cells. */
TEST(cell_in_the_course_heaps_hands)
{
	char *p = new_cell(112), *guard = new_cell(112);

	CHECK(os_malloc(100));
	expect_strange(&course, &libc, p);
	expect_strange(&course, &libc, p + 16);
	expect_all(&course, p + 1, false, "not a block: not aligned to 8 bytes");
	free(p);
	expect_strange(&course, &libc, p);
	malloc_trim(0);
	expect_strange(&course, &libc, p);
	free(guard);
	malloc_trim(0);
	expect_all(&course, p, false, FOREIGN); /* its slab is none any more */
}

static void write_and_allocate(void *arg)
{
	memset(arg, 0x55, 112);
	new_cell(112);
}

/* A cell that is written to when it is free: reported where its mark is, else nothing is lost. */
TEST(cell_written_to_after_free)
{
	char *p = new_cell(112), *guard = new_cell(112);

	free(p);
	expect_report(write_and_allocate, p, p, WRITTEN_TO);
	memset(p + 8, 0x55, 104);
	CHECK(new_cell(112) == p && malloc_usable_size(p) == 112);
	free(guard);
	free(p);
	expect_free(&libc, p);
}

static void free_around_the_mark(void *arg)
{
	char *p = arg;

	free(p);
	memset(p, 0, 16);
	free(p); /* unseen so far */
	malloc_trim(0);
}

/* Where the mark of a free cell is lost, the store sees that the cell comes twice. */
TEST(cell_freed_twice_around_a_lost_mark)
{
	char *p = new_cell(112), line[128];

	snprintf(line, sizeof(line), "osmem: free(0x%lx): " ALREADY_FREE,
		 (unsigned long)(uintptr_t)p);
	CHECK(new_cell(112));
	EXPECT_ABORT(free_around_the_mark, p, line);
}

/*
 * Cells that are not there yet, and what waits. Nothing else here has that size, so the next cell
 * of it is behind the last one.
 */

#define LONELY ((size_t)2560)

static void use_other_sizes(void)
{
	for (size_t size = 1100; size < CELL_MAX; size += 100)
		CHECK(malloc(size));
}

static char *behind_all(void)
{
	char *last = NULL;

	for (int i = 0; i < 3; i++) {
		char *p = new_cell(LONELY);

		if (p > last)
			last = p;
	}
	return last + LONELY;
}

/* Who frees it is told so when it is flushed; all else sees it. */
TEST(cell_that_never_was)
{
	char *p = behind_all();

	for (const struct call *call = libc.calls; call->name; call++) {
		struct second s = {.call = call, .p = p, .size = LONELY};

		expect_report(flush_soon, &s, p, "not a block");
	}
}

static void free_far_behind(void *arg)
{
	free(arg);
	use_other_sizes();
}

/* Taken at first, and seen when another size comes into use. */
TEST(far_cell_that_never_was)
{
	char *p = behind_all() + LONELY, line[128];

	snprintf(line, sizeof(line), "osmem: free(0x%lx): not a block",
		 (unsigned long)(uintptr_t)p);
	EXPECT_ABORT(free_far_behind, p, line);
}

static void overflow_into(void *arg)
{
	memset(arg, 0, 1);
	for (int i = 0; i < 10; i++)
		new_cell(LONELY);
}

TEST(overflow_into_a_cell_to_come)
{
	char *p = behind_all();

	expect_report(overflow_into, p, p, "this free block was written to");
}

static void write_to_waiting(void *arg)
{
	free(arg);
	memset(arg, 'b', 1);
	use_other_sizes();
}

TEST(cell_written_to_while_it_waits)
{
	char *p = new_cell(112);

	expect_report(write_to_waiting, p, p, WRITTEN_TO);
}
