// SPDX-License-Identifier: BSD-3-Clause
// Needs: libosmem.so

/*
 * Pointers that are no live payloads: every call that takes a pointer must name the call, the
 * pointer and what is wrong with it in one line, and abort. Each case runs over every call of a
 * family, os_* or the C library's names. Here: blocks of os_malloc, which have a header, and
 * pointers to what no allocator gave.
 */

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "block_meta.h"
#include "harness.h"
#include "misuse.h"
#include "osmem.h"
#include "pointers.h"

#define GRAIN ((size_t)8) /* of os_malloc */

/* The harness itself. */

static void do_nothing(void *arg)
{
	(void)arg;
}

static void abort_silently(void *arg)
{
	(void)arg;
	abort();
}

static void abort_with_line(void *arg)
{
	(void)arg;
	fputs("another line\n", stderr);
	abort();
}

struct expectation {
	void (*body)(void *arg);
	const char *want;
};

static void expect(void *arg)
{
	const struct expectation *e = arg;

	EXPECT_ABORT(e->body, NULL, e->want);
}

/* A harness that passes everything would prove nothing. The reasons go where they do not count. */
TEST(expect_abort_can_fail)
{
	static const struct expectation wrong[] = {
		{.body = do_nothing, .want = ""},
		{.body = abort_silently, .want = ""},
		{.body = abort_with_line, .want = "a line"},
	};
	struct expectation right = {.body = abort_with_line, .want = "another line"};
	char err[256];

	EXPECT_ABORT(abort_with_line, NULL, "another line");
	CHECK(test_in_child(expect, &right, err, sizeof(err)) == 0);
	for (size_t i = 0; i < COUNT_OF(wrong); i++) {
		struct expectation e = wrong[i];
		int status = test_in_child(expect, &e, err, sizeof(err));

		CHECK(WIFEXITED(status) && WEXITSTATUS(status) != 0);
	}
}

/* Double free. */

TEST_BOTH(double_free_at_once)
{
	char *p = f->alloc(100), *guard = f->alloc(100);

	CHECK(p && guard);
	f->free(p);
	expect_free(f, p);
	f->free(guard);
	expect_free(f, guard);
}

TEST_BOTH(double_free_of_the_last_block)
{
	char *p = f->alloc(100);

	f->free(p);
	expect_free(f, p);
}

TEST(double_free_after_others_os)
{
	char *p[9];

	alloc_row(p, COUNT_OF(p), SMALL);
	for (size_t i = 0; i < COUNT_OF(p); i += 2)
		os_free(p[i]);
	for (size_t i = 0; i < COUNT_OF(p); i += 2)
		expect_free(&course, p[i]);
}

TEST(double_free_after_a_search_os)
{
	static const size_t sizes[] = {32, 48, 1024, 1040, 20000};

	for (size_t i = 0; i < COUNT_OF(sizes); i++) {
		size_t size = sizes[i];
		char *p[3];

		alloc_row(p, 3, size);
		os_free(p[1]);
		CHECK(os_malloc(SEARCHED));
		expect_free(&course, p[1]);
		CHECK(os_malloc(size) == p[1]);
	}
}

TEST(double_free_after_coalescing_os)
{
	static const unsigned char orders[][3] = {
		{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0},
	};
	char *p[3];

	for (size_t i = 0; i < COUNT_OF(orders); i++) {
		alloc_row(p, 3, MEDIUM);
		for (int j = 0; j < 3; j++)
			os_free(p[orders[i][j]]);
		CHECK(os_malloc(SEARCHED));
		expect_free(&course, p[0]);
		expect_inside(&course, p[1], "a free one", p[0], 3 * MEDIUM + 2 * META);
		expect_inside(&course, p[2], "a free one", p[0], 3 * MEDIUM + 2 * META);
		CHECK(os_malloc(3 * MEDIUM + 2 * META) == p[0]);
	}
}

TEST(double_free_after_reuse_by_a_larger_block_os)
{
	char *p[2], *q;

	alloc_row(p, 2, MEDIUM);
	os_free(p[0]);
	os_free(p[1]);
	q = os_malloc(2 * MEDIUM + META);
	CHECK(q == p[0]);
	expect_inside(&course, p[1], "one", q, 2 * MEDIUM + META);
}

TEST(double_free_of_a_block_that_moved_os)
{
	char *p[2], *q;

	alloc_row(p, 2, SMALL);
	q = os_realloc(p[0], SMALL + 5000);
	CHECK(q && q != p[0]);
	expect_free(&course, p[0]);
}

