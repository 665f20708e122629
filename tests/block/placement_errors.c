// SPDX-License-Identifier: BSD-3-Clause
// Needs: libosmem.so

/*
 * What may differ from a naive implementation and what may not, and what happens when there is no
 * memory. The heaps that are expected are worked out by hand; see blocks.h for how they are
 * written.
 */

#include "blocks.h"
#include "harness.h"
#include "osmem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define ABSURD ((size_t)PTRDIFF_MAX + 1) /* the smallest size that is refused unseen */

/* What may differ, and what may not. */

TEST(may_differ_placement_is_the_same_above_1_mib)
{
	char *p = os_malloc(131032), *end = end_of(p);

	for (size_t i = 0; i < 500; i++) {
		p = os_malloc(i * 200 + 1);
		CHECK((char *)header(p) == end);
		CHECK(header(p)->size == (i * 200 + 8) / 8 * 8);
		CHECK(header(p)->next == NULL);
		end = end_of(p);
		CHECK((char *)sbrk(0) >= end);
	}
	CHECK(end - (char *)first_block(p) > (ptrdiff_t)(20 * MIB));
}

TEST(may_differ_break_is_exact_until_1_mib)
{
	char *p = os_malloc(131032), *start = (char *)header(p);

	while ((size_t)((char *)sbrk(0) - start) < MIB) {
		p = os_malloc(1000);
		CHECK((char *)sbrk(0) == end_of(p));
	}
}

TEST(may_differ_raised_ahead_is_not_a_candidate)
{
	char *p = pass_1_mib(), *q;

	CHECK(header(p)->next == NULL);
	os_free(p);
	q = os_malloc(100008); /* the last block is free: it is grown and given whole */
	CHECK(q == p && header(q)->size == 100008 && !header(q)->next);
	os_free(q);
	q = os_malloc(8);
	CHECK(q == p && header(q)->next->size == 100008 - 8 - META);
	CHECK(header(q)->next->next == NULL);
}

TEST(may_differ_17b_above_1_mib)
{
	char *p = pass_1_mib();

	fill(p, 100000, 1);
	CHECK(os_realloc(p, 100001) == p);
	CHECK(header(p)->size == 100008 && !header(p)->next);
	CHECK(os_realloc(p, 131032) == p);
	CHECK(header(p)->size == 131032 && !header(p)->next);
	CHECK(holds(p, 100000, 1));
}

TEST(may_differ_17d_above_1_mib)
{
	char *p = pass_1_mib(), *q;

	CHECK(os_realloc(p, 50000) == p);
	q = os_realloc(p, 120000); /* absorbs 49968, is last, must move all the same */
	CHECK(q == p + 100000 + META);
	CHECK(header(p)->size == 100000 && header(p)->status == STATUS_FREE);
}

TEST(may_differ_calloc_from_raised_memory_is_zero)
{
	char *p = pass_1_mib();

	for (size_t i = 0; i < 1000; i++) {
		p = os_calloc(1, 3000);
		CHECK(is_zero(p, 3000));
		fill(p, 3000, (unsigned int)i);
	}
}

/* Free blocks of 8 bytes, the smallest there are, are found like any others: lowest first. */
TEST(may_differ_smallest_free_payload)
{
	char *p[300];

	for (size_t i = 0; i < 300; i++)
		p[i] = os_malloc(48);
	for (size_t i = 0; i < 300; i++)
		CHECK(os_realloc(p[i * 7 % 300], 8) == p[i * 7 % 300]);
	for (size_t i = 0; i < 300; i++)
		CHECK(os_malloc(8) == p[i] + 8 + META);
}

/* Errors: sizes no machine has. */

TEST(errors_size_above_ptrdiff_max)
{
	static const size_t sizes[] = {PTRDIFF_MAX,	 ABSURD,	ABSURD + 1,
				       SIZE_MAX / 4 * 3, SIZE_MAX - 39, SIZE_MAX - 38,
				       SIZE_MAX - 31,	 SIZE_MAX - 8,	SIZE_MAX - 7,
				       SIZE_MAX - 6,	 SIZE_MAX - 1,	SIZE_MAX};
	char *a = os_malloc(100);

	fill(a, 104, 1);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		EXPECT_REFUSED(os_malloc(sizes[i]));
		EXPECT_REFUSED(os_calloc(1, sizes[i]));
		EXPECT_REFUSED(os_calloc(sizes[i], 1));
		EXPECT_REFUSED(os_realloc(NULL, sizes[i]));
		EXPECT_REFUSED(os_realloc(a, sizes[i]));
	}
	CHECK(holds(a, 104, 1));
	EXPECT_HEAP(a, "a104 f130904");
	CHECK(os_malloc(100) == a + 136);
}

