// SPDX-License-Identifier: BSD-3-Clause
// Needs: libosmem.so

/*
 * The placement rules 15 to 18, one by one: os_realloc. The heaps that are expected are worked out
 * by hand; see blocks.h for how they are written.
 */

#include "blocks.h"
#include "harness.h"
#include "osmem.h"

#include <errno.h>
#include <stdint.h>

/* Rule 15: the ends of realloc. */

TEST(rule_15_realloc_of_null)
{
	char *a = os_realloc(NULL, 100), *m = os_realloc(NULL, 200000);

	EXPECT_HEAP(a, "a104 f130904");
	CHECK(is_mapped(m) && header(m)->size == 200000);
	CHECK(!os_realloc(NULL, 0));
}

TEST(rule_15_realloc_to_zero)
{
	char *a = os_malloc(100), *b = os_malloc(100), *m = os_malloc(200000);

	errno = EXDEV;
	CHECK(!os_realloc(a, 0));
	CHECK(!os_realloc(m, 0));
	CHECK(errno == EXDEV);
	CHECK(is_unmapped(header(m)));
	EXPECT_HEAP(b, "f104 a104 f130768");
}

/* Rule 16: realloc of a free block. */

TEST(rule_16_free_block)
{
	char *a = os_malloc(64), *b = os_malloc(64), *c = os_malloc(64);

	os_free(b);
	errno = EXDEV;
	CHECK(!os_realloc(b, 8));
	CHECK(!os_realloc(b, 64));
	CHECK(!os_realloc(b, 65));
	CHECK(!os_realloc(b, 131032));
	CHECK(!os_realloc(b, 131033));
	CHECK(errno == EXDEV);
	EXPECT_HEAP(a, "a64 f64 a64 f130752");
	CHECK(os_malloc(64) == b);
	CHECK(header(c)->status == STATUS_ALLOC);
}

/* Rule 15 would free it, twice; rule 16 is the exception. */
TEST(rule_16_free_block_to_size_zero)
{
	char *a = os_malloc(64), *b = os_malloc(64);

	os_free(a);
	CHECK(!os_realloc(a, 0));
	EXPECT_HEAP(b, "f64 a64 f130848");
}

TEST(rule_16_does_not_coalesce)
{
	char *a = os_malloc(64), *b = os_malloc(64), *c = os_malloc(64);

	os_free(a);
	os_free(b);
	CHECK(!os_realloc(a, 160));
	CHECK(!os_realloc(b, 8));
	EXPECT_HEAP(c, "f64 f64 a64 f130752");
}

TEST(rule_16_last_block)
{
	char *a = os_malloc(131032), *b = os_malloc(64);

	os_free(b);
	CHECK(!os_realloc(b, 1000));
	EXPECT_HEAP(a, "a131040 f64");
}

/* Rule 17a: the capacity is enough. */

TEST(rule_17a_same_size)
{
	char *a = os_malloc(100), *b = os_malloc(100);

	CHECK(os_realloc(a, 100) == a);
	CHECK(os_realloc(a, 104) == a);
	CHECK(os_realloc(a, 97) == a);
	EXPECT_HEAP(b, "a104 a104 f130768");
}

TEST(rule_17a_shrink_by_less_than_40_keeps_the_capacity)
{
	char *a = os_malloc(200), *b = os_malloc(8);

	fill(a, 200, 5);
	CHECK(os_realloc(a, 192) == a);
	CHECK(os_realloc(a, 168) == a);
	CHECK(os_realloc(a, 161) == a);
	CHECK(holds(a, 200, 5));
	EXPECT_HEAP(b, "a200 a8 f130768");
	CHECK(os_realloc(a, 200) == a);
	EXPECT_HEAP(b, "a200 a8 f130768");
}

