// SPDX-License-Identifier: BSD-3-Clause
// Needs: libosmem.so

/*
 * Pointers that are no live payloads: every call that takes a pointer must name the call, the
 * pointer and what is wrong with it in one line, and abort. Each case runs over every call of a
 * family, os_* or the C library's names. What os_malloc gives has a header. What the C library's
 * names allocate has none: up to CELL_MAX it is a cell, the cases of which are at the end; those of
 * what is larger are in misuse_large.c.
 */

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "block_meta.h"
#include "harness.h"
#include "osmem.h"
#include "pointers.h"

#define META sizeof(struct block_meta)
#define LARGE ((size_t)1 << 20) /* mapped, of os_malloc */
#define SEARCHED ((size_t)125000) /* a search for it finds nothing free */

#define GRAIN ((size_t)8) /* of os_malloc */
#define SMALL ((size_t)112)
#define MEDIUM ((size_t)0x570)

#define OVERWRITTEN "the header of this block is overwritten"

/* A live block's header. */
static struct block_meta *header(void *p)
{
	return (struct block_meta *)p - 1;
}

/* n live blocks of size bytes in a row, and one behind them. */
static void alloc_row(char **p, size_t n, size_t size)
{
	for (size_t i = 0; i < n; i++) {
		p[i] = os_malloc(size);
		CHECK(p[i]);
		CHECK(!i || p[i] == p[i - 1] + size + META);
	}
	CHECK(os_malloc(size) == p[n - 1] + size + META);
}

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

static void expect_strange(const struct family *f, const struct family *other, void *p)
{
	expect_all(f, p, false, "a block of %s, not of %s", other->allocator, f->allocator);
}

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

/* Headers overwritten from the block before. The damage is done in the child that is to die. */

struct damage {
	const struct call *call; /* made with p, unless that is NULL */
	void *p;
	char *at; /* where size bytes of fill go before the call */
	size_t size;
	int fill;
};

static void damage_then_call(void *arg)
{
	const struct damage *d = arg;

	memset(d->at, d->fill, d->size);
	if (d->p)
		d->call->run(d->p);
	else
		for (size_t size = 8; size < 2048; size += 8)
			os_malloc(size);
}

/* The damage, a correct free, and searches. */
static void damage_then_free(void *arg)
{
	struct damage d = *(const struct damage *)arg;

	memset(d.at, d.fill, d.size);
	os_free(d.p);
	d.p = NULL;
	d.size = 0;
	damage_then_call(&d);
}

/* Every call with p, after the damage; all name p. */
static void expect_damaged(const struct damage *damage)
{
	for (const struct call *call = course.calls; call->name; call++) {
		struct damage d = *damage;
		char line[512];

		d.call = call;
		snprintf(line, sizeof(line), "osmem: %s(0x%lx): " OVERWRITTEN, call->name,
			 (unsigned long)(uintptr_t)d.p);
		EXPECT_ABORT(damage_then_call, &d, line);
	}
}

/* Searches after the damage find it in victim; before them, p is freed, if it is not NULL. */
static void expect_found_by_search(const struct damage *damage, void *p, void *victim)
{
	struct damage d = *damage;
	char line[512];

	d.p = p;
	snprintf(line, sizeof(line),
		 "osmem: heap(0x%lx): the header of this block, or free memory in it, is "
		 "overwritten",
		 (unsigned long)(uintptr_t)victim);
	EXPECT_ABORT(p ? damage_then_free : damage_then_call, &d, line);
}

static const size_t overflows[] = {1, 2, 4, 8, 12, 13, 16, 17, 24, 32, 40, 56, 200};
static const int fills[] = {0xa5, 0x00, 0x01, 0x40, 0xff};

struct victims {
	void *p; /* to be freed, if not NULL */
	void *victim;
};

/* check(damage, victims) for each overflow of p. */
static void each_overflow(char *p, size_t size,
			  void (*check)(const struct damage *d, const struct victims *v),
			  const struct victims *v)
{
	for (size_t i = 0; i < COUNT_OF(overflows); i++) {
		for (size_t j = 0; j < COUNT_OF(fills); j++) {
			struct damage d = {.p = v->victim,
					   .at = p + size,
					   .size = overflows[i],
					   .fill = fills[j]};

			check(&d, v);
		}
	}
}

