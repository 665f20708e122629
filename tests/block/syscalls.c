// SPDX-License-Identifier: BSD-3-Clause
// Needs: libosmem.so

/*
 * The system calls of the block heap, one by one and byte for byte: the numbered rules are those of
 * the placement specification. Every expectation is the whole log of a call, so a system call too
 * many of any kind fails the test as surely as a wrong argument.
 */

#include "block_meta.h"
#include "harness.h"
#include "osmem.h"
#include "tracer.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define META sizeof(struct block_meta)
#define INITIAL ((size_t)131072) /* what first use raises the break by */
#define THRESHOLD ((size_t)131072)

static size_t page_size(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

static size_t round8(size_t n)
{
	return (n + 7) & ~(size_t)7;
}

static char *header(char *p)
{
	return p - META;
}

static void expect_first_use(char *start)
{
	void *end = start + INITIAL;

	EXPECT_TRACE("brk(0x0) = %p; brk(%p) = %p", (void *)start, end, end);
}

static void expect_growth_to(char *new_break)
{
	EXPECT_TRACE("brk(%p) = %p", (void *)new_break, (void *)new_break);
}

static void expect_map(char *p, size_t len)
{
	EXPECT_TRACE("mmap(0x0, %zu, %#x, %#x, -1, 0) = %p", len, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS, (void *)header(p));
}

static void expect_unmap(char *p, size_t len)
{
	EXPECT_TRACE("munmap(%p, %zu) = 0", (void *)header(p), len);
}

static void expect_move_between_maps(char *from, size_t from_len, char *to, size_t to_len)
{
	EXPECT_TRACE("mmap(0x0, %zu, %#x, %#x, -1, 0) = %p; munmap(%p, %zu) = 0", to_len,
		     PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, (void *)header(to),
		     (void *)header(from), from_len);
}

TEST(rule_05_size_zero_makes_no_call)
{
	trace_self();
	TRACE(CHECK(!os_malloc(0)));
	EXPECT_NO_TRACE();
	TRACE(CHECK(!os_calloc(0, 0)); CHECK(!os_calloc(0, 8)); CHECK(!os_calloc(8, 0)));
	EXPECT_NO_TRACE();
	TRACE(CHECK(!os_calloc(0, SIZE_MAX)); CHECK(!os_calloc(SIZE_MAX, 0)));
	EXPECT_NO_TRACE();
	TRACE(CHECK(!os_realloc(NULL, 0)));
	EXPECT_NO_TRACE();
}

TEST(rule_07_malloc_maps_exactly_one_chunk)
{
	static const size_t sizes[] = {131033, 131040, 131041,	131072,	 135136,
				       135137, 200000, 1048576, 1048577, 50000001};
	char *p;

	trace_self();
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		TRACE(p = os_malloc(sizes[i]));
		expect_map(p, META + round8(sizes[i]));
		TRACE(os_free(p));
		expect_unmap(p, META + round8(sizes[i]));
	}
}

TEST(rule_07_calloc_maps_from_the_page_size)
{
	size_t page = page_size();
	char *p;

	trace_self();
	TRACE(p = os_calloc(1, page - META - 7));
	expect_map(p, page);
	TRACE(os_free(p));
	expect_unmap(p, page);
	TRACE(p = os_calloc(page, 3));
	expect_map(p, 3 * page + META);
	TRACE(os_free(p));
	expect_unmap(p, 3 * page + META);
	TRACE(p = os_calloc(1, page - META - 8));
	expect_first_use(header(p));
}

TEST(rule_07_freed_in_any_order)
{
	char *p[3];

	trace_self();
	for (size_t i = 0; i < 3; i++) {
		TRACE(p[i] = os_malloc(150000 + i));
		expect_map(p[i], META + round8(150000 + i));
	}
	TRACE(os_free(p[1]));
	expect_unmap(p[1], META + 150008);
	TRACE(os_free(p[0]));
	expect_unmap(p[0], META + 150000);
	TRACE(os_free(p[2]));
	expect_unmap(p[2], META + 150008);
}

TEST(rule_08_overflow_makes_no_call)
{
	trace_self();
	TRACE(CHECK(!os_calloc(SIZE_MAX, 2)); CHECK(!os_calloc(SIZE_MAX / 2 + 1, 2)));
	EXPECT_NO_TRACE();
}

TEST(rule_09_malloc_first)
{
	char *p;

	trace_self();
	TRACE(p = os_malloc(100));
	expect_first_use(header(p));
	TRACE(p = os_malloc(100));
	EXPECT_NO_TRACE();
}

TEST(rule_09_calloc_first)
{
	char *p;

	trace_self();
	TRACE(p = os_calloc(10, 10));
	expect_first_use(header(p));
}