TEST(errors_absurd_realloc_leaves_a_mapping)
{
	char *m = os_malloc(200000);

	fill(m, 200000, 1);
	EXPECT_REFUSED(os_realloc(m, ABSURD));
	EXPECT_REFUSED(os_realloc(m, SIZE_MAX));
	EXPECT_REFUSED(os_realloc(m, PTRDIFF_MAX));
	CHECK(is_mapped(m) && header(m)->size == 200000 && holds(m, 200000, 1));
	os_free(m);
}

TEST(errors_absurd_first_request)
{
	char *start = sbrk(0);

	EXPECT_REFUSED(os_malloc(SIZE_MAX));
	EXPECT_REFUSED(os_malloc(ABSURD));
	CHECK(sbrk(0) == start);
	EXPECT_HEAP(os_malloc(100), "a104 f130904");
}

/* Errors: the kernel refuses. */

/* A figure of /proc/self/status, in bytes; read without a buffer that would change it. */
static size_t status_figure(const char *name)
{
	static char text[8192];
	int fd = open("/proc/self/status", O_RDONLY);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	const char *line;

	if (n < 0)
		test_skip("/proc/self/status cannot be read");
	close(fd);
	text[n] = '\0';
	line = strstr(text, name);
	CHECK(line);
	return strtoul(line + strlen(name), NULL, 10) * 1024;
}

/* From now on brk is refused beyond extra bytes (in whole pages); so is mmap, with RLIMIT_AS. */
static void limit_data(size_t extra)
{
	test_limit(RLIMIT_DATA, status_figure("VmData:") + extra);
}

static void limit_space(size_t extra)
{
	test_limit(RLIMIT_AS, status_figure("VmSize:") + extra);
}

TEST(errors_first_brk_refused)
{
	char *start = sbrk(0);

	limit_data(65536);
	EXPECT_REFUSED(os_malloc(100));
	EXPECT_REFUSED(os_calloc(10, 10));
	EXPECT_REFUSED(os_realloc(NULL, 100));
	CHECK(sbrk(0) == start);
	test_limit(RLIMIT_DATA, RLIM_INFINITY);
	CHECK((char *)header(os_malloc(100)) == start);
	CHECK((char *)sbrk(0) == start + INITIAL);
}

TEST(errors_first_brk_refused_mappings_go_on)
{
	char *start = sbrk(0), *m;

	test_limit(RLIMIT_DATA, 4096);
	EXPECT_REFUSED(os_malloc(100));
	test_limit(RLIMIT_DATA, RLIM_INFINITY);
	m = os_malloc(200000);
	CHECK(is_mapped(m));
	CHECK(sbrk(0) == start);
}

TEST(errors_new_last_block_refused)
{
	char *a = os_malloc(131032), *b;

	fill(a, 131040, 1);
	limit_data(65536);
	EXPECT_REFUSED(os_malloc(100000));
	EXPECT_HEAP(a, "a131040");
	b = os_malloc(30000); /* the next smaller request works */
	CHECK(b == a + 131040 + META);
	EXPECT_HEAP(a, "a131040 a30000");
	test_limit(RLIMIT_DATA, RLIM_INFINITY);
	CHECK(os_malloc(100000) == b + 30000 + META);
	CHECK(holds(a, 131040, 1));
	EXPECT_HEAP(a, "a131040 a30000 a100000");
}

TEST(errors_growth_of_the_free_last_block_refused)
{
	char *a = os_malloc(100000);

	fill(a, 100000, 1);
	limit_data(65536);
	EXPECT_REFUSED(os_malloc(130000)); /* 31008 are there */
	EXPECT_HEAP(a, "a100000 f31008");
	CHECK(os_malloc(31000) == a + 100000 + META);
	EXPECT_HEAP(a, "a100000 a31008");
	CHECK(holds(a, 100000, 1));
}

TEST(errors_calloc_growth_refused)
{
	char *a = os_malloc(131032);

	limit_data(0);
	EXPECT_REFUSED(os_calloc(1, 1000));
	os_free(a);
	CHECK(os_calloc(1, 1000) == a);
}

TEST(errors_17b_refused)
{
	char *a = os_malloc(131032), *b = os_malloc(1000);

	fill(b, 1000, 1);
	limit_data(65536);
	EXPECT_REFUSED(os_realloc(b, 100000));
	CHECK(holds(b, 1000, 1));
	EXPECT_HEAP(a, "a131040 a1000");
	CHECK(os_realloc(b, 30000) == b);
	CHECK(holds(b, 1000, 1));
	EXPECT_HEAP(a, "a131040 a30000");
}

