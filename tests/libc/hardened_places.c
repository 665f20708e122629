// SPDX-License-Identifier: BSD-3-Clause
// Needs: libosmem.so

/*
 * OSMEM_OPTIONS=hardened: where blocks are, and are again: quarantine, random order, guard pages,
 * sizes of zero.
 */

#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "hardened_common.h"
#include "libc_common.h"

#define SPAN_MAX (2 * MIB - 8192) /* larger ones have a guard in front of them, too */

/* A death for each kind of misuse. */

TEST(no_immediate_reuse)
{
	for (size_t i = 0; i < COUNT_OF(sizes); i++) {
		for (int k = 0; k < 100; k++) {
			unsigned char *p = malloc(sizes[i]), *q, *r;

			free(p);
			q = malloc(sizes[i]);
			CHECK(q && q != p);
			r = realloc(q, 2 * sizes[i] + 64);
			p = malloc(sizes[i]);
			CHECK(r && p && p != q);
			free(p);
			free(r);
		}
	}
}

/* A thread that frees only what others have allocated puts it in quarantine, too. */
static void *free_and_look(void *arg)
{
	struct misuse *m = arg;
	unsigned char *q;

	free(m->p);
	q = malloc(m->size);
	CHECK(q && q != m->p);
	free(q);
	return NULL;
}

/* What is handed out again may have another number of pages, and has its guards all the same. */
TEST(guard_pages_where_blocks_were)
{
	uint64_t state = 1;

	for (int i = 0; i < 300; i++) {
		struct misuse m;

		m = allocated(CELL_MAX + 1 + random_below(&state, i % 10 ? 100000 : 3 * MIB));
		for (size_t at = 0; at < m.size; at += 4096)
			m.p[at] = 1;
		if (i % 10 == 0) {
			m.at = (ptrdiff_t)m.size + 32;
			expect_fault(touch_it, &m);
			m.at = -(ptrdiff_t)sysconf(_SC_PAGESIZE) - 64;
			if (m.size > SPAN_MAX)
				expect_fault(touch_it, &m);
		}
		free(m.p);
		m.p = calloc(1, m.size);
		CHECK(m.p);
		for (size_t at = 0; at < m.size; at++)
			CHECK(m.p[at] == 0);
		free(m.p);
	}
}

static size_t resident(void)
{
	size_t pages = 0;
	FILE *f = fopen("/proc/self/statm", "r");

	CHECK(f && fscanf(f, "%*u %zu", &pages) == 1);
	fclose(f);
	return pages * 4096;
}

/* Freed blocks get no memory by being zeroed and looked through that they did not have. */
TEST(untouched_memory_stays_untouched)
{
	enum {
		COUNT = 20
	};
	size_t before = resident();
	char *p[COUNT];

	test_needs_small_pages();
	for (int round = 0; round < 10; round++) {
		for (int i = 0; i < COUNT; i++) {
			p[i] = malloc(3 * MIB);
			CHECK(p[i]);
			p[i][MIB] = 1;
			p[i][2 * MIB] = 1;
		}
		for (int i = 0; i < COUNT; i++)
			free(p[i]);
	}
	CHECK_MSG(resident() < before + 2 * MIB, "%zu KiB more", (resident() - before) / 1024);
}

static size_t page_faults(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return (size_t)usage.ru_minflt;
}

/* To look through a fresh cell costs no page fault that the program's own write would not. */
TEST(fresh_pages_fault_once)
{
	enum {
		COUNT = 200000,
		SIZE = 100
	};
	size_t before = page_faults(), pages = COUNT * SIZE / 4096, faults;

	for (size_t i = 0; i < COUNT; i++)
		CHECK(malloc(SIZE));
	faults = page_faults() - before;
	CHECK_MSG(faults < pages * 3 / 2, "%zu page faults for %zu pages", faults, pages);
}

/*
 * What is kept of freed blocks has a limit, and goes when there are no calls for it. Of the others
 * mappings go at once, and the pages of spans are there for blocks of any size.
 */
TEST(kept_memory_is_bounded)
{
	enum {
		COUNT = 100
	};
	size_t before = resident(), live;
	char *p[COUNT];

	for (int i = 0; i < COUNT; i++) {
		p[i] = malloc(40000 * (size_t)(i + 1));
		CHECK(p[i]);
		memset(p[i], 1, 40000 * (size_t)(i + 1));
	}
	live = resident();
	for (int i = 0; i < COUNT; i++)
		free(p[i]);
	CHECK_MSG(resident() < live + MIB, "%zu KiB more", (resident() - live) / 1024);
	for (int i = 0; i < COUNT; i++) {
		p[i] = malloc(40000 * (size_t)(i + 1));
		CHECK(p[i]);
		memset(p[i], 1, 40000 * (size_t)(i + 1));
		free(p[i]);
	}
	CHECK_MSG(resident() < live + 8 * MIB, "%zu KiB more", (resident() - live) / 1024);
	for (int i = 0; i < 4; i++) {
		usleep(300 * 1000);
		for (int k = 0; k < 1000; k++)
			free(malloc(100));
	}
	CHECK_MSG(resident() < before + 2 * MIB, "%zu KiB more", (resident() - before) / 1024);
}

TEST(no_immediate_reuse_in_a_thread_that_only_frees)
{
	for (size_t i = 0; i < COUNT_OF(sizes); i++) {
		struct misuse m = allocated(sizes[i]);
		pthread_t thread;

		CHECK(pthread_create(&thread, NULL, free_and_look, &m) == 0);
		pthread_join(thread, NULL);
	}
}

