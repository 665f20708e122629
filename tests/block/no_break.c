// SPDX-License-Identifier: BSD-3-Clause
// Needs: libosmem.so

/*
 * A break that never moves: the sbrk of musl, or a system call filter. The heap is a mapping above
 * it, and the placement rules hold in addresses.
 */

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "blocks.h"
#include "harness.h"
#include "osmem.h"
#include "osmem_inspect.h"

static bool is_refused = true;

void *sbrk(intptr_t size)
{
	static _Alignas(8) char memory[1 << 20];
	static size_t used;
	void *p = memory + used;

	if (size == 0)
		return is_refused && !used ? (void *)syscall(SYS_brk, 0) : p;
	if (is_refused || (size_t)size > sizeof(memory) - used) {
		errno = ENOMEM;
		return (void *)-1;
	}
	used += (size_t)size;
	return p;
}

TEST(blocks_are_adjacent)
{
	char *a = os_malloc(100), *b = os_malloc(200);

	CHECK(b == a + 104 + 32);
	EXPECT_BLOCKS(a, "a104 a200 f130672");
	CHECK((char *)os_malloc(131000) == b + 200 + 32); /* the last block grows */
	EXPECT_BLOCKS(a, "a104 a200 a131000");
	os_free(a);
	EXPECT_BLOCKS(b, "f104 a200 a131000");
	CHECK(os_malloc(50) == a);
	EXPECT_BLOCKS(b, "a56 f16 a200 a131000");
	CHECK(!osmem_check());
}

/* The rules do not limit how large a heap may become. */
TEST(the_heap_grows_in_place)
{
	char *first = os_malloc(1000), *last = first;

	for (size_t i = 0; i < 10000; i++) {
		char *p = os_malloc(100000);

		CHECK(p > last && (i < 2 || p == last + 100032));
		memset(p, 1, 8);
		last = p;
	}
	CHECK(!osmem_check());
}

TEST(rest_of_a_page_is_used)
{
	char *first = os_malloc(131032);

	for (size_t i = 0; i < 300; i++)
		CHECK((char *)os_malloc(8) == first + 131072 + i * 40);
}

/* As when other code has moved the break: a new region, at higher addresses. */
TEST(another_mapping_is_in_the_way)
{
	char *p = os_malloc(131032), *in_way, *q;

	in_way = mmap(p + 131040, 4096, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	CHECK(in_way == p + 131040);
	q = os_malloc(100000);
	CHECK(q && q > in_way + 4096);
	memset(q, 2, 100000);
	CHECK((char *)os_malloc(100000) == q + 100032);
	os_free(q);
	CHECK(os_malloc(100000) == q);
	CHECK(!osmem_check());
}

TEST(memory_is_exhausted)
{
	char *p = os_malloc(1000);

	CHECK(p);
	limit_addresses(0);
	for (size_t i = 0; i < 3; i++)
		while (os_malloc(100000))
			;
	EXPECT_REFUSED(os_malloc(100000));
	CHECK(os_malloc(100));
	CHECK(!osmem_check());
}

/* A break that has moved is not left for a mapping. */
TEST(refused_later)
{
	is_refused = false;
	CHECK(os_malloc(100));
	is_refused = true;
	while (os_malloc(1000))
		;
	EXPECT_REFUSED(os_malloc(1000));
	is_refused = false;
	CHECK(os_malloc(1000));
	CHECK(!osmem_check());
}