TEST(rule_09_realloc_first)
{
	char *p;

	trace_self();
	TRACE(p = os_realloc(NULL, 100));
	expect_first_use(header(p));
}

TEST(rule_09_mapped_block_is_not_first_use)
{
	char *p, *q;

	trace_self();
	TRACE(p = os_malloc(THRESHOLD));
	expect_map(p, META + THRESHOLD);
	TRACE(q = os_malloc(THRESHOLD - META - 8));
	expect_first_use(header(q));
	TRACE(os_free(p));
	expect_unmap(p, META + THRESHOLD);
}

TEST(rule_09_once)
{
	char *p;

	trace_self();
	TRACE(p = os_malloc(131032));
	expect_first_use(header(p));
	TRACE(os_free(p));
	EXPECT_NO_TRACE();
	TRACE(p = os_malloc(131032));
	EXPECT_NO_TRACE();
}

/* sbrk asks the kernel for the break only where libc does not know it yet. */
TEST(rule_04_the_break_is_moved_with_sbrk)
{
	char *start, *p;

	trace_self();
	start = sbrk(0);
	TRACE(p = os_malloc(100));
	CHECK(header(p) == start);
	expect_growth_to(start + INITIAL);
	TRACE(CHECK(sbrk(0) == start + INITIAL));
	EXPECT_NO_TRACE();
}

TEST(rule_04_libc_names_leave_the_break_alone)
{
	void *small, *large;
	char *p;

	trace_self();
	small = malloc(100);
	large = malloc(100000);
	TRACE(p = os_malloc(100));
	expect_first_use(header(p));
	TRACE(free(small); free(large));
	CHECK(trace_count_of(SYS_brk) == 0);
}

/* Growth by one chunk is a brk of exactly that chunk, up to and including the one that passes 1
 * MiB. */
TEST(rule_13_growth_by_one_chunk_is_exact)
{
	char *p, *start, *end;
	size_t n = 1;

	trace_self();
	TRACE(p = os_malloc(131032));
	start = header(p);
	end = start + INITIAL;
	while ((size_t)(end - start) < MIB) {
		TRACE(p = os_malloc(n));
		CHECK(header(p) == end);
		end += META + round8(n);
		expect_growth_to(end);
		n = (n * 7 + 11) % 20000 + 1;
	}
}

TEST(rule_13_growth_of_a_free_last_block_is_exact)
{
	char *p, *end;

	trace_self();
	TRACE(p = os_malloc(131032));
	end = header(p) + INITIAL;
	TRACE(os_free(p); p = os_malloc(100000));
	EXPECT_NO_TRACE();
	TRACE(p = os_malloc(31017)); /* the last block has 31008 */
	expect_growth_to(end += 16);
	for (size_t n = 31032; n < 100000; n += 1112) {
		TRACE(os_free(p));
		EXPECT_NO_TRACE();
		TRACE(p = os_malloc(n));
		expect_growth_to(end += n == 31032 ? 8 : 1112);
	}
}

TEST(rule_13_refused_growth_is_one_call)
{
	struct rlimit limit;
	char *p, *end;

	trace_self();
	TRACE(p = os_malloc(131032));
	end = header(p) + INITIAL;
	CHECK(getrlimit(RLIMIT_DATA, &limit) == 0);
	limit.rlim_cur = 4096;
	CHECK(setrlimit(RLIMIT_DATA, &limit) == 0);
	errno = 0;
	TRACE(CHECK(!os_malloc(1000)));
	CHECK(errno == ENOMEM);
	EXPECT_TRACE("brk(%p) = %p", (void *)(end + META + 1000), (void *)end);
}

TEST(rule_14_free_of_heap_blocks_makes_no_call)
{
	char *p[200];

	trace_self();
	for (size_t i = 0; i < 200; i++)
		p[i] = os_malloc(i * 50 + 1);
	TRACE(for (size_t i = 0; i < 200; i++) os_free(p[i]));
	EXPECT_NO_TRACE();
	TRACE(os_free(NULL));
	EXPECT_NO_TRACE();
}

TEST(rule_15_realloc_to_zero_is_free)
{
	char *p, *q;

	trace_self();
	p = os_malloc(100);
	TRACE(CHECK(!os_realloc(p, 0)));
	EXPECT_NO_TRACE();
	q = os_malloc(200000);
	TRACE(CHECK(!os_realloc(q, 0)));
	expect_unmap(q, META + 200000);
}

TEST(rule_16_realloc_of_a_free_block_makes_no_call)
{
	char *p;

	trace_self();
	p = os_malloc(100);
	os_free(p);
	TRACE(CHECK(!os_realloc(p, 50)); CHECK(!os_realloc(p, 131032)));
	EXPECT_NO_TRACE();
	TRACE(CHECK(!os_realloc(p, 131033)));
	EXPECT_NO_TRACE();
}

