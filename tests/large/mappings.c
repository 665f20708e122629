// SPDX-License-Identifier: BSD-3-Clause
// Needs: objects

/*
 * Mappings of single objects: which freed ones are cached, for which requests, how many and how
 * long; resizing; reports of bad pointers.
 */

#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cache/tcache.h"
#include "harness.h"
#include "helpers.h"
#include "large/large_core.h"
#include "reports.h"
#include "slab/slab.h"

static uint64_t random_state = 1;

/* The page cache. */

static void check_mappings(void)
{
	const char *fault = large_check();

	CHECK_MSG(!fault, "%s", fault);
}

static char *take(size_t size)
{
	char *p = mapping_alloc(size, size, CELL_ALIGN, false);

	CHECK(p && mapping_has(p) && mapping_usable_size("test", p) >= size);
	p[0] = p[size - 1] = 1;
	check_mappings();
	return p;
}

static void give(void *p)
{
	mapping_free("test", p);
	check_mappings();
}

static struct mapping_stats stats(void)
{
	struct mapping_stats now;

	mapping_get_stats(&now);
	return now;
}

TEST(kept_by_best_fit)
{
	char *p = take(12 * MIB), *q = take(10 * MIB), *r = take(11 * MIB), *s = take(11 * MIB);
	size_t calls;

	give(p);
	give(q);
	give(r);
	CHECK(large_dirty_bytes() == 33 * MIB);
	calls = stats().map_calls;
	CHECK(take(10 * MIB + 1) == r);
	CHECK(take(10 * MIB - 5000) == q);
	CHECK(large_dirty_bytes() == 12 * MIB && stats().unmap_calls == 0);
	CHECK(stats().map_calls - calls <= 2);
	give(s);
}

/*
 * A growing object takes a cached mapping of up to four times its size as it is, and reports up to
 * twice its size as usable.
 */
TEST(kept_for_what_grows)
{
	char *p = take(16 * MIB), *q = malloc(SPAN_MAX);

	give(p);
	CHECK(realloc(q, 5 * MIB) == p && mapping_usable_size("test", p) == 10 * MIB);
	tcache_check_size("free_sized", p, 5 * MIB, true);
	CHECK(realloc(p, 9 * MIB) == p && mapping_usable_size("test", p) == 10 * MIB);
	CHECK(realloc(p, 11 * MIB) == p && mapping_usable_size("test", p) == 16 * MIB);
	tcache_check_size("free_sized", p, 11 * MIB, true);
	CHECK(realloc(p, 16 * MIB) == p);
	free(p);
}

/*
 * One that is up to a quarter too large is taken as it is; one of half to twice the size is
 * remapped.
 */
TEST(kept_for_what_is_a_quarter_smaller)
{
	size_t size = 5 * MIB / 4;
	char *p, *q;

	give(take(16 * MIB)); /* raises the limit of the cache */
	malloc_trim(0);
	p = take(size);
	give(p);
	CHECK(take(MIB) == p && mapping_usable_size("test", p) == size);
	give(p);
	q = take(MIB - 4096);
	CHECK(large_dirty_bytes() == 0 && mapping_usable_size("test", q) == MIB - 4096);
	give(q);
	malloc_trim(0);
	give(take(size));
	q = take(size / 2 - 4096);
	CHECK(large_dirty_bytes() == size && mapping_usable_size("test", q) == size / 2 - 4096);
	give(q);
	malloc_trim(0);
	p = take(size);
	p[size - 1] = 7;
	give(p);
	q = take(2 * size);
	CHECK(large_dirty_bytes() == 0 && q[size - 1] == 7 && q[2 * size - 1] == 1);
}

/* Live and cached mappings together do not exceed the peak of live ones. */
TEST(no_more_than_was_ever_live)
{
	enum {
		COUNT = 30
	};
	static char *p[COUNT];
	size_t live = 0, peak = 0, most = 0;

	for (size_t nr = 0; nr < 5000; nr++) {
		size_t i = random_below(&random_state, COUNT),
		       size = MIB + random_below(&random_state, 8 * MIB);

		if (p[i]) {
			live -= mapping_usable_size("test", p[i]);
			give(p[i]);
			p[i] = NULL;
		} else {
			p[i] = take(size);
			live += mapping_usable_size("test", p[i]);
		}
		peak = live > peak ? live : peak;
		CHECK(stats().bytes == live && live + large_dirty_bytes() <= peak);
		CHECK(stats().peak_bytes == peak);
		most = large_dirty_bytes() > most ? large_dirty_bytes() : most;
	}
	CHECK(most > 0 && stats().unmap_calls > 0);
}

/* The number of cached mappings is bounded: the oldest are unmapped. */
TEST(kept_ones_are_few)
{
	static char *p[300];

	for (size_t i = 0; i < COUNT_OF(p); i++)
		p[i] = take(MIB);
	for (size_t i = 0; i < COUNT_OF(p); i++)
		give(p[i]);
	CHECK(large_dirty_bytes() > 0 && large_dirty_bytes() <= 64 * MIB);
	CHECK(stats().unmap_calls >= COUNT_OF(p) - 64);
}

TEST(kept_for_a_period)
{
	char *p = take(8 * MIB), *q = take(6 * MIB);

	give(p);
	CHECK(!cache_sweep(1000) && large_dirty_bytes() == 8 * MIB);
	usleep(60000);
	give(q);
	CHECK(large_dirty_bytes() == 14 * MIB);
	CHECK(cache_sweep(40) && large_dirty_bytes() == 6 * MIB);
	CHECK(large_trim() && large_dirty_bytes() == 0);
	CHECK(!large_trim() && !cache_sweep(0));
	CHECK(stats().unmap_calls == 2);
	check_mappings();
}

