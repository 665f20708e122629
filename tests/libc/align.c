// SPDX-License-Identifier: BSD-3-Clause
// Needs: libosmem.so

/* aligned_alloc, memalign, posix_memalign, valloc, pvalloc. */

#include "libc_common.h"

#include <errno.h>
#include <malloc.h>

#define LARGEST_ALIGN ((size_t)1 << 24)

/*
 * A block of every kind is the caller's own up to its last byte; big ones are probed at the ends.
 */
static void check_block(char *p, size_t size, size_t align, const char *who)
{
	CHECK_MSG(p && is_aligned(p, align) && is_aligned(p, 16), "%s: %zu bytes at %zu gave %p",
		  who, size, align, (void *)p);
	CHECK_MSG(malloc_usable_size(p) >= size, "%s: %zu bytes at %zu have %zu", who, size, align,
		  malloc_usable_size(p));
	if (size <= 64 * KIB) {
		fill(p, size, 7);
	} else {
		fill(p, 4096, 7);
		fill(p + size - 4096, 4096, 7);
	}
}

/*
 * Compilers know what these functions promise, and clang 14 breaks down over the most extreme of
 * the values below when it sees them: hence volatile.
 */

typedef void check_fn(size_t align, size_t size);

static void for_every_power(size_t first, check_fn *check)
{
	for (size_t align = first; align <= LARGEST_ALIGN; align *= 2) {
		size_t sizes[] = {0, 1, 100, 5000, 70000, align - 1, align, align + 1, align * 2};

		for (size_t i = 0; i < COUNT_OF(sizes); i++)
			check(align, sizes[i]);
	}
}

static void check_aligned_alloc(size_t align, size_t size)
{
	char *p = aligned_alloc(align, size), *q = aligned_alloc(align, size);

	check_block(p, size, align, "aligned_alloc");
	check_block(q, size, align, "aligned_alloc");
	CHECK(p != q);
	free(p);
	free(q);
}

static void check_memalign(size_t align, size_t size)
{
	char *p = memalign(align, size), *q = memalign(align, size);

	check_block(p, size, align, "memalign");
	check_block(q, size, align, "memalign");
	CHECK(p != q);
	free(p);
	free(q);
}

static void check_posix_memalign(size_t align, size_t size)
{
	void *p = NULL;

	errno = 4242;
	CHECK(posix_memalign(&p, align, size) == 0);
	CHECK(errno == 4242);
	check_block(p, size, align, "posix_memalign");
	free(p);
}

TEST(aligned_alloc_every_power_of_two)
{
	for_every_power(1, check_aligned_alloc);
}

TEST(memalign_every_power_of_two)
{
	for_every_power(1, check_memalign);
}

TEST(posix_memalign_every_power_of_two)
{
	for_every_power(sizeof(void *), check_posix_memalign);
}

TEST(alignment_of_a_gibibyte)
{
	for (size_t align = LARGEST_ALIGN; align <= GIB; align *= 2) {
		char *p = memalign(align, 100);

		check_block(p, 100, align, "memalign");
		free(p);
	}
}

static const volatile size_t no_powers[] = {0,	3,   5,	   6,	 7,	24,
					    48, 100, 4095, 4097, 12288, SIZE_MAX};

TEST(aligned_alloc_no_power_is_einval)
{
	for (size_t i = 0; i < COUNT_OF(no_powers); i++) {
		errno = 0;
		CHECK_MSG(aligned_alloc(no_powers[i], 100) == NULL, "alignment %zu", no_powers[i]);
		CHECK_MSG(errno == EINVAL, "alignment %zu: errno %d", no_powers[i], errno);
	}
}

TEST(memalign_no_power_is_rounded_up)
{
	static const size_t rounded[] = {1, 4, 8, 8, 8, 32, 64, 128, 4096, 8192, 16384};

	for (size_t i = 0; i < COUNT_OF(rounded); i++) {
		char *p = memalign(no_powers[i], 100);

		check_block(p, 100, rounded[i], "memalign");
		free(p);
	}
}

TEST(memalign_beyond_half_of_all_is_einval)
{
	volatile size_t half = SIZE_MAX / 2 + 1, all = SIZE_MAX;

	errno = 0;
	CHECK(memalign(half + 1, 100) == NULL && errno == EINVAL);
	errno = 0;
	CHECK(memalign(all, 0) == NULL && errno == EINVAL);
	errno = 0;
	CHECK(memalign(half, 100) == NULL && errno == ENOMEM);
}

