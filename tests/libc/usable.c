// SPDX-License-Identifier: BSD-3-Clause
// Needs: libosmem.so

/* malloc_usable_size, malloc_trim, mallopt. */

#include "libc_common.h"

#include <ctype.h>
#include <malloc.h>

/* ---- malloc_usable_size ---- */

TEST(usable_size_of_null)
{
	CHECK(malloc_usable_size(NULL) == 0);
}

TEST(usable_bytes_may_all_be_written)
{
	static void *p[4000];

	for (size_t i = 0; i < COUNT_OF(p); i++) {
		size_t size = i < 3000 ? i : (i - 3000) * 300;

		p[i] = i % 5 ? malloc(size) : memalign((size_t)16 << i % 9, size);
		CHECK(p[i] && malloc_usable_size(p[i]) >= size);
		fill(p[i], malloc_usable_size(p[i]), (unsigned int)i);
	}
	for (size_t i = 0; i < COUNT_OF(p); i++) {
		CHECK(is_filled(p[i], malloc_usable_size(p[i]), (unsigned int)i));
		free(p[i]);
	}
}

TEST(usable_bytes_are_kept_by_realloc)
{
	for (size_t size = 1; size < 8 * MIB; size += size / 5 + 1) {
		void *p = malloc(size);
		size_t usable = malloc_usable_size(p);

		CHECK(p != NULL);
		fill(p, usable, 1);
		p = realloc(p, usable * 2 + 100);
		CHECK_MSG(p && is_filled(p, usable, 1), "malloc(%zu), usable %zu", size, usable);
		free(p);
	}
}

TEST(realloc_up_to_the_usable_size_does_not_move)
{
	for (size_t size = 1; size < 8 * MIB; size += size / 9 + 1) {
		void *p = malloc(size);
		size_t usable = malloc_usable_size(p), step = (usable - size) / 7 + 1;

		CHECK(p != NULL);
		fill(p, usable, 2);
		for (size_t n = size; n <= usable; n += step)
			CHECK_MSG(realloc(p, n) == p, "malloc(%zu), usable %zu, moved at %zu", size,
				  usable, n);
		CHECK(realloc(p, usable) == p);
		CHECK(malloc_usable_size(p) >= usable);
		CHECK(is_filled(p, usable, 2));
		free(p);
	}
}

TEST(realloc_of_a_grown_block_up_to_its_usable_size_does_not_move)
{
	for (size_t size = 20; size < 8 * MIB; size += size / 3) {
		void *p = realloc(malloc(size / 2), size);
		size_t usable = malloc_usable_size(p);

		CHECK(p && usable >= size);
		fill(p, usable, 3);
		CHECK(realloc(p, usable) == p);
		CHECK(is_filled(p, usable, 3));
		free(p);
	}
}

/* ---- malloc_trim ---- */

enum {
	TRIM_BLOCKS = 20000
};

/* About 100 MiB of blocks of up to 10 KiB, written to and freed. */
static void raise_and_free(void)
{
	static void *p[TRIM_BLOCKS];

	for (size_t i = 0; i < TRIM_BLOCKS; i++) {
		p[i] = malloc(i % 10240);
		CHECK(p[i] != NULL);
		memset(p[i], 1, i % 10240);
	}
	for (size_t i = 0; i < TRIM_BLOCKS; i++)
		free(p[i]);
}

TEST(trim_gives_back_now_and_says_so)
{
	size_t before = resident_bytes(), freed, trimmed;
	int gave;

	raise_and_free();
	freed = resident_bytes();
	gave = malloc_trim(0);
	trimmed = resident_bytes();
	CHECK(gave == 0 || gave == 1);
	CHECK_MSG(trimmed < before + 4 * MIB, "%zu KiB before, %zu freed, %zu trimmed",
		  before / KIB, freed / KIB, trimmed / KIB);
	CHECK(gave == 1 || freed < trimmed + 64 * KIB);
}