TEST(rule_17a_shrink_by_40_splits)
{
	char *a = os_malloc(200), *b = os_malloc(8);

	fill(a, 200, 5);
	CHECK(os_realloc(a, 160) == a);
	CHECK(holds(a, 160, 5));
	EXPECT_HEAP(b, "a160 f8 a8 f130768");
}

TEST(rule_17a_shrink_to_one_byte)
{
	char *a = os_malloc(1000);

	fill(a, 1000, 5);
	CHECK(os_realloc(a, 1) == a);
	CHECK(holds(a, 1, 5));
	EXPECT_HEAP(a, "a8 f960 f130008");
}

/* The remainder stays apart from a free neighbour until the next search. */
TEST(rule_17a_remainder_waits_for_the_search)
{
	char *a = os_malloc(200), *b = os_malloc(200), *c = os_malloc(8);

	os_free(b);
	CHECK(os_realloc(a, 100) == a);
	EXPECT_HEAP(c, "a104 f64 f200 a8 f130536");
	CHECK(os_realloc(a, 170) == a); /* absorbs the 64 alone, and has no need of the 200 */
	EXPECT_HEAP(c, "a200 f200 a8 f130536");
	CHECK(os_realloc(a, 100) == a);
	CHECK(os_malloc(296) == a + 136);
	EXPECT_HEAP(c, "a104 a296 a8 f130536");
}

TEST(rule_17a_remainder_is_found_by_the_search)
{
	char *a = os_malloc(1000), *b = os_malloc(8);

	CHECK(os_realloc(a, 500) == a);
	CHECK(os_malloc(464) == a + 504 + META);
	EXPECT_HEAP(b, "a504 a464 a8 f129968");
}

TEST(rule_17a_comes_before_17b)
{
	char *a = os_malloc(131032);

	CHECK(os_realloc(a, 131000) == a);
	EXPECT_HEAP(a, "a131000 f8");
}

TEST(rule_17a_grow_within_the_capacity)
{
	char *a = os_malloc(200), *b = os_malloc(8);

	os_free(a);
	CHECK(os_malloc(170) == a);
	fill(a, 200, 9);
	CHECK(os_realloc(a, 200) == a);
	CHECK(holds(a, 200, 9));
	EXPECT_HEAP(b, "a200 a8 f130768");
}

/* Rule 17b: the last block. */

TEST(rule_17b_grows_by_what_it_lacks)
{
	char *a = os_malloc(131032), *b = os_malloc(100);

	fill(b, 104, 4);
	CHECK(os_realloc(b, 105) == b);
	EXPECT_HEAP(a, "a131040 a112");
	CHECK(os_realloc(b, 131032) == b);
	CHECK(holds(b, 104, 4));
	EXPECT_HEAP(a, "a131040 a131032");
}

TEST(rule_17b_before_any_free_block_that_would_do)
{
	char *a = os_malloc(65504), *b = os_malloc(65504);

	os_free(a);
	CHECK(os_realloc(b, 65505) == b);
	EXPECT_HEAP(b, "f65504 a65512");
}

TEST(rule_17b_does_not_coalesce)
{
	char *a = os_malloc(64), *b = os_malloc(64), *c = os_malloc(130840);

	EXPECT_HEAP(a, "a64 a64 a130848");
	os_free(a);
	os_free(b);
	CHECK(os_realloc(c, 130856) == c);
	EXPECT_HEAP(c, "f64 f64 a130856");
}

/* With a free block behind it a block is not the last, and the rest of the region comes first. */
TEST(rule_17b_not_with_a_free_block_behind)
{
	char *a = os_malloc(120000);

	CHECK(os_realloc(a, 131032) == a);
	EXPECT_HEAP(a, "a131040");
}

/* Rule 17c: absorbing. */

TEST(rule_17c_absorbs_the_next_block_and_splits)
{
	char *a = os_malloc(100), *b = os_malloc(1000), *c = os_malloc(8);

	fill(a, 104, 6);
	os_free(b);
	CHECK(os_realloc(a, 500) == a);
	CHECK(holds(a, 104, 6));
	EXPECT_HEAP(c, "a504 f600 a8 f129832");
}