static void check_calls(const struct damage *d, const struct victims *v)
{
	(void)v;
	expect_damaged(d);
}

static void check_search(const struct damage *d, const struct victims *v)
{
	expect_found_by_search(d, v->p, v->victim);
}

TEST(overflow_found_when_the_victim_is_freed_os)
{
	char *p[3];

	alloc_row(p, 3, SMALL);
	each_overflow(p[0], SMALL, check_calls, &(struct victims){.victim = p[1]});
}

TEST(overflow_found_by_the_search_after_its_origin_is_freed_os)
{
	char *p[3];

	alloc_row(p, 3, MEDIUM);
	each_overflow(p[0], MEDIUM, check_search, &(struct victims){.p = p[0], .victim = p[1]});
}

TEST(overflow_into_a_free_block_found_by_the_search_after_its_origin_is_freed_os)
{
	char *p[3];

	alloc_row(p, 3, MEDIUM);
	os_free(p[1]);
	each_overflow(p[0], MEDIUM, check_search, &(struct victims){.p = p[0], .victim = p[1]});
}

TEST(overflow_into_the_last_block_os)
{
	char *p = os_malloc(MEDIUM), *q = os_malloc(MEDIUM);

	CHECK(q == p + MEDIUM + META);
	each_overflow(p, MEDIUM, check_calls, &(struct victims){.victim = q});
	each_overflow(p, MEDIUM, check_search, &(struct victims){.p = p, .victim = q});
}

TEST(overflow_into_a_pending_block_found_by_the_next_search_os)
{
	char *p[3];

	alloc_row(p, 3, MEDIUM);
	os_free(p[1]);
	each_overflow(p[0], MEDIUM, check_search, &(struct victims){.victim = p[1]});
}

/*
 * Where the searches are for sizes of smaller bins. In the block's own bin, a size that is written
 * over may look too small.
 */
TEST(overflow_into_an_indexed_block_found_by_a_search_os)
{
	static const size_t sizes[] = {48, 0x170, 0x1170};

	for (size_t i = 0; i < COUNT_OF(sizes); i++) {
		size_t size = sizes[i];
		char *p[3];

		alloc_row(p, 3, size);
		os_free(p[1]);
		CHECK(os_malloc(SEARCHED));
		each_overflow(p[0], size, check_search, &(struct victims){.victim = p[1]});
		CHECK(os_malloc(size) == p[1]);
	}
}

/* The free rest at the end of the heap. */
TEST(overflow_into_the_free_end_os)
{
	char *p = os_malloc(0x170);

	CHECK(p);
	each_overflow(p, 0x170, check_search, &(struct victims){.victim = p + 0x170 + META});
}

/* A live block that is the first of its region. */
static char *alloc_first(void)
{
	for (int i = 0; i < 10000; i++) {
		char *p = os_malloc(MEDIUM);
		struct block_meta *prev;

		CHECK(p);
		prev = header(p)->prev;
		if (!prev || (char *)prev + META + prev->size != (char *)header(p))
			return p;
	}
	test_fail(__FILE__, __LINE__, "no block is the first of its region");
}

/* What it points to is not in the region, before the damage either. */
TEST(stray_write_into_prev_of_the_first_block_os)
{
	char *p = alloc_first();

	for (size_t i = 0; i < COUNT_OF(fills); i++) {
		struct damage d = {.at = (char *)&header(p)->prev,
				   .size = sizeof(header(p)->prev),
				   .fill = fills[i]};

		if (fills[i] || header(p)->prev) /* it is 0 in the first region */
			expect_found_by_search(&d, p, p);
	}
}

/* One field of the header at a time, as a stray write would. */
TEST(stray_write_into_a_header_os)
{
	size_t prev = offsetof(struct block_meta, prev), next = offsetof(struct block_meta, next);
	char *p[3];

	alloc_row(p, 3, MEDIUM);
	for (size_t at = 0; at < META; at += 4) {
		struct damage d = {
			.p = p[1], .at = (char *)header(p[1]) + at, .size = 4, .fill = 0xa5};

		if (at < prev || at >= next)
			expect_damaged(&d);
		else
			expect_found_by_search(&d, p[1], p[1]);
	}
}

