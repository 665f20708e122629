// SPDX-License-Identifier: BSD-3-Clause
// Needs: libosmem.so

/*
 * The placement rules 9 to 14, one by one: placement in the heap, and os_free. The heaps
 * that are expected are worked out by hand; see blocks.h for how they are written.
 */

#include "blocks.h"
#include "harness.h"
#include "osmem.h"

#include <errno.h>
#include <stdint.h>
#include <unistd.h>

/* Rule 9: first use. */

TEST(rule_09_first_use_makes_one_free_block)
{
	char *p = os_malloc(100);

	EXPECT_HEAP(p, "a104 f130904");
}

TEST(rule_09_first_request_is_placed_as_any_other)
{
	EXPECT_HEAP(os_malloc(1), "a8 f131000");
}

TEST(rule_09_largest_first_request_that_splits)
{
	EXPECT_HEAP(os_malloc(131000), "a131000 f8");
}

TEST(rule_09_smallest_first_request_given_whole)
{
	EXPECT_HEAP(os_malloc(131001), "a131040");
}

TEST(rule_09_largest_first_request)
{
	EXPECT_HEAP(os_malloc(131032), "a131040");
}

TEST(rule_09_calloc_first)
{
	char *p = os_calloc(5, 20);

	EXPECT_HEAP(p, "a104 f130904");
}

TEST(rule_09_realloc_first)
{
	EXPECT_HEAP(os_realloc(NULL, 100), "a104 f130904");
}

TEST(rule_09_mapped_realloc_into_an_unused_heap)
{
	char *start = sbrk(0), *m = os_malloc(THRESHOLD), *p;

	CHECK(sbrk(0) == start);
	p = os_realloc(m, 1000);
	CHECK((char *)header(p) == start);
	EXPECT_HEAP(p, "a1000 f130008");
}

TEST(rule_09_happens_once)
{
	char *p = os_malloc(131032);

	os_free(p);
	CHECK(os_malloc(131032) == p);
	EXPECT_HEAP(p, "a131040");
	os_malloc(1);
	EXPECT_HEAP(p, "a131040 a8");
}

/* Rule 10: coalescing. */

TEST(rule_10_run_of_two)
{
	char *a = os_malloc(64), *b = os_malloc(64), *c = os_malloc(64);

	os_free(a);
	os_free(b);
	CHECK(os_malloc(160) == a);
	EXPECT_HEAP(c, "a160 a64 f130752");
}

TEST(rule_10_run_freed_backwards)
{
	char *a = os_malloc(64), *b = os_malloc(64), *c = os_malloc(64), *d = os_malloc(64);

	os_free(c);
	os_free(b);
	os_free(a);
	CHECK(os_malloc(256) == a);
	EXPECT_HEAP(d, "a256 a64 f130656");
}

TEST(rule_10_middle_freed_last)
{
	char *a = os_malloc(64), *b = os_malloc(64), *c = os_malloc(64), *d = os_malloc(64);

	os_free(a);
	os_free(c);
	os_free(b);
	CHECK(os_malloc(250) == a);
	EXPECT_HEAP(d, "a256 a64 f130656");
}

TEST(rule_10_with_the_rest_of_the_region)
{
	char *a = os_malloc(1000), *b = os_malloc(1000);

	os_free(b);
	CHECK(os_malloc(2000) == b);
	EXPECT_HEAP(a, "a1000 a2000 f127976");
}

TEST(rule_10_everything_back_to_one_block)
{
	char *p[50];

	for (size_t i = 0; i < 50; i++)
		p[i] = os_malloc(i * 16 + 1);
	for (size_t i = 0; i < 50; i++)
		os_free(p[i * 7 % 50]);
	CHECK(os_malloc(8) == p[0]);
	EXPECT_HEAP(p[0], "a8 f131000");
}

/* Runs that have nothing to do with the request are coalesced too, wherever they are. */
TEST(rule_10_all_runs_wherever_they_are)
{
	char *p[9];

	for (size_t i = 0; i < 9; i++)
		p[i] = os_malloc(64);
	os_free(p[1]);
	os_free(p[2]);
	os_free(p[5]);
	os_free(p[6]);
	os_free(p[7]);
	EXPECT_HEAP(p[0], "a64 f64 f64 a64 a64 f64 f64 f64 a64 f130176");
	CHECK(os_malloc(1000) == (char *)(header(p[8]) + 1) + 96);
	EXPECT_HEAP(p[0], "a64 f160 a64 a64 f256 a64 a1000 f129144");
}

