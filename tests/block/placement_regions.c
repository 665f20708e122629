// SPDX-License-Identifier: BSD-3-Clause
// Needs: libosmem.so

/*
 * The program moves the break, and the heap goes on in another region. The heaps that are expected
 * are worked out by hand; see blocks.h for how they are written.
 */

#include "blocks.h"
#include "harness.h"
#include "osmem.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Errors: the break is moved by the program. */

TEST(errors_break_moved_starts_a_new_region)
{
	char *a = os_malloc(131032), *mine = sbrk(16), *b;

	CHECK(mine == end_of(a));
	fill(mine, 16, 7);
	b = os_malloc(100);
	CHECK((char *)header(b) == mine + 16);
	CHECK(header(b)->size == 104);
	CHECK((char *)sbrk(0) >= b + 104);
	CHECK(holds(mine, 16, 7));
	EXPECT_BLOCKS(a, "a131040 | a104");
}

TEST(errors_break_moved_free_last_block_is_not_grown)
{
	char *a = os_malloc(100000), *mine = sbrk(16), *b;

	b = os_malloc(40000); /* 31008 are free in front of the gap */
	CHECK((char *)header(b) == mine + 16);
	EXPECT_BLOCKS(a, "a100000 f31008 | a40000");
	CHECK(os_malloc(31008) == a + 100000 + META);
	EXPECT_BLOCKS(a, "a100000 a31008 | a40000");
}

TEST(errors_break_moved_last_block_moves)
{
	char *a = os_malloc(100000), *b = os_malloc(31008), *mine = sbrk(16), *q;

	fill(b, 31008, 1);
	fill(mine, 16, 7);
	q = os_realloc(b, 40000);
	CHECK((char *)header(q) == mine + 16);
	CHECK(holds(q, 31008, 1));
	CHECK(holds(mine, 16, 7));
	EXPECT_BLOCKS(a, "a100000 f31008 | a40000");
}

/* Two regions, "a100000 f31008 | f50000", gap bytes apart; p is the three payloads. */
static void make_regions(char **p, int gap)
{
	p[0] = os_malloc(100000);
	p[1] = os_malloc(31008);
	CHECK(sbrk(gap) == (char *)p[1] + 31008);
	p[2] = os_malloc(50000);
	CHECK((char *)header(p[2]) == p[1] + 31008 + gap);
	os_free(p[1]);
	os_free(p[2]);
}

TEST(errors_regions_are_never_merged)
{
	char *p[3];

	make_regions(p, 8);
	CHECK(os_malloc(60000) == p[2]); /* grown: the two together would have held it */
	EXPECT_BLOCKS(p[0], "a100000 f31008 | a60000");
}

TEST(errors_regions_are_not_adjacent_for_realloc)
{
	char *p[3];

	make_regions(p, 8);
	p[1] = os_malloc(31008);
	CHECK(os_realloc(p[1], 40000) == p[2]);
	EXPECT_BLOCKS(p[0], "a100000 f31008 | a40000 f9968");
}

TEST(errors_last_block_of_a_region_is_not_the_last)
{
	char *p[3], *q;

	make_regions(p, 4096);
	p[1] = os_malloc(31008);
	q = os_realloc(p[1], 60000);
	CHECK(q == p[2]);
	EXPECT_BLOCKS(p[0], "a100000 f31008 | a60000");
}

TEST(errors_break_moved_and_moved_back)
{
	char *a = os_malloc(131032), *b;

	CHECK(sbrk(4096) != (void *)-1 && sbrk(-4096) != (void *)-1);
	b = os_malloc(100);
	CHECK(b == a + 131040 + META);
	EXPECT_HEAP(a, "a131040 a104");
}

TEST(errors_break_moved_again_and_again)
{
	char *mine[8], *p = os_malloc(131032);

	for (unsigned int i = 0; i < 8; i++) {
		mine[i] = sbrk((intptr_t)(8 * i + 8));
		CHECK(mine[i] == end_of(p));
		fill(mine[i], 8 * i + 8, i);
		p = os_malloc(1000 * i + 8);
		CHECK((char *)header(p) == mine[i] + 8 * i + 8);
		CHECK(os_realloc(p, 1000 * i + 16) == p);
	}
	for (unsigned int i = 0; i < 8; i++)
		CHECK(holds(mine[i], 8 * i + 8, i));
	EXPECT_BLOCKS(p, "a131040 | a16 | a1016 | a2016 | a3016 | a4016 | a5016 | a6016 | a7016");
}

/* As the kernel lets programs do it whose memory it does not see at once. */
static void raise_break(size_t by)
{
	size_t step = 64 * MIB;

	for (; by; by -= step) {
		step = step < by ? step : by;
		if (sbrk((intptr_t)step) == (void *)-1)
			test_skip("the break cannot be raised by 4 GiB");
	}
}

