// SPDX-License-Identifier: BSD-3-Clause
// Needs: libosmem.so

/*
 * The placement rules 1 to 8, one by one: blocks, the region, and where a request goes. The heaps
 * that are expected are worked out by hand; see blocks.h for how they are written.
 */

#include "blocks.h"
#include "harness.h"
#include "osmem.h"

#include <errno.h>
#include <stdint.h>
#include <unistd.h>

/* Rule 1: blocks. */

TEST(rule_01_header_layout)
{
	CHECK(sizeof(struct block_meta) == 32);
	CHECK(offsetof(struct block_meta, size) == 0);
	CHECK(offsetof(struct block_meta, status) == 8);
	CHECK(offsetof(struct block_meta, prev) == 16);
	CHECK(offsetof(struct block_meta, next) == 24);
}

TEST(rule_01_capacity_is_the_size_rounded_up_to_8)
{
	for (size_t n = 1; n <= 300; n++) {
		char *p = os_malloc(n);

		CHECK(p && (uintptr_t)p % 8 == 0);
		CHECK_MSG(header(p)->size == (n + 7) / 8 * 8, "%zu for %zu", header(p)->size, n);
		fill(p, header(p)->size, (unsigned int)n);
	}
}

TEST(rule_01_capacity_of_mapped_blocks)
{
	for (size_t n = 131033; n <= 131080; n++) {
		char *p = os_malloc(n);

		CHECK(p && (uintptr_t)p % 8 == 0);
		CHECK(header(p)->size == (n + 7) / 8 * 8);
		fill(p, header(p)->size, (unsigned int)n);
		os_free(p);
	}
}

/* All payloads hold what was written to them while others come and go around them. */
TEST(rule_01_payloads_do_not_overlap)
{
	char *p[100];

	for (unsigned int i = 0; i < 100; i++) {
		p[i] = os_malloc(i * 37 + 1);
		fill(p[i], header(p[i])->size, i);
	}
	for (unsigned int i = 0; i < 100; i += 2) {
		CHECK(holds(p[i], header(p[i])->size, i));
		os_free(p[i]);
		p[i] = os_malloc(i * 11 + 5);
		fill(p[i], header(p[i])->size, i);
	}
	for (unsigned int i = 0; i < 100; i++)
		CHECK(holds(p[i], header(p[i])->size, i));
}

TEST(rule_01_aligned_where_the_break_is_not)
{
	char *p, *q;

	CHECK(sbrk(3) != (void *)-1);
	p = os_malloc(1);
	q = os_malloc(131032);
	CHECK(p && (uintptr_t)p % 8 == 0);
	CHECK(q && (uintptr_t)q % 8 == 0);
	fill(q, 131032, 1);
}

/* Rule 2: the status. */

TEST(rule_02_status_values)
{
	CHECK(STATUS_FREE == 0);
	CHECK(STATUS_ALLOC == 1);
	CHECK(STATUS_MAPPED == 2);
}

TEST(rule_02_status_of_heap_blocks)
{
	char *p = os_malloc(100);

	CHECK(header(p)->status == STATUS_ALLOC);
	CHECK(header(p)->next->status == STATUS_FREE);
	os_free(p);
	CHECK(header(p)->status == STATUS_FREE);
	p = os_calloc(10, 10);
	CHECK(header(p)->status == STATUS_ALLOC);
	p = os_realloc(p, 1000);
	CHECK(header(p)->status == STATUS_ALLOC);
}

TEST(rule_02_status_of_mapped_blocks)
{
	char *p = os_malloc(131040);

	CHECK(header(p)->status == STATUS_MAPPED);
	p = os_realloc(p, 140000);
	CHECK(header(p)->status == STATUS_MAPPED);
	p = os_calloc(2, page_size());
	CHECK(header(p)->status == STATUS_MAPPED);
}

/* Rule 3: the list. */

TEST(rule_03_list_in_address_order)
{
	char *a = os_malloc(100), *b = os_malloc(200), *c = os_malloc(300);

	CHECK(header(a)->prev == NULL);
	CHECK(header(a)->next == header(b));
	CHECK(header(b)->prev == header(a));
	CHECK(header(b)->next == header(c));
	CHECK(header(c)->prev == header(b));
	CHECK(header(c)->next->next == NULL);
	EXPECT_HEAP(a, "a104 a200 a304 f130336");
}