TEST(rule_10_calloc_searches)
{
	char *a = os_malloc(64), *b = os_malloc(64), *c = os_malloc(64);

	os_free(a);
	os_free(b);
	CHECK(os_calloc(20, 8) == a);
	EXPECT_HEAP(c, "a160 a64 f130752");
}

TEST(rule_10_moving_realloc_searches)
{
	char *a = os_malloc(64), *b = os_malloc(64), *c = os_malloc(64), *d = os_malloc(64);

	os_free(a);
	os_free(b);
	CHECK(os_realloc(c, 72) == a);
	EXPECT_HEAP(d, "a72 f56 f64 a64 f130656");
}

TEST(rule_10_no_search_no_coalescing)
{
	char *a = os_malloc(64), *b = os_malloc(64), *c = os_malloc(64);

	os_free(a);
	os_free(b);
	CHECK(is_mapped(os_malloc(200000)));
	CHECK(is_mapped(os_calloc(1, page_size())));
	CHECK(os_realloc(c, 24) == c); /* in place */
	EXPECT_HEAP(c, "f64 f64 a24 f8 f130752");
}

/* Rule 11: best fit. */

/*
 * Free blocks of the given sizes, each between two allocated ones of 8; p[i] is the one of size i.
 */
static void make_holes(char **p, const size_t *sizes, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		p[i] = os_malloc(sizes[i]);
		os_malloc(8);
	}
	for (size_t i = 0; i < count; i++)
		os_free(p[i]);
}

TEST(rule_11_smallest_that_is_large_enough)
{
	static const size_t sizes[] = {400, 104, 200, 96, 120};
	char *p[5];

	make_holes(p, sizes, 5);
	CHECK(os_malloc(100) == p[1]);
	CHECK(os_malloc(100) == p[4]);
	CHECK(os_malloc(100) == p[2]); /* and leaves 200 - 104 - 32 */
	EXPECT_HEAP(p[0], "f400 a8 a104 a8 a104 f64 a8 f96 a8 a120 a8 f129760");
}

TEST(rule_11_exact_fit_before_larger)
{
	static const size_t sizes[] = {1008, 1000, 1016};
	char *p[3];

	make_holes(p, sizes, 3);
	CHECK(os_malloc(1000) == p[1]);
	CHECK(os_malloc(1000) == p[0]);
	CHECK(os_malloc(1000) == p[2]);
}

TEST(rule_11_lowest_address_among_equals)
{
	static const size_t sizes[] = {128, 64, 64, 64, 64};
	static const size_t order[] = {3, 1, 4, 2};
	char *p[5];

	make_holes(p, sizes, 5);
	for (size_t i = 1; i < 5; i++)
		CHECK(os_malloc(64) == p[i]);
	for (size_t i = 0; i < 4; i++)
		os_free(p[order[i]]);
	for (size_t i = 1; i < 5; i++)
		CHECK(os_malloc(57) == p[i]);
	CHECK(os_malloc(64) == p[0]);
}

TEST(rule_11_whole_region_is_a_candidate_like_others)
{
	static const size_t sizes[] = {64};
	char *p[1], *q;

	make_holes(p, sizes, 1);
	q = os_malloc(72);
	EXPECT_HEAP(q, "f64 a8 a72 f130800");
	CHECK(os_malloc(8) == p[0]);
}

TEST(rule_11_last_block_only_if_it_is_the_smallest)
{
	char *a = os_malloc(100000), *b = os_malloc(8), *c = os_malloc(30800);

	EXPECT_HEAP(a, "a100000 a8 a30800 f136");
	os_free(a);
	CHECK(os_malloc(136) == c + 30800 + META);
	CHECK(os_malloc(136) == a);
	EXPECT_HEAP(b, "a136 f99832 a8 a30800 a136");
}

TEST(rule_11_blocks_of_eight_bytes)
{
	char *p[40];

	for (size_t i = 0; i < 40; i++)
		p[i] = os_malloc(8);
	for (size_t i = 1; i < 39; i += 2)
		os_free(p[38 - i]);
	for (size_t i = 1; i < 39; i += 2)
		CHECK(os_malloc(i % 8 + 1) == p[i]);
	CHECK(os_malloc(8) == p[39] + 8 + META);
}

/* Rule 12: splitting. */

/* Take n from a free block of 200 with an allocated one behind; the text is of these two. */
static void expect_split(size_t n, const char *text)
{
	char *p = os_malloc(200), *q = os_malloc(8);
	char want[80];

	os_free(p);
	CHECK(os_malloc(n) == p);
	snprintf(want, sizeof(want), "%s a8 f130768", text);
	EXPECT_HEAP(q, want);
}