TEST(rule_17a_in_place_makes_no_call)
{
	char *p;

	trace_self();
	p = os_malloc(1000);
	TRACE(CHECK(os_realloc(p, 1000) == p); CHECK(os_realloc(p, 500) == p);
	      CHECK(os_realloc(p, 1) == p));
	EXPECT_NO_TRACE();
}

TEST(rule_17b_last_block_grows_by_what_it_lacks)
{
	char *p, *end;

	trace_self();
	p = os_malloc(131032); /* given whole: 131040 */
	end = header(p) + INITIAL;
	p = os_malloc(100);
	end += META + 104;
	for (size_t n = 105; n < 131032; n += 1 + n / 2) {
		size_t lack = round8(n) - ((struct block_meta *)(void *)header(p))->size;

		TRACE(CHECK(os_realloc(p, n) == p));
		expect_growth_to(end += lack);
	}
}

TEST(rule_17c_absorbing_makes_no_call)
{
	char *a, *b;

	trace_self();
	a = os_malloc(100);
	b = os_malloc(1000);
	os_malloc(8);
	os_free(b);
	TRACE(CHECK(os_realloc(a, 900) == a));
	EXPECT_NO_TRACE();
}

TEST(rule_17d_moving_grows_by_one_chunk)
{
	char *a, *q, *end;

	trace_self();
	a = os_malloc(65504);
	end = header(a) + INITIAL;
	os_malloc(65504); /* what remains, exactly */
	TRACE(q = os_realloc(a, 65505));
	CHECK(header(q) == end);
	expect_growth_to(end + META + 65512);
	CHECK(((struct block_meta *)(void *)header(a))->status == STATUS_FREE);
}

TEST(rule_18_mapped_blocks_never_resize_in_place)
{
	char *p, *q, *r;

	trace_self();
	p = os_malloc(200000);
	memset(p, 'x', 200000);
	TRACE(q = os_realloc(p, 200000));
	expect_move_between_maps(p, META + 200000, q, META + 200000);
	TRACE(p = os_realloc(q, 300001));
	expect_move_between_maps(q, META + 200000, p, META + 300008);
	TRACE(q = os_realloc(p, 131033));
	expect_move_between_maps(p, META + 300008, q, META + 131040);
	CHECK(is_all(q, 131033, 'x'));
	TRACE(r = os_realloc(q, 131032));
	EXPECT_TRACE("brk(0x0) = %p; brk(%p) = %p; munmap(%p, %zu) = 0", (void *)header(r),
		     (void *)(header(r) + INITIAL), (void *)(header(r) + INITIAL),
		     (void *)header(q), META + 131040);
	CHECK(is_all(r, 131032, 'x'));
}

TEST(rule_18_heap_block_to_a_mapping)
{
	char *p, *q;

	trace_self();
	p = os_malloc(1000);
	memset(p, 'x', 1000);
	TRACE(q = os_realloc(p, 131033));
	expect_map(q, THRESHOLD);
	CHECK(is_all(q, 1000, 'x'));
	CHECK(((struct block_meta *)(void *)header(p))->status == STATUS_FREE);
}

/* A block whose capacity would do, but whose new chunk reaches the threshold, is mapped all the
 * same. */
TEST(rule_18_threshold_before_capacity)
{
	char *p, *q;

	trace_self();
	p = os_malloc(131032); /* given whole: 131040 */
	TRACE(q = os_realloc(p, 131040));
	expect_map(q, THRESHOLD);
}

TEST(rule_18_calloc_mapping_to_the_heap)
{
	size_t n = page_size();
	char *p, *q;

	trace_self();
	os_malloc(1);
	p = os_calloc(1, n);
	TRACE(q = os_realloc(p, n));
	expect_unmap(p, META + n);
	CHECK(is_all(q, n, 0));
}

TEST(errors_absurd_sizes_leave_no_mapping)
{
	trace_self();
	os_malloc(1);
	TRACE(CHECK(!os_malloc(SIZE_MAX)); CHECK(!os_malloc((size_t)PTRDIFF_MAX + 1));
	      CHECK(!os_malloc(PTRDIFF_MAX)); CHECK(!os_calloc(1, PTRDIFF_MAX)));
	for (size_t i = 0; i < trace_count(); i++)
		CHECK_MSG(trace_entry(i)->result < 0, "%s", trace_text());
	CHECK(trace_count_others() == 0);
}

static void skip_without_memory(size_t need)
{
	size_t have = (size_t)sysconf(_SC_AVPHYS_PAGES) * page_size();

	if (have < need)
		test_skip("only %zu MiB of memory are free", have / MIB);
}