TEST(rule_03_order_is_that_of_addresses_not_of_calls)
{
	char *a = os_malloc(1000), *b = os_malloc(100), *c;

	os_free(a);
	c = os_malloc(500);
	CHECK(c == a);
	CHECK(header(c)->prev == NULL);
	EXPECT_HEAP(b, "a504 f464 a104 f129872");
}

TEST(rule_03_mapped_blocks_are_not_in_the_list)
{
	char *a = os_malloc(100), *m = os_malloc(200000), *b = os_malloc(100);

	CHECK(header(a)->next == header(b));
	EXPECT_HEAP(a, "a104 a104 f130768");
	os_free(m);
	EXPECT_HEAP(a, "a104 a104 f130768");
}

TEST(rule_03_header_is_readable_after_free)
{
	char *a = os_malloc(64), *b = os_malloc(64), *c = os_malloc(64), *d = os_malloc(64);

	os_free(b);
	os_free(c);
	CHECK(header(b)->size == 64 && header(b)->status == STATUS_FREE);
	CHECK(header(c)->size == 64 && header(c)->status == STATUS_FREE);
	CHECK(os_malloc(1000)); /* the search absorbs c into b */
	CHECK(header(b)->size == 160 && header(b)->status == STATUS_FREE);
	EXPECT_HEAP(a, "a64 f160 a64 a1000 f129624");
	CHECK(header(d)->status == STATUS_ALLOC);
}

/* Rule 4: the region. */

TEST(rule_04_region_begins_at_the_break)
{
	char *start = sbrk(0), *p = os_malloc(10);

	CHECK((char *)header(p) == start);
	CHECK((char *)sbrk(0) == start + INITIAL);
}

TEST(rule_04_region_begins_at_the_break_of_first_use)
{
	char *start = sbrk(0), *p;

	CHECK(sbrk(4096) == start);
	p = os_calloc(1, 10);
	CHECK((char *)header(p) == start + 4096);
	CHECK((char *)sbrk(0) == start + 4096 + INITIAL);
	CHECK(is_zero(start, 4096));
}

TEST(rule_04_libc_knows_the_break)
{
	char *p = os_malloc(131032);

	CHECK((char *)sbrk(0) == end_of(p));
	p = os_malloc(1000);
	CHECK((char *)sbrk(0) == end_of(p));
	CHECK((char *)sbrk(8) == end_of(p));
}

/* Rule 5: size 0. */

TEST(rule_05_size_zero)
{
	char *start = sbrk(0);

	errno = EXDEV;
	CHECK(!os_malloc(0));
	CHECK(!os_calloc(0, 0));
	CHECK(!os_calloc(0, 10));
	CHECK(!os_calloc(10, 0));
	CHECK(!os_calloc(0, SIZE_MAX));
	CHECK(!os_calloc(SIZE_MAX, 0));
	CHECK(!os_realloc(NULL, 0));
	CHECK(errno == EXDEV);
	CHECK(sbrk(0) == start);
}

TEST(rule_05_size_zero_changes_nothing)
{
	char *a = os_malloc(64), *b = os_malloc(64);

	os_free(a);
	os_free(b);
	CHECK(!os_malloc(0) && !os_calloc(0, 1) && !os_calloc(1, 0));
	EXPECT_HEAP(a, "f64 f64 f130848");
}

/* Rule 6: heap or mapping. */

TEST(rule_06_malloc_threshold)
{
	char *heap = os_malloc(131032), *mapped = os_malloc(131033), *exact = os_malloc(131040);

	CHECK(is_in_heap(heap) && header(heap)->size == 131040);
	CHECK(is_mapped(mapped) && header(mapped)->size == 131040);
	CHECK(is_mapped(exact) && header(exact)->size == 131040);
	CHECK(is_in_heap(os_malloc(131025)));
	CHECK(is_in_heap(os_malloc(131024)));
	CHECK(is_mapped(os_malloc(THRESHOLD)));
}

TEST(rule_06_calloc_threshold)
{
	size_t page = page_size();

	CHECK(is_in_heap(os_calloc(1, page - META - 8)));
	CHECK(is_mapped(os_calloc(1, page - META - 7)));
	CHECK(is_mapped(os_calloc(1, page - META)));
	CHECK(is_mapped(os_calloc(page - META, 1)));
	CHECK(is_mapped(os_calloc(1, page)));
	CHECK(is_mapped(os_calloc(1, 131032)));
	CHECK(is_mapped(os_calloc(1, 131040)));
}

