// SPDX-License-Identifier: BSD-3-Clause
// Needs: libosmem.so

/*
 * OSMEM_OPTIONS=hardened: the misuses that tests/misuse/README.md promises to report, of small,
 * medium and large blocks.
 */

#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hardened_common.h"
#include "libc_common.h"

/* A death for each kind of misuse. */

static void keep_it(void *arg)
{
	struct misuse *m = arg;

	CHECK(realloc(m->p, m->size) == m->p);
}

static void *free_in_thread(void *arg)
{
	free_it(arg);
	return NULL;
}

static void free_elsewhere(void *arg)
{
	pthread_t thread;

	CHECK(pthread_create(&thread, NULL, free_in_thread, arg) == 0);
	pthread_join(thread, NULL);
}

/* A large object is as near to its guard as its alignment lets it. */
static bool ends_at_guard(const struct misuse *m)
{
	return m->size > CELL_MAX && m->size % 16 == 0;
}

/* What fills its pages begins where a guard ends, and so do some slabs. */
static bool begins_at_guard(const struct misuse *m)
{
	return (uintptr_t)m->p % 4096 == 0 && !can_be_read(m->p - 1);
}

TEST(option_is_known)
{
	char err[64];

	CHECK(test_in_child(free_it, &(struct misuse){.p = NULL}, err, sizeof(err)) == 0 && !*err);
}

/* Which size, room to spare or none, and in which order cells come, makes no difference. */
TEST(one_byte_past_the_end)
{
	for (size_t i = 0; i < COUNT_OF(sizes); i++) {
		for (int k = 0; k < 5; k++) {
			struct misuse m = allocated(sizes[i]);

			m.at = (ptrdiff_t)m.size;
			if (ends_at_guard(&m)) {
				expect_fault(touch_it, &m);
			} else {
				m.p[m.size] ^= 1;
				expect_death(free_it, &m, "overwritten");
				expect_death(resize_it, &m, "overwritten");
				expect_death(free_elsewhere, &m, "overwritten");
				m.p[m.size] ^= 1;
			}
			free(m.p);
		}
	}
}

/* The byte behind a block has its top bit set, with every secret: so no ASCII text equals it. */
TEST(what_is_behind_is_no_text)
{
	for (size_t size = 1; size < 3000; size++) {
		char *p[4];

		for (size_t k = 0; k < COUNT_OF(p); k++) {
			p[k] = malloc(size);
			CHECK(p[k] && p[k][size] & 0x80);
		}
		for (size_t k = 0; k < COUNT_OF(p); k++)
			free(p[k]);
	}
}

/*
 * Changed in the child only: it may be a free cell's last byte, and the harness may get that cell.
 */
static void change_it(struct misuse *m)
{
	m->p[m->at] ^= 1;
}

static void change_and_free(void *arg)
{
	change_it(arg);
	free_it(arg);
}

static void change_and_resize(void *arg)
{
	change_it(arg);
	resize_it(arg);
}

static void change_and_keep(void *arg)
{
	change_it(arg);
	keep_it(arg);
}

TEST(one_byte_before_the_start)
{
	for (size_t i = 0; i < COUNT_OF(sizes); i++) {
		struct misuse all[20]; /* among them the first one of a slab */

		for (size_t k = 0; k < COUNT_OF(all); k++)
			all[k] = allocated(sizes[i]);
		for (size_t k = 0; k < COUNT_OF(all); k++) {
			all[k].at = -1;
			if (begins_at_guard(&all[k])) {
				expect_fault(touch_it, &all[k]);
			} else {
				expect_death(change_and_free, &all[k], "overwritten");
				expect_death(change_and_resize, &all[k], "overwritten");
				expect_death(change_and_keep, &all[k], "overwritten");
			}
		}
		for (size_t k = 0; k < COUNT_OF(all); k++)
			free(all[k].p);
	}
}

static void free_twice_elsewhere(void *arg)
{
	free_it(arg);
	free_elsewhere(arg);
}

TEST(double_frees)
{
	for (size_t i = 0; i < COUNT_OF(sizes); i++) {
		struct misuse m = allocated(sizes[i]);

		expect_death(free_twice, &m, "already free");
		expect_death(free_twice_elsewhere, &m, "already free");
	}
}

/* The second thread has read the canary before the first frees the cell, whose room is full. */
static void free_twice_in_one_moment(void *arg)
{
	struct misuse *m = arg;
	unsigned char seen[2048];

	memcpy(seen, m->p, m->size + 8);
	free(m->p);
	memcpy(m->p, seen, m->size + 8);
	free(m->p);
	for (size_t i = 0; i < 10000; i++) {
		CHECK(malloc(m->size));
		free(malloc(m->size));
	}
}

TEST(double_frees_in_one_moment)
{
	for (size_t size = 24; size <= 1000; size += 976) {
		struct misuse m = allocated(size);

		expect_death(free_twice_in_one_moment, &m, "written to");
	}
}

