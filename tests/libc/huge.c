// SPDX-License-Identifier: BSD-3-Clause
// Needs: libosmem.so

/*
 * Much: many gibibytes of sparse objects, ten million of them, and alignments up to what addresses
 * allow. Without BIG=1 in the environment the sizes are a small share of that.
 */

#include "bench/load/resident.h"
#include "libc_common.h"

#include <errno.h>
#include <malloc.h>
#include <sys/mman.h>

#define PAGE ((size_t)4096)
#define SMALL_SHARE 64 /* of the whole, by default */

static size_t share(void)
{
	return getenv("BIG") ? 1 : SMALL_SHARE;
}

static void need(size_t bytes)
{
	if (available_bytes() < bytes + bytes / 4)
		test_skip("less than %zu MiB of memory are available", bytes / MIB);
	test_timeout(600);
}

/* Outside the heap, and in memory from now on. */
static void *table(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(p != MAP_FAILED);
	return memset(p, 1, bytes);
}

/* More than is held by objects themselves, in bytes a KiB of them, is in memory. */
static void check_metadata(size_t base, size_t bytes, size_t per_kib)
{
	size_t now = resident_kib() * KIB;

	CHECK_MSG(now < base + bytes + bytes / KIB * per_kib + MIB,
		  "%zu KiB for %zu KiB of objects", (now - base) / KIB, bytes / KIB);
}

/*
 * 32 GiB of address space, of which one page in each 32 KiB is touched. Metadata is proportional to
 * addresses here: 0.9 % of them at most would be 7 % of the pages.
 */
TEST(sparse_objects_over_gibibytes)
{
	size_t count = 32 * GIB / (32 * KIB) / share(), base;
	uint64_t **objects;

	need(count * PAGE);
	objects = table(count * sizeof(*objects));
	base = resident_kib() * KIB;
	for (size_t i = 0; i < count; i++) {
		objects[i] = malloc(32 * KIB);
		CHECK(objects[i] != NULL);
		*objects[i] = i;
	}
	check_metadata(base, count * PAGE, 72);
	for (size_t i = 0; i < count; i++)
		CHECK(*objects[i] == i);
	for (size_t i = 0; i < count; i++)
		free(objects[i]);
	malloc_trim(0);
	check_metadata(base, count, 0); /* the table of slabs has two bytes for each 64 KiB */
}

/* Ten million at once, every one with its own content. */
TEST(ten_million_objects)
{
	size_t count = 10000000 / share(), base, bytes = 0;
	uint64_t **objects;

	need(count * 64);
	objects = table(count * sizeof(*objects));
	base = resident_kib() * KIB;
	for (size_t i = 0; i < count; i++) {
		objects[i] = malloc(16 + i % 3 * 16);
		CHECK(objects[i] != NULL);
		*objects[i] = i;
		bytes += 16 + i % 3 * 16;
	}
	check_metadata(base, bytes, 16);
	for (size_t i = 0; i < count; i++)
		CHECK(*objects[i] == i);
	for (size_t i = 0; i < count; i++)
		free(objects[i * 7919 % count]);
	malloc_trim(0);
	check_metadata(base, 0, 0);
}

TEST(alignments_up_to_a_gibibyte)
{
	size_t base = resident_kib() * KIB;
	char *p[31] = {0};

	for (unsigned int shift = 4; shift <= 30; shift++) {
		p[shift] = aligned_alloc((size_t)1 << shift, 100);
		CHECK(p[shift] != NULL && is_aligned(p[shift], (size_t)1 << shift));
		fill(p[shift], 100, shift);
	}
	check_metadata(base, 27 * PAGE, 0);
	for (unsigned int shift = 4; shift <= 30; shift++) {
		CHECK(is_filled(p[shift], 100, shift));
		free(p[shift]);
	}
}

/* What no address can have is refused, and nothing of the attempt stays. */
TEST(alignments_beyond_addresses_are_refused)
{
	size_t before;

	free(malloc(16 * MIB)); /* there is a table of mappings from then on */
	malloc_trim(0);
	before = mapped_bytes();
	for (unsigned int shift = 47; shift < 64; shift++) {
		void *p = &before;

		errno = 0;
		CHECK(memalign((size_t)1 << shift, 100) == NULL && errno == ENOMEM);
		CHECK(posix_memalign(&p, (size_t)1 << shift, 100) == ENOMEM && p == &before);
	}
	CHECK(mapped_bytes() == before);
}

/* A tebibyte is an alignment that the kernel may have room for: then it holds, or it is refused. */
TEST(alignment_of_a_tebibyte)
{
	volatile size_t align = (size_t)1 << 40; /* more than compilers believe in */
	char *p;

	errno = 0;
	p = aligned_alloc(align, 100);
	if (!p) {
		CHECK(errno == ENOMEM);
		return;
	}
	CHECK(is_aligned(p, (size_t)1 << 40));
	fill(p, 100, 40);
	CHECK(is_filled(p, 100, 40));
	free(p);
}