/* calloc needs zeros, which cached mappings do not have. */
TEST(zeroed_ones_are_new)
{
	char *p = take(4 * MIB), *q;

	memset(p, 1, 4 * MIB);
	give(p);
	q = mapping_alloc(4 * MIB, 4 * MIB, CELL_ALIGN, true);
	CHECK(q && q != p);
	for (size_t i = 0; i < 4 * MIB; i++)
		CHECK(q[i] == 0);
	give(q);
	CHECK(take(4 * MIB - 1));
}

TEST(alignments)
{
	for (size_t align = 16; align <= 256 * MIB; align *= 2) {
		char *p = mapping_alloc(3 * MIB + 1, 3 * MIB + 1, align, false);

		CHECK(p && (uintptr_t)p % align == 0);
		CHECK(stats().bytes == 3 * MIB + 4096); /* its neighbours have been unmapped */
		p[0] = p[3 * MIB] = 1;
		give(p);
		malloc_trim(0);
	}
}

/* Resizing. */

static size_t faults(void)
{
	struct sys_memory memory;

	sys_get_memory(&memory);
	return memory.minor_faults;
}

static char *resize(char *p, size_t size)
{
	char *q = mapping_resize("test", p, size);

	CHECK(q && mapping_usable_size("test", q) >= size && mapping_has(q));
	check_mappings();
	return q;
}

TEST(growing_copies_nothing)
{
	size_t size = 8 * MIB, before;
	char *p = take(size), *other;

	for (size_t at = 0; at < size; at += 4096)
		p[at] = (char)(at >> 12);
	before = faults();
	for (int i = 0; i < 5; i++) {
		other = mmap(p + mapping_usable_size("test", p), 4096, PROT_NONE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); /* perhaps in its way */
		p = resize(p, mapping_usable_size("test", p) * 2);
		munmap(other, 4096);
	}
	CHECK_MSG(faults() - before < 200, "%zu faults", faults() - before);
	for (size_t at = 4096; at < size; at += 4096)
		CHECK(p[at] == (char)(at >> 12));
	CHECK(stats().remap_calls == 5 && stats().count == 1 && stats().map_calls == 1);
	give(p);
}

TEST(growing_in_small_steps_is_seldom)
{
	char *p = malloc(3 * MIB);

	for (size_t size = 3 * MIB; size < 64 * MIB; size += 4096) {
		CHECK(p = realloc(p, size));
		p[size - 1] = 1;
	}
	CHECK_MSG(stats().remap_calls < 60, "%zu calls", stats().remap_calls);
	CHECK(malloc_usable_size(p) <= 64 * MIB / 8 * 9 + 4096);
	free(p);
}

/* What a thread remembers of the mapping that it resized last is up to date. */
TEST(staying_is_known_while_nothing_changes)
{
	size_t size = 8 * MIB, room = 9 * MIB;
	char *p = resize(take(size), size + 1), *q;

	CHECK(mapping_usable_size("test", p) >= room && !large_stays(p, size + 2));
	CHECK(mapping_keeps("test", p, size + 2) && large_stays(p, size + 2));
	CHECK(large_stays(p, room) && !large_stays(p, mapping_usable_size("test", p) + 1));
	CHECK(!large_stays(p, size + 1) && !large_stays(p + 16, size + 2));
	CHECK(realloc(p, room) == p);
	p = resize(p, 20 * MIB);
	CHECK(!large_stays(p, room)); /* it may have moved */
	CHECK(mapping_keeps("test", p, 20 * MIB) && large_stays(p, 20 * MIB));
	give(p);
	q = take(18 * MIB); /* at the same address, but smaller */
	CHECK(!large_stays(p, 20 * MIB) && !large_stays(q, 20 * MIB));
	give(q);
}

/* An object that grew in place in small steps returns memory when it shrinks. */
TEST(shrinking_is_seen_after_growing_in_place)
{
	char *p = take(10 * MIB);

	for (size_t size = 8 * MIB; size <= 10 * MIB; size += 4096)
		CHECK(realloc(p, size) == p);
	CHECK(p = realloc(p, 7 * MIB));
	CHECK(stats().bytes <= 7 * MIB / 100 * 129);
	give(p);
}

TEST(shrinking_gives_back)
{
	char *p = take(20 * MIB);

	p = resize(p, 5 * MIB);
	CHECK(stats().bytes == 5 * MIB && p[0] == 1);
	CHECK((p = realloc(p, 4 * MIB + 1)) && stats().bytes <= 5 * MIB);
	CHECK(p[0] == 1);
	give(p);
}

TEST(beyond_everything)
{
	char *p = take(4 * MIB);

	CHECK(!mapping_alloc(SIZE_MAX, SIZE_MAX, 16, false));
	CHECK(!mapping_alloc((size_t)1 << 46, (size_t)1 << 46, 16, false));
	CHECK(!mapping_alloc(4096, 4096, (size_t)1 << 62, false));
	CHECK(!mapping_resize("test", p, (size_t)1 << 46));
	CHECK(mapping_has(p) && p[0] == 1 && stats().count == 1);
	check_mappings();
	give(p);
}

/* Pointers. */

TEST(pointers_into_and_past_a_mapping)
{
	char *p = malloc(5 * MIB);
	size_t size = malloc_usable_size(p);
	char rest[100];

	snprintf(rest, sizeof(rest), "%zu bytes at %p", size, (void *)p);
	expect_free_report(p + 16, "not the start of a block, but inside one of ", rest);
	expect_free_report(p + 4096, "not the start of a block, but inside one of ", rest);
	expect_free_report(p + size - 1, "not the start of a block, but inside one of ", rest);
	free(p); /* cached */
	expect_free_report(p, "this block is already free", "");
	malloc_trim(0);
	expect_free_report(p, "not a block of this allocator", "");
}
