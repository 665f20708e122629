// SPDX-License-Identifier: BSD-3-Clause
// Needs: libosmem.so

/*
 * realloc to less: memory follows, at most 1.3 times what is live stays at any size above 256
 * bytes. What shrinks and grows again all the time is not copied each time. Up to 32 KiB; larger
 * blocks are in return.c.
 */

#include "libc_common.h"

#include <malloc.h>

#define LARGEST ((size_t)32000)
#define SMALLEST ((size_t)257)
#define LIVE (16 * MIB)
#define OWN (512 * KIB) /* of the library, for that */
#define MOST 1.3

static bool is_hardened(void)
{
	return secure_getenv("OSMEM_OPTIONS");
}

TEST(what_is_usable_follows)
{
	for (size_t from = SMALLEST + 1; from <= LARGEST; from += from / 16) {
		for (size_t to = from - 1; to >= SMALLEST; to -= to / 32 + 1) {
			char *p = malloc(from);

			CHECK(p);
			fill(p, from, 3);
			p = realloc(p, to);
			CHECK(p && is_filled(p, to, 3));
			CHECK_MSG((double)malloc_usable_size(p) <= MOST * (double)to,
				  "%zu -> %zu: %zu", from, to, malloc_usable_size(p));
			free(p);
		}
	}
}

/* Into roomy buffers, and then as much as was read. */
static void check_resident(size_t from, size_t to)
{
	static char *buffers[LIVE / SMALLEST];
	size_t n = LIVE / to, before, grown;

	memset(buffers, 0, n * sizeof(*buffers));
	malloc_trim(0);
	before = resident_bytes();
	for (size_t i = 0; i < n; i++) {
		char *p = malloc(from);

		CHECK(p);
		memset(p, 1, from);
		buffers[i] = realloc(p, to);
		CHECK(buffers[i]);
	}
	grown = resident_bytes() - before;
	CHECK_MSG((double)grown <= MOST * (double)(n * to) + OWN,
		  "%zu -> %zu: %.2f of what is live", from, to, (double)grown / (double)(n * to));
	for (size_t i = 0; i < n; i++)
		free(buffers[i]);
}

TEST(what_is_resident_follows)
{
	check_resident(1024, 520);
	check_resident(512, 257);
	check_resident(2000, 1500);
	check_resident(4096, 2100);
	check_resident(10000, 7600);
	check_resident(20000, 10100);
	check_resident(32000, 500);
}

/* The room that growing blocks get is not taken away by the next step. */
TEST(what_grows_in_small_steps_moves_seldom)
{
	char *p = malloc(16), *q;
	size_t moves = 0;

	for (size_t size = 17; size <= LARGEST; size++, p = q) {
		q = realloc(p, size);
		CHECK(q);
		moves += q != p;
	}
	CHECK_MSG(moves <= 40, "%zu moves", moves);
	free(p);
}

/* Many at a time, so that no thread can note each of them. */
TEST(many_that_grow_in_turn_move_seldom)
{
	static char *arrays[1000];
	size_t moves = 0;

	for (size_t size = 16; size <= LARGEST; size += size / 16) {
		for (size_t i = 0; i < COUNT_OF(arrays); i++) {
			char *q = realloc(arrays[i], size);

			CHECK(q);
			moves += q != arrays[i];
			arrays[i] = q;
		}
	}
	CHECK_MSG(moves <= 40 * COUNT_OF(arrays), "%zu moves", moves);
}

/* All of this program once more. */

TEST(the_same_hardened)
{
	char *arguments[] = {"shrink", NULL}, said[1024];
	int status;

	if (is_hardened())
		return;
	status = test_again("hardened", arguments, said, sizeof(said));
	CHECK_MSG(status == 0, "%s", said);
}