TEST(stray_write_into_the_header_of_a_mapped_block_os)
{
	char *p = os_malloc(LARGE);

	for (size_t at = 0; at < META; at += 4) {
		struct damage d = {.p = p, .at = (char *)header(p) + at, .size = 4, .fill = 0xa5};

		expect_damaged(&d);
	}
}

/* The payload begins right behind next. With others mapped, too, the links lead somewhere. */
TEST(stray_write_into_the_links_of_a_mapped_block_os)
{
	char *p[5];

	for (size_t i = 0; i < COUNT_OF(p); i++) {
		p[i] = os_malloc(LARGE);
		CHECK(p[i]);
	}
	for (size_t i = 0; i < COUNT_OF(p); i++) {
		struct damage d = {.p = p[i], .size = sizeof(void *), .fill = 0x41};

		d.at = p[i] - d.size;
		expect_damaged(&d);
		d.at -= d.size;
		expect_damaged(&d);
		d.size *= 2;
		expect_damaged(&d);
	}
}

TEST(underflow_of_a_mapped_block_os)
{
	char *p = os_malloc(LARGE);
	struct damage d = {.p = p, .at = (char *)header(p), .size = META};

	for (size_t i = 0; i < COUNT_OF(fills); i++) {
		d.fill = fills[i];
		expect_damaged(&d);
	}
}

/* Cells: what malloc has for sizes up to CELL_MAX. There is no header, and nothing waits. */

static const size_t cell_sizes[] = {16, 112, 1024, 1152, 8192, 10240, CELL_MAX};