TEST(cells_are_in_random_order)
{
	size_t steps[200] = {0}, most = 0;
	uintptr_t p[101];

	for (size_t i = 0; i < COUNT_OF(p); i++)
		p[i] = (uintptr_t)malloc(40);
	for (size_t i = 1; i < COUNT_OF(p); i++)
		steps[(p[i] - p[i - 1]) / 16 % COUNT_OF(steps)]++;
	for (size_t i = 0; i < COUNT_OF(steps); i++)
		most = steps[i] > most ? steps[i] : most;
	CHECK_MSG(most < 30, "the same step %zu times of 100", most);
}

TEST(guard_pages_around_blocks)
{
	for (size_t i = 0; i < COUNT_OF(sizes); i++) {
		struct misuse m = allocated(sizes[i]);

		if (m.size <= CELL_MAX)
			continue;
		m.at = (ptrdiff_t)m.size + 32;
		expect_fault(touch_it, &m);
		m.at = -(ptrdiff_t)sysconf(_SC_PAGESIZE) - 64;
		if (m.size > SPAN_MAX)
			expect_fault(touch_it, &m);
		m.p = realloc(m.p, m.size + 50000);
		CHECK(m.p);
		/* It may have half as much again, to grow into. */
		m.at = (ptrdiff_t)((m.size + 50000) * 3 / 2) + 64;
		expect_fault(touch_it, &m);
	}
}

/* A log that is appended to moves now and then, and its end is watched wherever it is. */
TEST(blocks_that_grow_move_seldom)
{
	struct misuse m = allocated(40000);
	unsigned int moves = 0;

	for (; m.size < 4 * MIB; m.size += 4096) {
		unsigned char *p = realloc(m.p, m.size);

		CHECK(p);
		moves += p != m.p;
		m.p = p;
		memset(p + m.size - 4096, 'x', 4096);
		CHECK(malloc_usable_size(p) == m.size);
		if (m.size % (64 * 4096) >= 4096)
			continue;
		m.at = (ptrdiff_t)m.size;
		if (!can_be_read(p + m.size)) {
			expect_fault(touch_it, &m);
			continue;
		}
		p[m.size] ^= 1;
		expect_death(free_it, &m, "overwritten");
		expect_death(resize_it, &m, "overwritten");
		p[m.size] ^= 1;
	}
	CHECK_MSG(moves < 20, "%u moves", moves);
	for (size_t i = 40000; i < m.size - 4096; i++)
		CHECK(m.p[i] == 'x');
	free(m.p);
}

/* A run of writes from any cell on ends at a guard before it meets anything of the library. */
static void overrun(void *arg)
{
	struct misuse *m = arg;

	for (;; m->at++)
		touch_it(m);
}

static void underrun(void *arg)
{
	struct misuse *m = arg;

	for (;; m->at--)
		touch_it(m);
}

/* A guard costs the process two of its 65,530 mappings: a quarter of them is the library's. */
TEST(guards_are_no_more_than_a_quarter_of_all_mappings)
{
	for (size_t i = 0; i < 13000; i++)
		CHECK(malloc(300000) != NULL);
	CHECK_MSG(count_mappings() < 65530 / 4, "%zu mappings", count_mappings());
}

TEST(guard_pages_around_segments)
{
	struct misuse m = allocated(100);

	expect_fault(overrun, &m);
	expect_fault(underrun, &m);
}

TEST(size_zero_is_unique_and_nothing)
{
	enum {
		COUNT = 1000
	};
	static struct misuse m[COUNT];

	for (size_t i = 0; i < COUNT; i++) {
		m[i].p = i % 2 ? malloc(0) : calloc(0, 8);
		CHECK(m[i].p && (uintptr_t)m[i].p % 16 == 0);
		CHECK(malloc_usable_size(m[i].p) == 0);
		for (size_t k = i > 10 ? i - 10 : 0; k < i; k++)
			CHECK(m[k].p != m[i].p);
	}
	expect_fault(touch_it, &m[7]);
	expect_death(free_twice, &m[8], "already free");
	m[9].p++;
	expect_death(free_it, &m[9], "not aligned");
	m[9].p--;
	m[10].p = realloc(m[10].p, 100);
	CHECK(m[10].p);
	memset(m[10].p, 1, 100);
	for (size_t i = 0; i < COUNT; i++)
		free(m[i].p);
}

/* More of them than there are addresses for. */
TEST(size_zero_without_end)
{
	enum {
		COUNT = 1100000
	};
	static void *p[COUNT];

	for (size_t i = 0; i < COUNT; i++)
		CHECK((p[i] = malloc(0)));
	for (size_t i = 0; i < COUNT; i++)
		free(p[i]);
}

TEST(usable_size_is_exact)
{
	for (size_t i = 0; i < COUNT_OF(sizes); i++) {
		struct misuse m = allocated(sizes[i]);

		CHECK(malloc_usable_size(m.p) == m.size);
		m.p = realloc(m.p, m.size / 2 + 1);
		CHECK(m.p && malloc_usable_size(m.p) == m.size / 2 + 1);
		free(m.p);
	}
}

TEST(alignments)
{
	for (size_t align = 1; align <= MIB / 16; align *= 2)
		for (size_t i = 0; i < COUNT_OF(sizes); i++) {
			size_t size = (sizes[i] + align - 1) & ~(align - 1);
			char *p = aligned_alloc(align, size), *q = memalign(align, sizes[i]);

			CHECK_MSG(p && (uintptr_t)p % align == 0, "%zu bytes, %zu", size, align);
			CHECK_MSG(q && (uintptr_t)q % align == 0, "%zu bytes, %zu", sizes[i],
				  align);
			memset(p, 1, size);
			memset(q, 2, sizes[i]);
			free(p);
			free(q);
		}
}
