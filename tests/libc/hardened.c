// SPDX-License-Identifier: BSD-3-Clause
// Needs: libosmem.so

/*
 * OSMEM_OPTIONS=hardened: what README.md promises of it, for small, medium and large blocks. The
 * program starts itself again with the option, which is looked at before the first allocation.
 */

#include <errno.h>
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

#include "libc_common.h"

static const size_t sizes[] = {1,      8,      16,	24,	     100,     1000,	  1017,
			       4096,   8185,   8192,	20000,	     32760,   32761,	  100000,
			       100001, 262144, 5 * MIB, 5 * MIB + 1, 9 * MIB, 9 * MIB + 9};

#define CELL_MAX ((size_t)32760)
#define SPAN_MAX (2 * MIB - 8192) /* larger ones have a guard in front of them, too */

__attribute__((constructor)) static void start_again(int argc, char **argv)
{
	const char *options = getenv("OSMEM_OPTIONS");

	(void)argc;
	if (options && strcmp(options, "hardened") == 0)
		return;
	setenv("OSMEM_OPTIONS", "hardened", 1);
	execv("/proc/self/exe", argv);
	_exit(127);
}

/* A death for each kind of misuse. */

struct misuse {
	unsigned char *p;
	size_t size;
	ptrdiff_t at; /* from p, where it is written */
};

static void free_it(void *arg)
{
	free(((struct misuse *)arg)->p);
}

static void resize_it(void *arg)
{
	struct misuse *m = arg;

	free(realloc(m->p, m->size + 1));
}

static void keep_it(void *arg)
{
	struct misuse *m = arg;

	CHECK(realloc(m->p, m->size) == m->p);
}