TEST(rule_17c_gives_a_small_remainder)
{
	char *a = os_malloc(64), *b = os_malloc(64), *c = os_malloc(8);

	os_free(b);
	CHECK(os_realloc(a, 121) == a);
	EXPECT_HEAP(c, "a160 a8 f130808");
}

TEST(rule_17c_splits_off_the_smallest_remainder)
{
	char *a = os_malloc(64), *b = os_malloc(64), *c = os_malloc(8);

	os_free(b);
	CHECK(os_realloc(a, 120) == a);
	EXPECT_HEAP(c, "a120 f8 a8 f130808");
}

TEST(rule_17c_stops_as_soon_as_it_fits)
{
	char *p[6];

	for (size_t i = 0; i < 6; i++)
		p[i] = os_malloc(64);
	for (size_t i = 1; i < 5; i++)
		os_free(p[i]);
	CHECK(os_realloc(p[0], 160) == p[0]);
	EXPECT_HEAP(p[0], "a160 f64 f64 f64 a64 f130464");
	CHECK(os_realloc(p[0], 161) == p[0]);
	EXPECT_HEAP(p[0], "a168 f56 f64 f64 a64 f130464");
	CHECK(os_realloc(p[0], 400) == p[0]);
	EXPECT_HEAP(p[0], "a400 f16 a64 f130464");
}

TEST(rule_17c_absorbs_as_many_as_it_needs)
{
	char *p[6];

	for (size_t i = 0; i < 6; i++)
		p[i] = os_malloc(64);
	for (size_t i = 4; i > 0; i--)
		os_free(p[i]);
	fill(p[0], 64, 8);
	CHECK(os_realloc(p[0], 300) == p[0]);
	CHECK(holds(p[0], 64, 8));
	fill(p[0], 304, 9);
	EXPECT_HEAP(p[5], "a304 f16 f64 a64 f130464");
	CHECK(os_malloc(16 + 32 + 64) == p[0] + 304 + META);
	CHECK(holds(p[0], 304, 9));
}

TEST(rule_17c_absorbs_the_rest_of_the_region)
{
	char *a = os_malloc(100);

	fill(a, 104, 2);
	CHECK(os_realloc(a, 50000) == a);
	CHECK(holds(a, 104, 2));
	EXPECT_HEAP(a, "a50000 f81008");
}

TEST(rule_17c_does_not_look_back)
{
	char *a = os_malloc(1000), *b = os_malloc(64), *c = os_malloc(64);

	os_free(a);
	CHECK(os_realloc(b, 65) == a);
	EXPECT_HEAP(c, "a72 f896 f64 a64 f129816");
}

/* Rule 17d: absorbing was in vain. */

TEST(rule_17d_what_was_absorbed_stays_absorbed)
{
	char *a = os_malloc(64), *b = os_malloc(64), *c = os_malloc(64), *q;

	fill(a, 64, 1);
	os_free(b);
	q = os_realloc(a, 1000);
	CHECK(q == c + 64 + META);
	CHECK(holds(q, 64, 1));
	CHECK(header(a)->size == 160 && header(a)->status == STATUS_FREE);
	EXPECT_HEAP(c, "f160 a64 a1000 f129720");
}

TEST(rule_17d_moves_even_if_it_became_the_last)
{
	char *a = os_malloc(65504);
	char *b = os_malloc(65504);
	char *q;

	CHECK(os_realloc(b, 60000) == b);
	EXPECT_HEAP(a, "a65504 a60000 f5472");
	fill(b, 60000, 2);
	q = os_realloc(b, 70000); /* absorbs 5472, has 65504 again, is last, lacks 4496 */
	CHECK(q == b + 65504 + META);
	CHECK(holds(q, 60000, 2));
	EXPECT_HEAP(a, "a65504 f65504 a70000");
}