TEST(rule_06_calloc_threshold_is_that_of_the_product)
{
	size_t n = (page_size() - META - 8) / 8;

	CHECK(is_in_heap(os_calloc(n, 8)));
	CHECK(is_in_heap(os_calloc(8, n)));
	CHECK(is_mapped(os_calloc(n + 1, 8)));
	CHECK(is_mapped(os_calloc(8, n + 1)));
}

/* A realloc never maps below MMAP_THRESHOLD, whoever made the block. */
TEST(rule_06_realloc_uses_the_malloc_threshold)
{
	size_t page = page_size();
	char *p = os_calloc(1, page), *q = os_calloc(1, 100);

	CHECK(is_mapped(p) && is_in_heap(q));
	p = os_realloc(p, page + 1);
	q = os_realloc(q, page + 1);
	CHECK(is_in_heap(p) && is_in_heap(q));
	CHECK(is_in_heap(os_realloc(NULL, page)));
	CHECK(is_in_heap(os_realloc(NULL, 131032)));
	CHECK(is_mapped(os_realloc(NULL, 131033)));
}

/* Rule 7: mapped blocks. */

TEST(rule_07_mapped_block_begins_at_a_page)
{
	static const size_t sizes[] = {131033, 131040, 131041, 200000, 1 << 20, 12345678};

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		char *p = os_malloc(sizes[i]);

		CHECK(is_mapped(p));
		CHECK((uintptr_t)header(p) % page_size() == 0);
		CHECK(header(p)->size == (sizes[i] + 7) / 8 * 8);
		CHECK(is_zero(p, header(p)->size));
		fill(p, header(p)->size, 1);
	}
}

TEST(rule_07_free_unmaps_all_of_it)
{
	size_t page = page_size();
	char *p = os_malloc(4 * THRESHOLD);
	char *first = (char *)header(p), *last = first + 4 * THRESHOLD;

	fill(p, 4 * THRESHOLD, 1);
	os_free(p);
	for (char *at = first; at <= last; at += page)
		CHECK(is_unmapped(at));
}

TEST(rule_07_mapped_blocks_do_not_touch_the_heap)
{
	char *start = sbrk(0), *p = os_malloc(THRESHOLD);

	CHECK(sbrk(0) == start);
	CHECK(p < start || p > start + INITIAL);
	os_free(p);
	CHECK(sbrk(0) == start);
}

/* Rule 8: zeroes, and products. */

TEST(rule_08_calloc_zeroes_reused_memory)
{
	char *p = os_malloc(131032);

	fill(p, 131040, 3);
	os_free(p);
	for (size_t n = 1; n < 2000; n = n * 3 / 2 + 1) {
		char *q = os_calloc(n, 1);

		CHECK(is_in_heap(q));
		CHECK_MSG(is_zero(q, n), "%zu bytes", n);
	}
}

TEST(rule_08_calloc_zeroes_a_block_given_whole)
{
	char *p = os_malloc(64), *q;

	os_malloc(8);
	fill(p, 64, 3);
	os_free(p);
	q = os_calloc(5, 8);
	CHECK(q == p && header(q)->size == 64);
	CHECK(is_zero(q, 40));
}

TEST(rule_08_calloc_zeroes_mappings)
{
	char *p = os_malloc(200000), *q;

	fill(p, 200000, 3);
	os_free(p);
	q = os_calloc(1000, 200);
	CHECK(is_zero(q, 200000));
}

TEST(rule_08_product_overflow)
{
	char *p = os_malloc(100);

	EXPECT_REFUSED(os_calloc(SIZE_MAX, 2));
	EXPECT_REFUSED(os_calloc(2, SIZE_MAX));
	EXPECT_REFUSED(os_calloc(SIZE_MAX, SIZE_MAX));
	EXPECT_REFUSED(os_calloc((size_t)1 << 32, (size_t)1 << 32));
	EXPECT_REFUSED(os_calloc(SIZE_MAX / 2 + 1, 2)); /* the product is 0 in 64 bits */
	EXPECT_REFUSED(os_calloc(SIZE_MAX / 16 + 2, 16)); /* 16 in 64 bits */
	EXPECT_REFUSED(os_calloc(SIZE_MAX / 3, 4));
	EXPECT_REFUSED(os_calloc(SIZE_MAX, 1)); /* no overflow, but the rounding would be one */
	EXPECT_REFUSED(os_calloc(1, SIZE_MAX - 6));
	EXPECT_REFUSED(os_calloc(1, SIZE_MAX - 38));
	EXPECT_HEAP(p, "a104 f130904");
}