TEST(errors_move_refused)
{
	char *a = os_malloc(65504), *b = os_malloc(65504);

	fill(a, 65504, 1);
	fill(b, 65504, 2);
	limit_data(0);
	EXPECT_REFUSED(os_realloc(a, 131032));
	CHECK(holds(a, 65504, 1));
	CHECK(holds(b, 65504, 2));
	EXPECT_HEAP(a, "a65504 a65504");
	CHECK(os_realloc(a, 60000) == a);
	EXPECT_HEAP(a, "a60000 f5472 a65504");
	CHECK(holds(a, 60000, 1));
}

/* The absorbing that came before the refusal may stay, the contents must. */
TEST(errors_move_refused_after_absorbing)
{
	char *a = os_malloc(43648), *b = os_malloc(43648), *c = os_malloc(43680);

	fill(a, 43648, 1);
	fill(c, 43680, 2);
	os_free(b);
	limit_data(0);
	EXPECT_REFUSED(os_realloc(a, 131032));
	CHECK(header(a)->status == STATUS_ALLOC && header(a)->size >= 43648);
	CHECK(holds(a, 43648, 1));
	CHECK(holds(c, 43680, 2));
	CHECK(os_realloc(a, 1000) == a);
	CHECK(holds(a, 1000, 1));
	CHECK(os_malloc(43680));
}

TEST(errors_mmap_refused)
{
	char *m;

	limit_space(MIB);
	EXPECT_REFUSED(os_malloc(4 * MIB));
	EXPECT_REFUSED(os_calloc(4, MIB));
	EXPECT_REFUSED(os_realloc(NULL, 4 * MIB));
	m = os_malloc(MIB / 2);
	CHECK(is_mapped(m));
	fill(m, MIB / 2, 1);
	EXPECT_REFUSED(os_realloc(m, 4 * MIB));
	CHECK(is_mapped(m) && header(m)->size == MIB / 2 && holds(m, MIB / 2, 1));
	CHECK(is_in_heap(os_malloc(100)));
}

TEST(errors_mmap_refused_leaves_the_heap_block)
{
	char *a = os_malloc(1000), *b = os_malloc(1000);

	fill(a, 1000, 1);
	limit_space(0);
	os_free(b);
	EXPECT_REFUSED(os_realloc(a, 200000));
	CHECK(holds(a, 1000, 1));
	EXPECT_HEAP(a, "a1000 f1000 f128976");
	test_limit(RLIMIT_AS, RLIM_INFINITY);
	CHECK(is_mapped(os_realloc(a, 200000)));
}

TEST(errors_mapped_to_mapped_needs_both)
{
	char *m = os_malloc(MIB), *p;

	fill(m, MIB, 1);
	CHECK(os_malloc(8));
	limit_space(MIB / 2);
	EXPECT_REFUSED(os_realloc(m, MIB));
	CHECK(is_mapped(m) && holds(m, MIB, 1));
	p = os_realloc(m, 100000);
	CHECK(is_in_heap(p) && holds(p, 100000, 1));
}

TEST(errors_recovery_after_frees)
{
	char *p[64];
	size_t count = 0;

	os_malloc(8);
	limit_space(4 * MIB);
	while (count < 64 && (p[count] = os_malloc(200000)))
		count++;
	CHECK(count > 4 && count < 64);
	for (unsigned int i = 0; i < count; i++)
		fill(p[i], 200000, i);
	for (unsigned int i = 0; i < count; i++)
		CHECK(holds(p[i], 200000, i));
	os_free(p[2]);
	CHECK(os_malloc(200000));
}

TEST(errors_heap_exhausted_and_recovered)
{
	char *first = os_malloc(100000), *p = first, *last = first;

	limit_space(8 * MIB);
	while ((p = os_malloc(50000)))
		last = p;
	CHECK(errno == ENOMEM);
	CHECK((size_t)(last - first) > 7 * MIB);
	os_free(first);
	CHECK(os_malloc(100000) == first);
}

/* Where raising ahead is refused, raising by what is needed must still do. */
TEST(errors_no_memory_to_raise_ahead)
{
	char *p = pass_1_mib(), *q;
	size_t need = 100000 + META;

	limit_data(40 * need);
	for (size_t i = 0; i < 39; i++) {
		q = os_malloc(100000);
		CHECK_MSG(q, "growth %zu refused though it fits", i);
		CHECK((char *)header(q) == end_of(p));
		p = q;
	}
}
