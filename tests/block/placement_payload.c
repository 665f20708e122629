// SPDX-License-Identifier: BSD-3-Clause
// Needs: libosmem.so

/*
 * Rules 3, 14 and 18: until the next search a freed payload and its header read as before, and what
 * os_realloc has moved still reads where it was.
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "block_meta.h"
#include "blocks.h"
#include "broken.h"
#include "harness.h"
#include "osmem.h"
#include "osmem_inspect.h"

#define MANY ((size_t)1000000)
#define NO_HOLE ((size_t)120000) /* larger than anything that is free here */

static const size_t sizes[] = {8, 16, 24, 32, 64, 100, 1000, 1032, 4096, 60000};

static unsigned char byte_at(size_t seed, size_t i)
{
	return (unsigned char)((seed * 31 + i) * 0x9e37u >> 7);
}

static unsigned char *filled(size_t seed, size_t size)
{
	unsigned char *p = os_malloc(size);

	CHECK(p);
	for (size_t i = 0; i < header(p)->size; i++)
		p[i] = byte_at(seed, i);
	return p;
}

static void expect_filled(const unsigned char *p, size_t seed, size_t from, size_t to)
{
	for (size_t i = from; i < to; i++)
		CHECK_MSG(p[i] == byte_at(seed, i), "byte %zu of %zu has changed", i, to);
}

static void expect_freed(unsigned char *p, size_t seed, size_t size)
{
	CHECK(header(p)->status == STATUS_FREE && header(p)->size == size);
	expect_filled(p, seed, 0, size);
}

TEST(a_moved_block_reads_as_before)
{
	static const size_t larger[] = {70000, 125000, 200000};

	for (size_t i = 0; i < COUNT_OF(sizes); i++) {
		for (size_t j = 0; j < COUNT_OF(larger); j++) {
			unsigned char *p = filled(i, sizes[i]), *q;
			size_t size = header(p)->size;

			CHECK(os_malloc(NO_HOLE) > (void *)p); /* p is not the last one */
			q = os_realloc(p, larger[j]);
			CHECK(q && q != p);
			expect_filled(q, i, 0, size);
			expect_freed(p, i, size);
			expect_sound(osmem_check);
		}
	}
}

TEST(a_freed_payload_is_untouched_before_the_next_search)
{
	unsigned char *p[COUNT_OF(sizes)];

	for (size_t i = 0; i < COUNT_OF(sizes); i++) {
		p[i] = filled(i, sizes[i]);
		filled(i, 8);
	}
	for (size_t i = 0; i < COUNT_OF(sizes); i++) {
		os_free(p[(i * 3 + 1) % COUNT_OF(sizes)]);
		for (size_t j = 0; j <= i; j++) {
			size_t k = (j * 3 + 1) % COUNT_OF(sizes);

			expect_freed(p[k], k, (sizes[k] + 7) / 8 * 8);
		}
		expect_sound(osmem_check);
	}
}

TEST(what_a_block_loses_is_untouched_but_for_a_header)
{
	for (size_t i = 0; i < COUNT_OF(sizes); i++) {
		unsigned char *p = filled(i, sizes[i] + 80);
		size_t size = header(p)->size;

		filled(i, 8);
		CHECK(os_realloc(p, sizes[i]) == p);
		expect_filled(p, i, 0, header(p)->size);
		expect_filled(p, i, header(p)->size + META, size);
		expect_sound(osmem_check);
	}
}

/* Neighbours that a block takes in are out of what waits for the search, and nothing else is. */
TEST(what_waits_may_be_absorbed)
{
	unsigned char *p[60];

	for (size_t i = 0; i < COUNT_OF(p); i++)
		p[i] = filled(i, 24);
	for (size_t i = 0; i < COUNT_OF(p); i++)
		if (i % 4)
			os_free(p[i]);
	for (size_t i = 0; i < COUNT_OF(p); i += 8) {
		CHECK(os_realloc(p[i], 24 + META + 8) == p[i]);
		expect_filled(p[i], i, 0, 24);
		expect_freed(p[i + 3], i + 3, 24);
		expect_sound(osmem_check);
	}
	for (size_t i = 4; i < COUNT_OF(p); i += 8)
		for (size_t j = 1; j < 4; j++)
			expect_freed(p[i + j], i + j, 24);
	CHECK(os_malloc(NO_HOLE));
	expect_sound(osmem_check);
}

/* More than the library has a table for. */
TEST(a_million_frees_in_a_row)
{
	unsigned char **p = calloc(MANY, sizeof(*p)), *last;

	test_timeout(120);
	need_break(256 * MIB);
	CHECK(p);
	for (size_t i = 0; i < MANY; i++)
		p[i] = filled(i, i % 8 * 8 + 8);
	last = filled(0, 8);
	for (size_t i = 0; i < MANY; i++)
		if (i % 1000)
			os_free(p[i]);
	for (size_t i = 1; i < MANY; i += i % 1000 == 999 ? 2 : 1)
		expect_freed(p[i], i, i % 8 * 8 + 8);
	expect_sound(osmem_check);
	for (size_t i = 0; i < MANY; i += 2000) /* the nearest two are absorbed, or the latest */
		CHECK(os_realloc(p[i], 100) == p[i]);
	for (size_t i = MANY - 2000; i < MANY; i += 1000)
		CHECK(os_realloc(p[i], 200) == p[i]);
	expect_sound(osmem_check);
	for (size_t i = 0; i < MANY; i += 1000)
		os_free(p[i]);
	CHECK(os_malloc(NO_HOLE) == p[0]);
	CHECK(header(last)->status == STATUS_ALLOC);
	expect_sound(osmem_check);
	free(p);
}