TEST(double_free_of_a_block_grown_over_os)
{
	char *p[2];

	alloc_row(p, 2, MEDIUM);
	os_free(p[1]);
	CHECK(os_realloc(p[0], 2 * MEDIUM + META) == p[0]);
	expect_inside(&course, p[1], "one", p[0], 2 * MEDIUM + META);
}

TEST(double_free_of_a_mapped_block_os)
{
	char *p = os_malloc(LARGE), *q = os_malloc(LARGE);

	CHECK(p && q);
	os_free(p);
	expect_all(&course, p, false, FOREIGN);
	os_free(q);
	expect_all(&course, q, false, FOREIGN);
}

/* Rule 16. */

TEST(realloc_of_a_free_block_changes_nothing)
{
	static const size_t sizes[] = {1, 100, 112, 5000, LARGE, SIZE_MAX};
	char copy[112 + META], *p[3];

	alloc_row(p, 3, 112);
	memset(p[1], 'x', 112);
	os_free(p[1]);
	memcpy(copy, header(p[1]), sizeof(copy));
	for (size_t i = 0; i < COUNT_OF(sizes); i++) {
		errno = 0;
		CHECK(os_realloc(p[1], sizes[i]) == NULL);
		CHECK(errno == 0);
		CHECK(memcmp(copy, header(p[1]), sizeof(copy)) == 0);
	}
	CHECK(os_realloc(p[1], 0) == NULL);
	CHECK(os_malloc(112) == p[1]);
}

/* Pointers into blocks. */

/* Of the first and of the last bytes. */
static void expect_interior(char *p, const char *kind, size_t size)
{
	for (size_t i = GRAIN; i < size; i += GRAIN)
		if (i < 200 || i + 200 > size)
			expect_inside(&course, p + i, kind, p, size);
}

TEST(interior_os)
{
	size_t size = 400;
	char *p = os_malloc(size), *guard = os_malloc(size);

	CHECK(p && guard);
	expect_interior(p, "one", size);
}

TEST(interior_of_a_free_block_os)
{
	size_t size = 160;
	char *p = os_malloc(size), *guard = os_malloc(size);

	CHECK(p && guard);
	os_free(p);
	expect_interior(p, "a free one", size);
}

TEST(interior_unaligned_os)
{
	char *p = os_malloc(SMALL), *large = os_malloc(LARGE);

	for (size_t i = 1; i < 3 * GRAIN; i++) {
		if (i % GRAIN == 0)
			continue;
		expect_all(&course, p + i, false, "not a block: not aligned to %lu bytes",
			   (unsigned long)GRAIN);
		expect_all(&course, large + i, false, "not a block: not aligned to %lu bytes",
			   (unsigned long)GRAIN);
	}
}

TEST(interior_of_a_mapped_block_os)
{
	char *p = os_malloc(LARGE);

	for (size_t i = 16; i < LARGE; i *= 2)
		expect_all(&course, p + i, false, FOREIGN);
	expect_all(&course, p - META, false, FOREIGN);
}

/* A payload made to look like a block, down to the bytes of a true header. */
TEST(interior_with_a_copied_header_os)
{
	size_t size = MEDIUM;
	char *p[3], *fake;

	alloc_row(p, 3, size);
	fake = p[1] + 2 * META;
	memcpy(header(fake), header(p[1]), META);
	expect_inside(&course, fake, "one", p[1], size);
	header(fake)->size = size - 2 * META;
	header(fake)->prev = header(p[1]);
	expect_inside(&course, fake, "one", p[1], size);
	header(fake)->status = STATUS_MAPPED;
	expect_inside(&course, fake, "one", p[1], size);
	header(fake)->status = STATUS_FREE;
	expect_inside(&course, fake, "one", p[1], size);
}

/* Around the end of the heap's memory; the payload of the last block may be the last page. */
static void expect_past_the_end(char *p, char *end)
{
	for (long i = 3 * (long)META; i >= 0; i -= 8)
		expect_inside(&course, end - i, "a free one", p, (size_t)(end - p));
	for (size_t i = 8; i < META; i += 8)
		expect_inside(&course, end + i, "a free one", p, (size_t)(end - p));
	for (size_t i = META; i <= 4 * META; i += 8)
		expect_all(&course, end + i, false, FOREIGN);
}

TEST(past_the_end_os)
{
	char *p = os_malloc(100), *rest, *end;

	CHECK(p);
	rest = p + 104 + META;
	end = p - META + ((size_t)128 << 10);
	expect_past_the_end(rest, end);
	memset(p, STATUS_ALLOC, 104);
	CHECK(os_malloc((size_t)(end - rest)) ==
	      rest); /* all of it, filled with what may mislead */
	memset(rest, STATUS_ALLOC, (size_t)(end - rest));
	for (size_t i = 8; i < META; i += 8)
		expect_inside(&course, end + i, "one", rest, (size_t)(end - rest));
}