/* As in glibc: errno is set too where memory is refused, and left alone for a wrong argument. */
TEST(posix_memalign_failure_keeps_the_pointer)
{
	static const volatile size_t bad[] = {0, 1, 2, 4, 12, 24, 100, 4097, SIZE_MAX};
	char mark;

	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		void *p = &mark;

		errno = 4242;
		CHECK_MSG(posix_memalign(&p, bad[i], 100) == EINVAL, "alignment %zu", bad[i]);
		CHECK(p == &mark && errno == 4242);
	}
	for (volatile size_t align = 8; align; align *= 2) {
		void *p = &mark;

		errno = 4242;
		CHECK(posix_memalign(&p, align, (size_t)PTRDIFF_MAX) == ENOMEM);
		CHECK(p == &mark && errno == ENOMEM);
		errno = 4242;
		CHECK(posix_memalign(&p, align, SIZE_MAX - align / 2) == ENOMEM);
		CHECK(p == &mark && errno == ENOMEM);
	}
}

/*
 * Success is possible in theory while the alignment is below the end of addresses; a crash is not.
 */
TEST(alignment_near_the_end_of_addresses)
{
	for (int bit = 31; bit < 64; bit++) {
		volatile size_t align = (size_t)1 << bit;
		void *p = NULL;
		int error = posix_memalign(&p, align, 100);

		CHECK_MSG(error == ENOMEM || (error == 0 && is_aligned(p, align)),
			  "alignment 2^%d: error %d", bit, error);
		CHECK(bit < 47 || error == ENOMEM);
		free(p);
		p = aligned_alloc(align, 100);
		CHECK(p ? is_aligned(p, align) : errno == ENOMEM);
		free(p);
	}
}

TEST(aligned_size_overflow_is_enomem)
{
	for (volatile size_t align = 1; align; align *= 2) {
		for (volatile size_t k = 0; k <= 4096; k += 64) {
			errno = 0;
			CHECK(aligned_alloc(align, SIZE_MAX - k) == NULL && errno == ENOMEM);
			errno = 0;
			CHECK(memalign(align, SIZE_MAX - k) == NULL && errno == ENOMEM);
			errno = 0;
			CHECK(memalign(align, (size_t)PTRDIFF_MAX - k) == NULL && errno == ENOMEM);
		}
	}
}

TEST(valloc_aligns_to_pages)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	for (size_t size = 0; size <= 3 * page; size += 37) {
		char *p = valloc(size);

		check_block(p, size, page, "valloc");
		free(p);
	}
	for (volatile size_t k = 0; k <= 8192; k += 64) {
		errno = 0;
		CHECK(valloc(SIZE_MAX - k) == NULL && errno == ENOMEM);
	}
}

TEST(pvalloc_rounds_up_to_pages)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *empty = pvalloc(0);

	check_block(empty, 0, page, "pvalloc");
	free(empty);
	for (size_t size = 1; size <= 3 * page; size += 37) {
		char *p = pvalloc(size);

		check_block(p, (size + page - 1) / page * page, page, "pvalloc");
		free(p);
	}
}

TEST(pvalloc_rounding_does_not_overflow)
{
	for (volatile size_t k = 0; k <= 8192; k += 4) {
		errno = 0;
		CHECK_MSG(pvalloc(SIZE_MAX - k) == NULL, "pvalloc(SIZE_MAX - %zu) is not NULL", k);
		CHECK(errno == ENOMEM);
		errno = 0;
		CHECK(pvalloc((size_t)PTRDIFF_MAX - k) == NULL && errno == ENOMEM);
	}
}

TEST(aligned_blocks_can_be_resized)
{
	for (size_t align = 16; align <= MIB; align *= 2) {
		for (size_t size = 50; size <= 2 * MIB; size *= 7) {
			void *p = memalign(align, size);

			CHECK(p != NULL);
			fill(p, size, 1);
			p = realloc(p, size * 3);
			CHECK(p && is_filled(p, size, 1));
			p = realloc(p, size / 2);
			CHECK(p && is_filled(p, size / 2, 1));
			free(p);
		}
	}
}

/* Aligned and plain blocks in turn, all live at once: none may overlap. */
TEST(aligned_blocks_keep_their_neighbours)
{
	enum {
		BLOCKS = 3000
	};
	static struct {
		void *p;
		size_t size;
	} block[BLOCKS];
	uint64_t state = 7;

	for (int round = 0; round < 3; round++) {
		for (size_t i = 0; i < BLOCKS; i++) {
			size_t align = (size_t)8 << random_next(&state) % 12;

			free(block[i].p);
			block[i].size = random_next(&state) % 3000;
			block[i].p = i % 3 ? memalign(align, block[i].size) : malloc(block[i].size);
			CHECK(block[i].p != NULL);
			fill(block[i].p, block[i].size, (unsigned int)i);
		}
		for (size_t i = 0; i < BLOCKS; i++)
			CHECK(is_filled(block[i].p, block[i].size, (unsigned int)i));
		for (size_t i = 0; i < BLOCKS; i += 2) {
			free(block[i].p);
			block[i].p = NULL;
		}
	}
}