TEST(rule_17d_moves_into_the_best_fit)
{
	char *a = os_malloc(500), *b, *c;

	os_malloc(8);
	b = os_malloc(64);
	c = os_malloc(64);
	os_malloc(8);
	fill(b, 64, 3);
	os_free(a);
	os_free(c);
	CHECK(os_realloc(b, 400) == a);
	CHECK(holds(a, 64, 3));
	EXPECT_HEAP(a, "a400 f72 a8 f160 a8 f130232");
}

/* The old block, with all it absorbed, is no candidate for the new place, nor is it grown. */
TEST(rule_17d_old_block_is_no_candidate)
{
	char *a = os_malloc(64), *b = os_malloc(64), *c = os_malloc(64), *q;

	os_free(a);
	q = os_realloc(b, 150); /* a and b together would hold it */
	CHECK(q == c + 64 + META);
	EXPECT_HEAP(c, "f64 f64 a64 a152 f130568");
}

/* Rule 18: moving. */

TEST(rule_18_mapped_to_mapped_always_moves)
{
	char *m = os_malloc(200000), *n;

	fill(m, 200000, 1);
	n = os_realloc(m, 200000);
	CHECK(n != m && is_mapped(n) && header(n)->size == 200000);
	CHECK(is_unmapped(header(m)));
	CHECK(holds(n, 200000, 1));
	m = os_realloc(n, 1000001);
	CHECK(m != n && header(m)->size == 1000008);
	CHECK(holds(m, 200000, 1));
	n = os_realloc(m, 131033);
	CHECK(n != m && header(n)->size == 131040);
	CHECK(holds(n, 131033, 1));
}

TEST(rule_18_mapped_to_heap)
{
	char *m = os_malloc(200000), *p;

	fill(m, 200000, 1);
	p = os_realloc(m, 131032);
	CHECK(holds(p, 131032, 1));
	CHECK(is_unmapped(header(m)));
	EXPECT_HEAP(p, "a131040");
}

TEST(rule_18_heap_to_mapped)
{
	char *a = os_malloc(1000), *b = os_malloc(1000), *m;

	fill(a, 1000, 1);
	os_free(b);
	m = os_realloc(a, 131033);
	CHECK(is_mapped(m) && header(m)->size == 131040);
	CHECK(holds(m, 1000, 1));
	EXPECT_HEAP(a, "f1000 f1000 f128976"); /* nothing absorbed, nothing coalesced */
}

TEST(rule_18_threshold_before_capacity)
{
	char *a = os_malloc(131032), *m;

	CHECK(header(a)->size == 131040);
	fill(a, 131040, 1);
	m = os_realloc(a, 131033); /* it would fit */
	CHECK(is_mapped(m));
	CHECK(holds(m, 131033, 1));
	EXPECT_HEAP(a, "f131040");
}

TEST(rule_18_threshold_before_last_block)
{
	char *a = os_malloc(131032), *b = os_malloc(131024), *m;

	m = os_realloc(b, 131033);
	CHECK(is_mapped(m));
	EXPECT_HEAP(a, "a131040 f131024");
}

/* The slack of a block given whole is capacity, and is copied. */
TEST(rule_18_copies_the_whole_old_capacity)
{
	char *a = os_malloc(200), *b, *q;

	os_malloc(8);
	os_free(a);
	b = os_malloc(170);
	CHECK(b == a && header(b)->size == 200);
	fill(b, 200, 1);
	q = os_realloc(b, 1000);
	CHECK(q != b && holds(q, 200, 1));
}

TEST(rule_18_calloc_mapping_to_the_heap)
{
	size_t n = page_size();
	char *m = os_calloc(1, n), *p;

	fill(m, n, 1);
	p = os_realloc(m, n);
	CHECK(is_in_heap(p) && holds(p, n, 1));
	CHECK(is_unmapped(header(m)));
}