/* Above 1 MiB the break is raised ahead of need; what is there is not a block yet. */
TEST(past_the_end_of_a_large_heap_os)
{
	char *p = NULL;

	for (int i = 0; i < 20; i++)
		p = os_malloc(100000);
	CHECK(p);
	for (size_t i = 8; i < META; i += 8)
		expect_inside(&course, p + 100000 + i, "one", p, 100000);
	for (size_t i = META; i <= 4 * META; i += 8)
		expect_all(&course, p + 100000 + i, false, FOREIGN);
}

/* Other memory. */

static char static_buffer[256] __attribute__((aligned(64)));
static const char constant_buffer[256] __attribute__((aligned(64)));

TEST_BOTH(stack_and_static)
{
	char stack_buffer[256] __attribute__((aligned(64)));

	f->free(f->alloc(10));
	memset(stack_buffer, 1, sizeof(stack_buffer));
	expect_all(f, stack_buffer + 64, false, FOREIGN);
	expect_all(f, static_buffer + 64, false, FOREIGN);
	expect_all(f, (void *)((uintptr_t)constant_buffer + 64), false, FOREIGN);
}

TEST_BOTH(before_the_first_allocation)
{
	expect_all(f, static_buffer + 64, false, FOREIGN);
	expect_all(f, static_buffer + 1, false, "not a block: not aligned to %lu bytes",
		   (unsigned long)f->grain);
}

TEST_BOTH(small_and_huge_integers)
{
	static const uintptr_t values[] = {
		16,
		32,
		48,
		4096,
		65536,
		(uintptr_t)1 << 32,
		(uintptr_t)1 << 47,
		(uintptr_t)1 << 63,
		UINTPTR_MAX - 4095,
		UINTPTR_MAX - 63,
		UINTPTR_MAX - 31,
		UINTPTR_MAX - 15,
	};

	for (int round = 0; round < 2; round++) {
		for (size_t i = 0; i < COUNT_OF(values); i++)
			expect_all(f, (void *)values[i], false, FOREIGN);
		CHECK(f->alloc(100) && f->alloc(LARGE));
	}
	expect_all(f, (void *)1, false, "not a block: not aligned to %lu bytes",
		   (unsigned long)f->grain);
	expect_all(f, (void *)UINTPTR_MAX, false, "not a block: not aligned to %lu bytes",
		   (unsigned long)f->grain);
}

TEST_BOTH(unmapped_and_protected)
{
	char *p = mmap(NULL, LARGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(p != MAP_FAILED);
	CHECK(f->alloc(100));
	expect_all(f, p + 64, false, FOREIGN);
	expect_all(f, p, false, FOREIGN);
	CHECK(munmap(p, LARGE) == 0);
	expect_all(f, p + 64, false, FOREIGN);
	expect_all(f, p, false, FOREIGN);
}

TEST_BOTH(code)
{
	uintptr_t function = (uintptr_t)(void *)do_nothing;

	CHECK(f->alloc(100));
	expect_all(f, (void *)(function & ~(uintptr_t)15), false, FOREIGN);
}

/* One family's blocks in the other's hands. */

/* Wherever in it, aligned or not, live or free. */
TEST(blocks_of_os_malloc_in_free)
{
	char *p = os_malloc(208), *guard = os_malloc(208), *large = os_malloc(LARGE);

	CHECK(p && guard && large && malloc(100));
	for (size_t i = 0; i < 40; i += 8)
		expect_strange(&libc, &course, p + i);
	expect_strange(&libc, &course, large);
	os_free(p);
	expect_strange(&libc, &course, p);
	expect_strange(&libc, &course, p + 8);
	os_free(large);
	expect_all(&libc, large, false, FOREIGN);
}

/* What free_sized and its sisters, and the C++ deletes, are told of a block. */

/* Nothing above leaves traces in a sound heap: right calls are still right after wrong ones. */
TEST_BOTH(sound_use_is_not_reported)
{
	char *p[64];

	for (int round = 0; round < 50; round++) {
		for (size_t i = 0; i < COUNT_OF(p); i++) {
			size_t size = (i * 37 + (size_t)round * 101) % 3000 + 1;

			p[i] = f->alloc(i % 16 ? size : LARGE);
			memset(p[i], 0xa5, size);
		}
		for (size_t i = 0; i < COUNT_OF(p); i++)
			p[i] = f->realloc(p[i], i * 50 + 1);
		for (size_t i = 0; i < COUNT_OF(p); i++)
			f->free(p[(i * 29) % COUNT_OF(p)]);
	}
}