TEST(trim_with_nothing_to_give_returns_0)
{
	raise_and_free();
	malloc_trim(0);
	CHECK(malloc_trim(0) == 0);
	free(malloc(100));
}

TEST(trim_keeps_live_blocks)
{
	static void *p[5000];

	for (size_t i = 0; i < COUNT_OF(p); i++) {
		p[i] = malloc(i * 3);
		CHECK(p[i] != NULL);
		fill(p[i], i * 3, (unsigned int)i);
	}
	for (size_t i = 0; i < COUNT_OF(p); i++) {
		if (i % 16) {
			free(p[i]);
			p[i] = NULL;
		}
	}
	malloc_trim(0);
	for (size_t i = 0; i < COUNT_OF(p); i += 16)
		CHECK(is_filled(p[i], i * 3, (unsigned int)i));
	for (size_t i = 0; i < COUNT_OF(p); i++) {
		free(p[i]);
		p[i] = calloc(1, i * 3);
		CHECK(p[i] && is_zero(p[i], i * 3));
	}
}

/* ---- mallopt ---- */

TEST(mallopt_knows_what_has_a_meaning)
{
	CHECK(mallopt(M_MMAP_THRESHOLD, 100000) == 1);
	CHECK(mallopt(M_TRIM_THRESHOLD, 1 << 20) == 1);
	CHECK(mallopt(M_PERTURB, 0x5a) == 1);
	CHECK(mallopt(M_ARENA_MAX, 1) == 1);
	free(malloc(100));
}

/* Programs that tune glibc's malloc take 0 for a failure. */
TEST(mallopt_accepts_what_glibc_has)
{
	static const int params[] = {M_ARENA_MAX, M_ARENA_TEST, M_MXFAST,
				     M_TOP_PAD,	  M_MMAP_MAX,	M_CHECK_ACTION};

	for (size_t i = 0; i < COUNT_OF(params); i++) {
		CHECK_MSG(mallopt(params[i], 0) == 1, "parameter %d", params[i]);
		CHECK_MSG(mallopt(params[i], 64) == 1, "parameter %d", params[i]);
	}
	free(malloc(100));
	free(malloc(1 << 20)); /* M_MMAP_MAX of 0 forbids nothing */
}

TEST(mallopt_refuses_the_unknown)
{
	CHECK(mallopt(12345, 1) == 0);
	CHECK(mallopt(-12345, 1) == 0);
	CHECK(mallopt(0, 1) == 0);
}

/*
 * As glibc's: new blocks are filled with the complement of the low byte, and calloc is zero still.
 */
TEST(mallopt_perturb_fills)
{
	CHECK(mallopt(M_PERTURB, 0x5a) == 1);
	for (size_t size = 1; size < 4 * MIB; size += size / 2 + 1) {
		unsigned char *p = malloc(size);

		CHECK(p != NULL);
		for (size_t i = 0; i < size; i++)
			CHECK_MSG(p[i] == 0xa5, "malloc(%zu): byte %zu is %#x", size, i, p[i]);
		free(p);
		p = calloc(1, size);
		CHECK(p && is_zero(p, size));
		fill(p, size, 1);
		p = realloc(p, size * 2);
		CHECK(p && is_filled(p, size, 1));
		free(p);
	}
}

static size_t mapped_blocks_of(size_t size)
{
	size_t before = mallinfo2().hblks, mapped;
	void *p = malloc(size);

	CHECK(p != NULL);
	mapped = mallinfo2().hblks - before;
	free(p);
	return mapped;
}

TEST(mallopt_mmap_threshold_decides_what_is_mapped)
{
	CHECK(mallopt(M_MMAP_THRESHOLD, 64 << 10) == 1);
	CHECK(mapped_blocks_of(100 * KIB) == 1);
	CHECK(mapped_blocks_of(50 * KIB) == 0);
	CHECK(mallopt(M_MMAP_THRESHOLD, 1 << 20) == 1);
	CHECK(mapped_blocks_of(100 * KIB) == 0);
	CHECK(mapped_blocks_of(2 * MIB) == 1);
}