TEST(rule_12_remainder_of_48_is_split)
{
	expect_split(152, "a152 f16");
}

TEST(rule_12_remainder_of_40_is_split)
{
	expect_split(160, "a160 f8");
}

TEST(rule_12_remainder_of_32_is_given)
{
	expect_split(161, "a200");
}

TEST(rule_12_remainder_of_8_is_given)
{
	expect_split(192, "a200");
}

TEST(rule_12_no_remainder)
{
	expect_split(200, "a200");
}

TEST(rule_12_rest_is_right_behind)
{
	char *p = os_malloc(1000);
	struct block_meta *rest = header(p)->next;

	CHECK((char *)rest == p + 1000);
	CHECK(rest->prev == header(p) && rest->next == NULL);
	CHECK(rest->size == 131040 - 1000 - META && rest->status == STATUS_FREE);
}

TEST(rule_12_block_given_whole_is_found_whole_again)
{
	char *p = os_malloc(200), *q = os_malloc(8);

	os_free(p);
	CHECK(os_malloc(170) == p);
	CHECK(header(p)->size == 200);
	os_free(p);
	CHECK(os_malloc(200) == p);
	EXPECT_HEAP(q, "a200 a8 f130768");
}

/* Rule 13: growth. */

TEST(rule_13_free_last_block_grows_by_what_it_lacks)
{
	char *a = os_malloc(100000), *b = os_malloc(31016);

	CHECK(b == a + 100000 + META);
	EXPECT_HEAP(a, "a100000 a31016"); /* of 31008 */
}

TEST(rule_13_free_last_block_grows_by_a_lot)
{
	char *a = os_malloc(131000), *b = os_malloc(131032);

	EXPECT_HEAP(a, "a131000 a131032"); /* of 8 */
	CHECK(b == a + 131032);
}

TEST(rule_13_grown_block_is_coalesced_first)
{
	char *a = os_malloc(50000), *b = os_malloc(50000);

	os_free(b);
	EXPECT_HEAP(a, "a50000 f50000 f30976");
	CHECK(os_malloc(100000) == b);
	EXPECT_HEAP(a, "a50000 a100000");
}

TEST(rule_13_new_last_block)
{
	char *a = os_malloc(131032), *b = os_malloc(1), *c = os_malloc(1000);

	CHECK(b == a + 131040 + META);
	CHECK(c == b + 8 + META);
	EXPECT_HEAP(a, "a131040 a8 a1000");
}

TEST(rule_13_new_last_block_though_others_are_free)
{
	char *a = os_malloc(65504), *b = os_malloc(65504), *c;

	os_free(a);
	c = os_malloc(65512);
	CHECK(c == b + 65504 + META);
	EXPECT_HEAP(b, "f65504 a65504 a65512");
}

TEST(rule_13_heap_all_free)
{
	char *a = os_malloc(65504), *b = os_malloc(65504);

	os_free(a);
	os_free(b);
	CHECK(os_malloc(131032) == a);
	EXPECT_HEAP(a, "a131040");
}

TEST(rule_13_grown_memory_is_usable)
{
	char *a = os_malloc(131032), *b = os_malloc(131000);

	fill(a, 131040, 1);
	fill(b, 131000, 2);
	CHECK(holds(a, 131040, 1) && holds(b, 131000, 2));
	CHECK(is_zero(os_calloc(1, 1000), 1000));
}

/* Rule 14: free. */

TEST(rule_14_free_marks_and_nothing_else)
{
	char *a = os_malloc(64), *b = os_malloc(64), *c = os_malloc(64);

	os_free(b);
	EXPECT_HEAP(a, "a64 f64 a64 f130752");
	os_free(a);
	EXPECT_HEAP(a, "f64 f64 a64 f130752");
	os_free(c);
	EXPECT_HEAP(a, "f64 f64 f64 f130752");
}

TEST(rule_14_the_break_stays)
{
	char *a = os_malloc(131032), *b = os_malloc(100000), *end = sbrk(0);

	os_free(b);
	os_free(a);
	CHECK(sbrk(0) == end);
	EXPECT_HEAP(a, "f131040 f100000");
}

TEST(rule_14_free_of_null)
{
	char *start = sbrk(0);

	os_free(NULL);
	CHECK(sbrk(0) == start);
	os_malloc(8);
	os_free(NULL);
	CHECK((char *)sbrk(0) == start + INITIAL);
}

TEST(rule_14_free_preserves_errno)
{
	char *a = os_malloc(64), *m = os_malloc(200000);

	errno = EXDEV;
	os_free(a);
	os_free(m);
	os_free(NULL);
	CHECK(errno == EXDEV);
}