static void touch_it(void *arg)
{
	struct misuse *m = arg;

	((volatile unsigned char *)m->p)[m->at]++;
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

/* body dies by abort(), after a line that ends in what. */
static void expect_death(void (*body)(void *arg), struct misuse *m, const char *what)
{
	char err[256];
	int status = test_in_child(body, m, err, sizeof(err));

	CHECK_MSG(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "%zu bytes, %s: status %d",
		  m->size, what, status);
	CHECK_MSG(strncmp(err, "osmem: ", 7) == 0 && strstr(err, what) &&
			  strchr(err, '\n') == err + strlen(err) - 1,
		  "%zu bytes, %s: %s", m->size, what, err);
}

static void expect_fault(void (*body)(void *arg), struct misuse *m)
{
	char err[256];
	int status = test_in_child(body, m, err, sizeof(err));

	CHECK_MSG(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV,
		  "%zu bytes, at %td: status %d", m->size, m->at, status);
}

static struct misuse allocated(size_t size)
{
	struct misuse m = {.p = malloc(size), .size = size};

	CHECK(m.p);
	memset(m.p, 0x5a, size);
	return m;
}

/* A large object is as near to its guard as its alignment lets it. */
static bool ends_at_guard(const struct misuse *m)
{
	return m->size > CELL_MAX && m->size % 16 == 0;
}

static bool can_be_read(const void *p)
{
	int ends[2];
	ssize_t written;

	CHECK(pipe(ends) == 0);
	written = write(ends[1], p, 1);
	close(ends[0]);
	close(ends[1]);
	return written == 1;
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

/* A text that is too long by its last byte, or by any, is seen whatever the secret is. */
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

static void free_twice(void *arg)
{
	free_it(arg);
	free_it(arg);
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

/* The second thread has read the trailer before the first frees the cell, whose room is full. */
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
			m.at = -4096 - 64;
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
		m.at = -4096 - 64;
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

/* Contents under every kind of change. */

#define SLOTS 400

struct slot {
	unsigned char *p;
	size_t size;
	unsigned char value;
};

static size_t some_size(uint64_t *state)
{
	uint64_t r = random_next(state);

	if (r % 100 == 0)
		return r % 300000;
	return r % 10 ? r % 200 : r % 20000;
}

static void check_slot(const struct slot *s)
{
	CHECK(!s->size || (s->p[0] == s->value && s->p[s->size - 1] == s->value));
	CHECK(!s->size || memcmp(s->p, s->p + 1, s->size - 1) == 0);
}

static void fill_slot(struct slot *s, void *p, size_t size, unsigned char value)
{
	CHECK(p && (uintptr_t)p % 16 == 0);
	*s = (struct slot){.p = p, .size = size, .value = value};
	memset(p, value, size);
}

static void change(struct slot *s, uint64_t *state)
{
	size_t size = some_size(state), kept = size < s->size ? size : s->size;
	unsigned char value = (unsigned char)random_next(state), *p;

	if (s->p)
		check_slot(s);
	switch (random_next(state) % 4) {
	case 0:
		p = size ? realloc(s->p, size) : s->p;
		CHECK(p || !size);
		if (!size)
			return;
		for (size_t i = 0; i < kept; i += 97)
			CHECK(p[i] == s->value);
		fill_slot(s, p, size, value);
		return;
	case 1:
		free(s->p);
		p = calloc(1, size);
		for (size_t i = 0; i < size; i += 61)
			CHECK(p[i] == 0);
		fill_slot(s, p, size, value);
		return;
	case 2:
		free(s->p);
		fill_slot(s, aligned_alloc((size_t)16 << random_next(state) % 10, size), size,
			  value);
		return;
	default:
		free(s->p);
		fill_slot(s, malloc(size), size, value);
	}
}

static void change_often(uint64_t state, int times)
{
	static _Thread_local struct slot slots[SLOTS];

	for (int i = 0; i < times; i++)
		change(&slots[random_next(&state) % SLOTS], &state);
	for (size_t i = 0; i < SLOTS; i++) {
		if (slots[i].p)
			check_slot(&slots[i]);
		free(slots[i].p);
		slots[i] = (struct slot){.p = NULL};
	}
}

static void *change_many(void *arg)
{
	change_often((uintptr_t)arg, 10000);
	return NULL;
}

static void change_in_threads(void *arg)
{
	pthread_t threads[4];

	(void)arg;
	for (uintptr_t i = 0; i < COUNT_OF(threads); i++)
		CHECK(pthread_create(&threads[i], NULL, change_many, (void *)(i + 1)) == 0);
	for (size_t i = 0; i < COUNT_OF(threads); i++)
		pthread_join(threads[i], NULL);
}

TEST(contents_stay_in_threads)
{
	change_in_threads(NULL);
	malloc_trim(0);
}

/* While other threads allocate, and the child of each fork frees what they had. */
static void *fork_often(void *arg)
{
	for (int i = 0; i < 10; i++) {
		pid_t child = fork();
		int status;

		if (child == 0) {
			change_often((uint64_t)i + 7, 500);
			malloc_trim(0);
			_exit(0);
		}
		CHECK(child > 0 && waitpid(child, &status, 0) == child && status == 0);
	}
	return arg;
}

TEST(contents_stay_through_forks)
{
	pthread_t thread;

	CHECK(pthread_create(&thread, NULL, fork_often, NULL) == 0);
	change_in_threads(NULL);
	pthread_join(thread, NULL);
}

/* Options that others set never let a call past the checks, not for a moment. */

static _Atomic(bool) is_setting;

static void *set_options(void *arg)
{
	for (int i = 0; i < 300000; i++)
		mallopt(M_PERTURB, i & 1);
	is_setting = false;
	return arg;
}

TEST(options_are_set_by_another_thread)
{
	pthread_t thread;
	char *p[32];

	is_setting = true;
	CHECK(pthread_create(&thread, NULL, set_options, NULL) == 0);
	while (is_setting) {
		for (size_t i = 0; i < COUNT_OF(p); i++) {
			p[i] = malloc(100);
			CHECK(p[i]);
			memset(p[i], 'a', 100);
		}
		for (size_t i = 0; i < COUNT_OF(p); i++)
			free(p[i]);
	}
	pthread_join(thread, NULL);
}