#define EACH_CELL_SIZE(size)                                                                       \
	for (const size_t *size##_at = cell_sizes,                                                 \
			  *size##_end = cell_sizes + COUNT_OF(cell_sizes);                         \
	     size##_at < size##_end; size##_at++)                                                  \
		for (size_t size = *size##_at, once = 1; once; once = 0)

static char *new_cell(size_t size)
{
	char *p = malloc(size);

	CHECK(p && malloc_usable_size(p) == size);
	return p;
}

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

/*
 * A block that is written to when a search has put it where the next ones look. Whatever its header
 * and the links behind that are, nothing is read or written through them.
 */

#define INDEXED ((size_t)300) /* more free blocks than are few */

struct indexed {
	char **p; /* every other one is free */
	char *searched; /* the others' neighbor, perhaps */
	size_t size, victim;
	ptrdiff_t at; /* where a word is written */
	const void *value; /* NULL: all bits, inverted */
};

static void write_to_indexed(void *arg)
{
	const struct indexed *f = arg;
	char *at = f->p[f->victim] + f->at, *p[INDEXED / 2 + 1];

	for (size_t i = 0; i < sizeof(f->value); i++)
		at[i] = f->value ? ((const char *)&f->value)[i] : (char)~at[i];
	for (size_t i = 0; i < COUNT_OF(p); i++)
		p[i] = os_malloc(f->size);
	for (size_t i = 0; i < COUNT_OF(p); i++)
		os_free(p[i]);
	for (size_t i = 1; i < INDEXED; i += 2)
		os_free(f->p[i]);
	os_free(f->searched);
	os_malloc(SEARCHED);
}

/* All but what two links lead to where there was nothing is looked at; prev may be made anew. */
static void expect_no_fault(struct indexed *f)
{
	char err[256];
	int status = test_in_child(write_to_indexed, f, err, sizeof(err));

	if (status == 0 && (f->at > 0 || f->at == -(ptrdiff_t)sizeof(void *) * 2))
		return;
	CHECK_MSG(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT &&
			  strstr(err, "free memory in it, is overwritten\n"),
		  "%zu bytes, block %zu, at %td, value %p: status %d, %s", f->size, f->victim,
		  f->at, f->value, status, err);
}

TEST(indexed_block_written_to_os)
{
	static const size_t sizes[] = {8, 16, 24, 112, 1024, 1032, 1200, 5000, 40000};
	static char elsewhere[256];
	const void *values[] = {NULL, elsewhere, (const void *)0x6262626262626262, (const void *)-1,
				(const void *)1};

	test_timeout(120);
	for (size_t i = 0; i < COUNT_OF(sizes); i++) {
		size_t size = sizes[i];
		size_t words = 4 + (size < 24 ? 1 : size > 1024 ? 2 : 3);
		char *first = os_malloc(size), *guard = os_malloc(size), *p[INDEXED], *searched;

		CHECK(first && guard);
		for (size_t k = 0; k < INDEXED; k++)
			CHECK((p[k] = os_malloc(size)));
		for (size_t k = 0; k < INDEXED; k += 2)
			os_free(p[k]);
		/* Only a search for as little puts the smallest into the index. */
		os_free(first);
		CHECK(os_malloc(size) == first);
		CHECK((searched = os_malloc(SEARCHED)));
		/* Four blocks, the lowest among them; each word of each; every value. */
		for (size_t k = 0; k < COUNT_OF(values) * words * 4; k++) {
			struct indexed d = {.p = p,
					    .searched = searched,
					    .size = size,
					    .victim = k % 4 * 98,
					    .at = (ptrdiff_t)(k / 4 % words * 8 - META),
					    .value = values[k / 4 / words]};

			expect_no_fault(&d);
		}
		for (size_t k = 1; k < INDEXED; k += 2)
			os_free(p[k]);
		os_free(first);
		os_free(guard);
		os_free(searched);
	}
}

/* Headers of free blocks, and of those that are beside what comes and goes. */

struct overwritten {
	void *at, *p; /* a word, and the block that is named for it */
	void (*then)(void);
};

static void overwrite(void *arg)
{
	const struct overwritten *o = arg;

	memset(o->at, 0x5a, sizeof(void *));
	o->then();
}

static void expect_named(const struct overwritten *o)
{
	char line[256];

	snprintf(line, sizeof(line),
		 "osmem: heap(0x%lx): the header of this block, or free memory in it, is "
		 "overwritten",
		 (unsigned long)(uintptr_t)o->p);
	EXPECT_ABORT(overwrite, (void *)(uintptr_t)o, line);
}

static void search_os(void)
{
	os_malloc(SEARCHED);
}

TEST(growing_behind_a_block_whose_neighbor_is_overwritten)
{
	char *p = os_malloc(SEARCHED), *last = os_malloc(SEARCHED);

	CHECK(p && last && !header(last)->next);
	expect_named(
		&(struct overwritten){.at = &header(last)->next, .p = last, .then = search_os});
}

TEST(growing_behind_a_block_whose_header_is_overwritten)
{
	char *p = os_malloc(SEARCHED), *last = os_malloc(SEARCHED);

	CHECK(p && last && !header(last)->next);
	expect_named(
		&(struct overwritten){.at = &header(last)->size, .p = last, .then = search_os});
	expect_named(
		&(struct overwritten){.at = &header(last)->status, .p = last, .then = search_os});
}

static char *row_of_three[3];

static void take_the_same(void)
{
	os_malloc(24);
}

static void free_the_next(void)
{
	os_free(row_of_three[2]);
	search_os();
}

/* The middle one is free; its size is overwritten before a search has seen it, or after. */
static void test_overwritten_size(bool is_indexed, void (*then)(void))
{
	char *p;

	alloc_row(row_of_three, COUNT_OF(row_of_three), 24);
	p = row_of_three[1];
	os_free(p);
	if (is_indexed)
		search_os();
	expect_named(&(struct overwritten){.at = header(p), .p = p, .then = then});
}

TEST(searching_past_a_freed_block_whose_size_is_overwritten)
{
	test_overwritten_size(false, search_os);
}

TEST(taking_a_free_block_whose_size_is_overwritten)
{
	test_overwritten_size(true, take_the_same);
}

TEST(coalescing_with_a_free_block_whose_size_is_overwritten)
{
	test_overwritten_size(true, free_the_next);
}

/* What free_sized and its sisters, and the C++ deletes, are told of a block. */

void *new_plain(size_t size) __asm__("_Znwm");
void *new_aligned(size_t size, size_t align) __asm__("_ZnwmSt11align_val_t");
void delete_sized(void *p, size_t size) __asm__("_ZdlPvm");
void delete_array_sized(void *p, size_t size) __asm__("_ZdaPvm");
void delete_aligned(void *p, size_t align) __asm__("_ZdlPvSt11align_val_t");
void delete_sized_aligned(void *p, size_t size, size_t align) __asm__("_ZdlPvmSt11align_val_t");

struct told {
	void *p;
	size_t size, align;
};

static void told_free(void *arg)
{
	const struct told *t = arg;

	free_sized(t->p, t->size);
}

static void told_free_aligned(void *arg)
{
	const struct told *t = arg;

	free_aligned_sized(t->p, t->align, t->size);
}

static void told_delete(void *arg)
{
	const struct told *t = arg;

	delete_sized(t->p, t->size);
}

static void told_delete_array(void *arg)
{
	const struct told *t = arg;

	delete_array_sized(t->p, t->size);
}

static void told_delete_aligned(void *arg)
{
	const struct told *t = arg;

	delete_aligned(t->p, t->align);
}

static void told_delete_sized_aligned(void *arg)
{
	const struct told *t = arg;

	delete_sized_aligned(t->p, t->size, t->align);
}

static const size_t three_sizes[] = {8, 4096, 262144};

static void expect_wrong_size(const char *call, void (*body)(void *arg), struct told t)
{
	char line[256];

	snprintf(line, sizeof(line),
		 "osmem: %s(0x%lx): not allocated with %lu bytes: this block has %lu", call,
		 (unsigned long)(uintptr_t)t.p, (unsigned long)t.size,
		 (unsigned long)malloc_usable_size(t.p));
	EXPECT_ABORT(body, &t, line);
}

static void expect_wrong_align(const char *call, void (*body)(void *arg), struct told t)
{
	char line[256];

	snprintf(line, sizeof(line),
		 "osmem: %s(0x%lx): not allocated with an alignment of %lu bytes", call,
		 (unsigned long)(uintptr_t)t.p, (unsigned long)t.align);
	EXPECT_ABORT(body, &t, line);
}

/* Wrong for all three: no block is so small, or so large, for size. */
static void wrong_sizes(size_t size, size_t wrong[4])
{
	wrong[0] = 2 * size + 8192;
	wrong[1] = size == 8 ? 100 : size / 10;
	wrong[2] = SIZE_MAX;
	wrong[3] = size == 8 ? SIZE_MAX - 15 : 0;
}

TEST(free_sized_with_a_wrong_size)
{
	size_t wrong[4];

	for (size_t i = 0; i < COUNT_OF(three_sizes); i++) {
		size_t size = three_sizes[i];
		void *p = malloc(size), *q = aligned_alloc(64, size);

		wrong_sizes(size, wrong);
		for (size_t j = 0; j < COUNT_OF(wrong); j++) {
			expect_wrong_size("free_sized", told_free, (struct told){p, wrong[j], 0});
			expect_wrong_size("free_aligned_sized", told_free_aligned,
					  (struct told){q, wrong[j], 64});
		}
		free_sized(p, size);
		free_aligned_sized(q, 64, size);
	}
}

/* There is no realloc for what new has made: a size of another class is wrong. */
TEST(delete_with_a_wrong_size)
{
	size_t wrong[4];

	for (size_t i = 0; i < COUNT_OF(three_sizes); i++) {
		size_t size = three_sizes[i];
		void *p = new_plain(size), *q = new_aligned(size, 64);

		wrong_sizes(size, wrong);
		for (size_t j = 0; j < COUNT_OF(wrong); j++) {
			struct told t = {.p = p, .size = wrong[j]};

			expect_wrong_size("operator delete", told_delete, t);
			expect_wrong_size("operator delete", told_delete_array, t);
			t = (struct told){q, wrong[j], 64};
			expect_wrong_size("operator delete", told_delete_sized_aligned, t);
		}
		delete_sized(p, size);
		delete_sized_aligned(q, size, 64);
	}
	EACH_CELL_SIZE(size)
	{
		void *p = new_plain(size);

		expect_wrong_size("operator delete", told_delete, (struct told){p, size + 1, 0});
		expect_wrong_size("operator delete", told_delete,
				  (struct told){p, size > 1024 ? size * 7 / 8 : size + 16, 0});
		delete_sized(p, size);
	}
}

/* An address may be a multiple of more than was asked for, by chance. */
static size_t more_than_aligned(const void *p)
{
	uintptr_t address = (uintptr_t)p;

	return 2 * (size_t)(address & -address);
}

TEST(delete_with_a_wrong_alignment)
{
	for (size_t i = 0; i < COUNT_OF(three_sizes); i++) {
		size_t size = three_sizes[i];
		struct told t = {.p = new_plain(size), .size = size};

		t.align = more_than_aligned(t.p);
		expect_wrong_align("operator delete", told_delete_aligned, t);
		expect_wrong_align("operator delete", told_delete_sized_aligned, t);
		delete_sized(t.p, size);
		t = (struct told){.p = new_aligned(size, 4096), .size = size};
		t.align = more_than_aligned(t.p);
		expect_wrong_align("operator delete", told_delete_sized_aligned, t);
		if (size == 8) { /* it has a cell of 4096 */
			expect_wrong_size("operator delete", told_delete, t);
			t.align = 16;
			expect_wrong_size("operator delete", told_delete_sized_aligned, t);
		}
		delete_sized_aligned(t.p, size, 4096);
	}
}

/* Bad pointers, under the name of the call that was made. */
TEST(sized_calls_of_bad_pointers)
{
	char on_stack[64] __attribute__((aligned(64))), *p = new_cell(112), line[128];
	struct told t = {.p = on_stack, .size = 50, .align = 16};

	snprintf(line, sizeof(line), "osmem: operator delete(0x%lx): " FOREIGN,
		 (unsigned long)(uintptr_t)on_stack);
	EXPECT_ABORT(told_delete, &t, line);
	EXPECT_ABORT(told_delete_aligned, &t, line);
	EXPECT_ABORT(told_delete_sized_aligned, &t, line);
	free(p);
	t = (struct told){p, 112, 16};
	snprintf(line, sizeof(line), "osmem: operator delete(0x%lx): " ALREADY_FREE,
		 (unsigned long)(uintptr_t)p);
	EXPECT_ABORT(told_delete, &t, line);
	t.size = 500;
	EXPECT_ABORT(told_delete, &t, line);
	EXPECT_ABORT(told_delete_sized_aligned, &t, line);
}

/* No size that a block has been given is wrong, however it came to have it. */
TEST(right_sizes_are_not_reported)
{
	uint32_t random = 1;

	for (int i = 0; i < 20000; i++) {
		size_t size, align;
		void *p;

		random = random * 1664525 + 1013904223;
		size = random >> 12 >> (random >> 27) % 20;
		p = malloc(size);
		for (int j = 0; j < (i & 7); j++) {
			random = random * 1664525 + 1013904223;
			size = size * (random >> 24) / 160 + 1;
			p = realloc(p, size);
		}
		free_sized(p, size);
		align = (size_t)16 << (random >> 29);
		p = aligned_alloc(align, size);
		free_aligned_sized(p, align, size);
		delete_array_sized(new_plain(size), size);
		delete_aligned(new_aligned(size, align), align);
		delete_sized_aligned(new_aligned(size, align), size, align);
	}
}

/* A block of 30000 bytes, shrunk to keep where it cannot move. */
static void *shrunk_in_place(size_t keep)
{
	struct rlimit none = {.rlim_cur = 0, .rlim_max = RLIM_INFINITY};
	char *p = malloc(30000), *q;

	CHECK(p && setrlimit(RLIMIT_AS, &none) == 0);
	while (malloc(keep))
		;
	q = realloc(p, keep);
	CHECK(q == p);
	return q;
}

/* Where there is no memory, a realloc that shrinks keeps what it has. */
TEST(right_sizes_without_memory)
{
	free_sized(shrunk_in_place(100), 100);
}

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