/* Until the memory is handed out again, which happens at some time. */
static void write_after_free(void *arg)
{
	struct misuse *m = arg;

	free(m->p);
	m->p[m->at] ^= 1;
	for (size_t i = 0; i < 100000; i++)
		free(malloc(m->size));
}

/* Large ones are inaccessible; what is after their time: hardened_faults.c. */
TEST(writes_after_free)
{
	test_timeout(120);
	for (size_t i = 0; i < COUNT_OF(sizes); i++) {
		struct misuse m = allocated(sizes[i]);

		for (m.at = 0; m.at < (ptrdiff_t)m.size; m.at += (ptrdiff_t)(m.size / 3 + 1)) {
			if (m.size <= CELL_MAX)
				expect_death(write_after_free, &m, "written to");
			else
				expect_fault(write_after_free, &m);
		}
	}
}

/* The trim may purge the memory, which hides the write. */
static void write_and_trim(void *arg)
{
	struct misuse *m = arg;
	static void *others[1000];

	for (size_t i = 0; i < COUNT_OF(others); i++)
		others[i] = malloc(m->size);
	free(m->p);
	m->p[m->at] ^= 1;
	for (size_t i = 0; i < COUNT_OF(others); i++)
		free(others[i]);
	malloc_trim(0);
	for (size_t i = 0; i < COUNT_OF(others); i++) /* if live cells are in the same page */
		others[i] = malloc(m->size);
}

TEST(writes_after_free_before_a_trim)
{
	for (size_t i = 0; i < COUNT_OF(sizes) && sizes[i] <= CELL_MAX; i++) {
		struct misuse m = allocated(sizes[i]);

		m.at = (ptrdiff_t)m.size / 2;
		for (int round = 0; round < 5; round++)
			expect_death(write_and_trim, &m, "written to");
	}
}

TEST(nothing_can_be_read_after_free)
{
	for (size_t i = 0; i < COUNT_OF(sizes); i++) {
		struct misuse m = allocated(sizes[i]);

		free(m.p);
		for (m.at = 0; m.at < (ptrdiff_t)m.size; m.at += (ptrdiff_t)(m.size / 50 + 1)) {
			if (m.size <= CELL_MAX)
				CHECK(((volatile unsigned char *)m.p)[m.at] == 0);
			else
				expect_fault(touch_it, &m);
		}
	}
}

TEST(pointers_into_and_beside)
{
	for (size_t i = 3; i < COUNT_OF(sizes); i++) {
		struct misuse m = allocated(sizes[i]);

		m.p += 16;
		expect_death(free_it, &m, "not");
		expect_death(resize_it, &m, "not");
		m.p -= 8;
		expect_death(free_it, &m, "not");
	}
}

/* Where the object is, and on which side of it the pointer. */
static void expect_beside(struct misuse m, ptrdiff_t at, const char *kind, const char *side)
{
	char what[128];

	snprintf(what, sizeof(what), "not the start of a block, but %s %s of %zu bytes at %p", side,
		 kind, m.size, (void *)m.p);
	m.p += at;
	expect_death(free_it, &m, what);
	expect_death(resize_it, &m, what);
}

TEST(pointers_into_and_beside_large_ones)
{
	static const size_t large[] = {32769, 100000, 262144, 2 * MIB, 5 * MIB};

	for (size_t i = 0; i < COUNT_OF(large); i++) {
		struct misuse m = allocated(large[i]);
		ptrdiff_t end = (ptrdiff_t)m.size;

		for (int round = 0; round < 2; round++) {
			const char *kind = round ? "a free one" : "one";

			expect_beside(m, 1, kind, "inside");
			expect_beside(m, 16, kind, "inside");
			expect_beside(m, end - 1, kind, "inside");
			expect_beside(m, end, kind, "behind");
			expect_beside(m, end + 16, kind, "behind");
			if (large[i] == 5 * MIB)
				expect_beside(m, -4096, kind, "before");
			if (!round)
				free(m.p);
		}
	}
}

/* An overflow out of one is a fault, before it reaches another one or a cell. */
TEST(overflows_by_a_page_out_of_large_ones)
{
	static const size_t large[] = {32769, 100000, 262144, 2 * MIB, 5 * MIB};

	for (size_t i = 0; i < COUNT_OF(large); i++) {
		struct misuse m[4];

		for (size_t k = 0; k < COUNT_OF(m); k++)
			m[k] = allocated(large[i]);
		for (size_t k = 0; k < COUNT_OF(m); k++) {
			m[k].at = (ptrdiff_t)m[k].size + 16;
			expect_fault(touch_it, &m[k]);
			m[k].at += 4000;
			expect_fault(touch_it, &m[k]);
			free(m[k].p);
			expect_fault(touch_it, &m[k]);
			m[k].at = 0;
			expect_fault(touch_it, &m[k]);
		}
	}
}