/* The number of growths of a heap of 1 GiB is that of its doublings, not that of its blocks. */
TEST(may_differ_growth_above_1_mib_is_logarithmic)
{
	char *p = NULL, *start, *end;
	char line[80];

	skip_without_memory(GIB + GIB / 2);
	trace_self();
	start = header(os_malloc(100));
	do
		p = os_malloc(100);
	while ((size_t)(p - start) <= MIB);
	end = header(p) + META + 104;
	TRACE(while ((size_t)(end - start) < GIB) {
		p = os_malloc(100);
		CHECK(header(p) == end);
		end += META + 104;
	});
	CHECK(trace_count() == trace_count_of(SYS_brk));
	snprintf(line, sizeof(line), "1 GiB of 100-byte blocks: %zu brk calls above 1 MiB\n",
		 trace_count());
	CHECK(write(STDOUT_FILENO, line, strlen(line)) == (ssize_t)strlen(line));
	CHECK_MSG(trace_count() < 200, "%zu brk calls", trace_count());
}

/* What was raised ahead serves every kind of growth: chunks, the free last block, rule 17b. */
TEST(may_differ_all_growth_uses_what_was_raised_ahead)
{
	char *last;
	size_t n;

	trace_self();
	for (n = 0; n < 8 * MIB; n += 100000)
		os_malloc(100000);
	last = os_malloc(8);
	TRACE(for (size_t i = 0; i < 2000; i++) {
		CHECK(os_realloc(last, 1000) == last);
		os_free(last);
		CHECK(os_malloc(2000) == last);
		last = os_malloc(8);
	});
	CHECK(trace_count() == trace_count_of(SYS_brk));
	CHECK_MSG(trace_count() < 20, "%zu brk calls for 4 MB in a heap of 8", trace_count());
}

/* A long mixed run: brk, mmap and munmap are all there is, and at most two of them a call. */
TEST(no_call_makes_any_other_system_call)
{
	char *slot[64] = {NULL};
	uint32_t r = 12345;

	trace_self();
	for (int i = 0; i < 20000; i++) {
		char **s = &slot[(r = r * 1664525 + 1013904223) >> 26];
		size_t n = (r >> 4) % (i % 16 ? 4000 : 200000) + 1;

		switch (i % 4) {
		case 0:
			TRACE(os_free(*s));
			*s = NULL;
			break;
		case 1:
			TRACE(*s = os_realloc(*s, n));
			break;
		default:
			os_free(*s);
			TRACE(*s = i % 4 == 2 ? os_malloc(n) : os_calloc(n, 1));
		}
		CHECK_MSG(trace_count_others() == 0, "call %d: %s", i, trace_text());
		CHECK_MSG(trace_count_of(SYS_mremap) + trace_count_of(SYS_madvise) == 0,
			  "call %d: %s", i, trace_text());
		CHECK_MSG(trace_count() <= (i < 4 ? 3 : 2), "call %d: %s", i, trace_text());
	}
}

#define MANY 100000

/* So many blocks wait for a search that no small table holds them. */
TEST(no_call_maps_anything_for_many_free_blocks)
{
	static char *p[2 * MANY];

	trace_self();
	for (size_t i = 0; i < 2 * MANY; i++)
		p[i] = os_malloc(8);
	for (size_t i = 0; i < 2 * MANY; i += 2)
		p[i] = os_realloc(p[i], 200); /* what it leaves waits */
	TRACE(for (size_t i = 1; i < 2 * MANY; i += 2) os_free(p[i]));
	EXPECT_NO_TRACE();
	TRACE(CHECK(os_malloc(8)));
	EXPECT_NO_TRACE();
	TRACE(for (size_t i = 0; i < 2 * MANY; i += 2) os_free(p[i]));
	EXPECT_NO_TRACE();
	TRACE(CHECK(os_malloc(100)));
	EXPECT_NO_TRACE();
}

/* Small holes, which wait longer: a search for a large block does not need them. */
TEST(no_call_maps_anything_for_many_small_holes)
{
	static char *p[MANY];

	trace_self();
	for (size_t i = 0; i < MANY; i++) {
		p[i] = os_malloc(64);
		CHECK(os_malloc(8));
	}
	TRACE(for (size_t i = 0; i < MANY; i++) CHECK(os_realloc(p[i], 24) == p[i]));
	EXPECT_NO_TRACE();
	TRACE(CHECK(os_malloc(1000)); CHECK(os_malloc(8) == p[0] + 24 + META));
	CHECK(trace_count() == trace_count_of(SYS_brk));
}

/* The program moves the break again and again, so the heap has many regions. */
TEST(no_call_maps_anything_for_many_regions)
{
	trace_self();
	for (size_t i = 0; i < 10000; i++) {
		TRACE(CHECK(os_malloc(16)));
		CHECK_MSG(trace_count() == trace_count_of(SYS_brk) && trace_count() <= 2,
			  "call %zu: %s", i, trace_text());
		CHECK(sbrk(16) != (void *)-1);
	}
}