/* Addresses that 32 bits do not tell apart, with few free blocks and with many. */
TEST(errors_break_moved_by_4_gib)
{
	char *a = os_malloc(131032), *p[5];

	raise_break(4096 * MIB);
	for (size_t i = 0; i < 5; i++)
		p[i] = os_malloc(50000);
	os_free(p[1]);
	EXPECT_BLOCKS(a, "a131040 | a50000 f50000 a50000 a50000 a50000");
	CHECK(os_malloc(40000) == p[1]);
	os_free(p[3]);
	EXPECT_BLOCKS(a, "a131040 | a50000 a40000 f9968 a50000 f50000 a50000");
	CHECK(os_malloc(50000) == p[3]);
	CHECK(os_malloc(9968) == p[1] + 40000 + META);
	EXPECT_BLOCKS(a, "a131040 | a50000 a40000 a9968 a50000 a50000 a50000");
	os_free(a);
	CHECK(os_malloc(100) == a);
}

/* A free block whose rest, after a split or a merge, is 4 GiB behind the first block. */
TEST(errors_break_moved_by_nearly_4_gib)
{
	char *a = os_malloc(131032), *p[3], *rest;

	raise_break(4096 * MIB - INITIAL - 25000);
	for (size_t i = 0; i < 3; i++)
		p[i] = os_malloc(50000);
	CHECK(header(p[0]) < header(a) + (4096 * MIB / META));
	CHECK(header(p[1]) > header(a) + (4096 * MIB / META));
	os_free(p[0]);
	CHECK(os_malloc(25000) == p[0]);
	EXPECT_BLOCKS(a, "a131040 | a25000 f24968 a50000 a50000");
	rest = p[0] + 25000 + META;
	CHECK(os_malloc(104) == rest);
	os_free(rest);
	CHECK(os_malloc(24968) == rest);
	os_free(rest);
	os_free(p[1]);
	os_free(p[0]);
	CHECK(os_malloc(100032) == p[0]);
}

TEST(errors_break_moved_to_an_odd_place)
{
	char *a = os_malloc(131032), *mine = sbrk(3), *b, *c;

	fill(mine, 3, 7);
	b = os_malloc(100);
	c = os_malloc(1000);
	CHECK(b >= mine + 3 + META && (uintptr_t)b % 8 == 0);
	CHECK(c == b + 104 + META);
	fill(b, 104, 1);
	fill(c, 1000, 2);
	CHECK(holds(mine, 3, 7) && holds(b, 104, 1));
	EXPECT_BLOCKS(a, "a131040 | a104 a1000");
}

/* Above 1 MiB, where the break is ahead of the heap, the program's memory is its own as well. */
TEST(errors_break_moved_above_1_mib)
{
	char *p = pass_1_mib(), *mine = sbrk(1000);

	CHECK(mine != (void *)-1 && mine >= end_of(p));
	fill(mine, 1000, 7);
	for (size_t i = 1; i < 1000; i++) {
		char *q = os_malloc(i * 8);

		CHECK(q + i * 8 <= mine || (char *)header(q) >= mine + 1000);
		fill(q, i * 8, 1);
		q = os_realloc(q, i * 16);
		CHECK(q + i * 16 <= mine || (char *)header(q) >= mine + 1000);
		fill(q, i * 16, 2);
	}
	CHECK(holds(mine, 1000, 7));
}

/* The heap has passed 1 MiB, and the break is ahead of its needs: some of that may be taken. */
TEST(errors_break_lowered_into_what_is_ahead)
{
	const size_t size = 100000;
	char *p = NULL;

	for (int i = 0; i < 20; i++)
		CHECK((p = os_malloc(size)));
	while ((char *)sbrk(0) < p + size + 8192)
		CHECK((p = os_malloc(size)));
	CHECK(sbrk(-4096) != (void *)-1);
	for (int i = 0; i < 20; i++) {
		char *q = os_malloc(size);

		CHECK(q == p + size + sizeof(struct block_meta));
		memset(q, 1, size);
		p = q;
	}
}

/* From here on the break can be raised by less than 64 KiB, too little for a reserve. */
static void leave_little_room(void)
{
	static char *barrier;
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), end = (uintptr_t)sbrk(0);

	CHECK(!barrier || munmap(barrier, page) == 0);
	barrier = (char *)((end + 64 * KIB) & ~(page - 1));
	CHECK(mmap(barrier, page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1,
		   0) == barrier);
}

/*
 * As many regions as there may be, and the break moved once more: what must grow is refused, what
 * finds room is not.
 */
TEST(errors_no_region_more)
{
	char *a = os_malloc(1000), *last, *p;

	CHECK(a && os_malloc(129000));
	while (os_malloc(900)) { /* what is left of the first region */
		CHECK(sbrk(16) != (void *)-1);
		leave_little_room();
	}
	CHECK(errno == ENOMEM);
	last = (char *)sbrk(0) - 16 - 904;
	fill(last, 900, 5);
	EXPECT_REFUSED(os_malloc(2000));
	EXPECT_REFUSED(os_realloc(last, 2000));
	CHECK(holds(last, 900, 5));
	os_free(a);
	p = os_realloc(last, 950);
	CHECK(p == a && holds(a, 900, 5));
	CHECK(os_malloc(900) == last);
}
