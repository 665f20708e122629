// SPDX-License-Identifier: BSD-3-Clause
// Needs: objects

/*
 * block_check() and large_check() after every single step of random sequences, and
 * tcache_check() now and then. That the checkers see what is wrong is shown in the tests of their
 * folders.
 */

#include <errno.h>
#include <malloc.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "block/block_core.h"
#include "cache/tcache.h"
#include "harness.h"
#include "large/large.h"
#include "large/large_core.h"
#include "osmem.h"

/* Random numbers, the same in every run. */

static uint64_t random_state = 1;

static void check_heap(void)
{
	const char *fault = block_check();

	if (!fault)
		fault = large_check();
	CHECK_MSG(!fault, "%s", fault);
}

static void check_cells(void)
{
	const char *fault = tcache_check();

	CHECK_MSG(!fault, "%s", fault);
}

/* Random sequences. Every block is full of a byte of its own. */

struct slot {
	unsigned char *p;
	size_t size;
	unsigned char byte;
};

struct profile {
	size_t slots;
	size_t small; /* most sizes are 1 to this */
	size_t large; /* one in 16 is up to this */
	size_t steps;
};

static size_t random_size(const struct profile *profile)
{
	return 1 + random_below(&random_state,
				one_in(&random_state, 16) ? profile->large : profile->small);
}

static void check_contents(const struct slot *s, size_t size)
{
	for (size_t i = 0; i < size; i++)
		CHECK(s->p[i] == s->byte);
}

static void fill_slot(struct slot *s, void *p, size_t size)
{
	CHECK(p);
	s->p = p;
	s->size = size;
	s->byte = (unsigned char)random_below(&random_state, 256);
	memset(p, s->byte, size);
}

static void check_zeroed(const unsigned char *p, size_t size)
{
	CHECK(p);
	for (size_t i = 0; i < size; i++)
		CHECK(p[i] == 0);
}

static void *os_new(size_t size)
{
	void *p;

	if (!one_in(&random_state, 4))
		return os_malloc(size);
	p = os_calloc(1, size);
	check_zeroed(p, size);
	return p;
}

static void *libc_new(size_t size)
{
	void *p;

	switch (random_below(&random_state, 8)) {
	case 0:
	case 1:
		p = calloc(size, 1);
		check_zeroed(p, size);
		return p;
	case 2:
		return memalign((size_t)16 << random_below(&random_state, 10), size);
	default:
		return malloc(size);
	}
}

/* Spans and mappings by themselves, also where the C library's names have cells. */

static void *large_new(size_t size)
{
	bool zero = one_in(&random_state, 4);
	size_t align = one_in(&random_state, 8) ? (size_t)16 << random_below(&random_state, 10)
						: CELL_ALIGN;
	void *p = large_alloc(size, align, zero);

	CHECK((uintptr_t)p % align == 0);
	if (zero)
		check_zeroed(p, size);
	return p;
}

static void large_drop(void *p)
{
	if (p)
		large_free("free", p);
}

/* What is not resized in its place, or moved without a copy, is copied. */
static void *large_renew(void *p, size_t size)
{
	void *q = large_resize("realloc", p, size);
	size_t old;

	if (q)
		return q;
	old = large_usable_size("realloc", p);
	q = one_in(&random_state, 2) ? large_alloc_growing(size)
				     : large_alloc(size, CELL_ALIGN, false);
	CHECK(q);
	memcpy(q, p, old < size ? old : size);
	large_drop(p);
	return q;
}

struct family {
	void *(*alloc)(size_t size);
	void *(*realloc)(void *p, size_t size);
	void (*free)(void *p);
};

static const struct family os = {.alloc = os_new, .realloc = os_realloc, .free = os_free};
static const struct family libc = {.alloc = libc_new, .realloc = realloc, .free = free};
static const struct family spans = {.alloc = large_new, .realloc = large_renew, .free = large_drop};

static void resize_slot(const struct family *f, struct slot *s, size_t size)
{
	s->p = f->realloc(s->p, size);
	CHECK(s->p);
	check_contents(s, s->size < size ? s->size : size);
	fill_slot(s, s->p, size);
}

static void step(const struct family *f, struct slot *s, const struct profile *profile)
{
	if (!s->p) {
		size_t size = random_size(profile);

		fill_slot(s, f->alloc(size), size);
	} else if (one_in(&random_state, 3)) {
		resize_slot(f, s, random_size(profile));
	} else {
		check_contents(s, s->size);
		f->free(s->p);
		s->p = NULL;
	}
}

#define SLOTS_MAX 4096
static struct slot slots[SLOTS_MAX];

/* Also calls extra(i) before step i. */
static void run(const struct family *f, const struct profile *profile, void (*extra)(size_t i))
{
	for (size_t i = 0; i < profile->steps; i++) {
		if (extra)
			extra(i);
		step(f, &slots[random_below(&random_state, profile->slots)], profile);
		check_heap();
		if (i % 64 == 0)
			check_cells();
	}
	for (size_t i = 0; i < profile->slots; i++) {
		f->free(slots[i].p);
		slots[i].p = NULL;
	}
	check_heap();
	check_cells();
}

static const struct profile tiny = {.slots = 300, .small = 24, .large = 64, .steps = 40000};
static const struct profile small = {.slots = 300, .small = 300, .large = 2000, .steps = 40000};
static const struct profile medium = {.slots = 200, .small = 3000, .large = 40000, .steps = 20000};
static const struct profile large = {.slots = 60, .small = 30000, .large = 400000, .steps = 4000};
static const struct profile mixed = {.slots = 400, .small = 100, .large = 300000, .steps = 20000};

static const struct profile *const profiles[] = {&tiny, &small, &medium, &large, &mixed};

TEST(random_os)
{
	for (size_t i = 0; i < COUNT_OF(profiles); i++)
		run(&os, profiles[i], NULL);
}

TEST(random_libc)
{
	for (size_t i = 0; i < COUNT_OF(profiles); i++)
		run(&libc, profiles[i], NULL);
}

static void other_family(size_t i)
{
	static struct slot s;

	step(i % 64 < 32 ? &libc : &os, &s, &small);
	if (i % 64 == 31 || i % 64 == 63) {
		(i % 64 == 31 ? free : os_free)(s.p);
		s.p = NULL;
	}
}

TEST(random_large)
{
	for (size_t i = 0; i < COUNT_OF(profiles); i++)
		run(&spans, profiles[i], NULL);
}

TEST(random_both_families)
{
	run(&os, &small, other_family);
	run(&libc, &medium, other_family);
}

/* A program that moves the break: each time, the heap goes on in another region. */
static void move_break(size_t i)
{
	if (i % 100 == 50)
		CHECK(sbrk((intptr_t)(1 + random_below(&random_state, 5000))) != (void *)-1);
}

TEST(random_os_while_the_break_moves)
{
	struct osmem_heap_stats stats;

	run(&os, &medium, move_break);
	run(&os, &small, move_break);
	block_get_stats(&stats);
	CHECK_MSG(stats.regions > 10, "%lu regions", (unsigned long)stats.regions);
}

static void trim_now_and_then(size_t i)
{
	if (i % 50 == 25)
		malloc_trim(0);
	if (i % 1000 == 999)
		usleep(2000);
}

TEST(random_libc_with_trims)
{
	mallopt(M_TRIM_THRESHOLD, 1);
	run(&libc, &medium, trim_now_and_then);
	run(&spans, &medium, trim_now_and_then);
	run(&libc, &large, trim_now_and_then);
}

static void allocate_mapping(size_t i)
{
	static void *p;

	if (i % 200 == 0) {
		free(p);
		p = malloc(20 * MIB - random_below(&random_state, 4 * MIB));
		CHECK(p);
	}
	if (i % 400 == 399)
		malloc_trim(0);
	if (i % 1000 == 999)
		cache_sweep(random_below(&random_state, 20));
}

/* From a low threshold on everything is a mapping. */
TEST(random_libc_with_mappings_that_come_and_go)
{
	run(&libc, &mixed, allocate_mapping);
	mallopt(M_MMAP_THRESHOLD, 64 * KIB);
	run(&libc, &mixed, allocate_mapping);
	large_set_threshold(0);
	run(&spans, &medium, allocate_mapping);
}

/* Trees of thousands of nodes, freed in random order, then used up again. */
static void large_tree(const struct family *f, size_t size, size_t spread)
{
	static void *p[20000];
	size_t n = COUNT_OF(p);

	for (size_t i = 0; i < n; i++)
		CHECK((p[i] = f->alloc(size + random_below(&random_state, spread + 1))));
	for (size_t i = 0; i < n; i += 2) {
		size_t j = random_below(&random_state, n) & ~(size_t)1;
		void *victim = p[i];

		p[i] = p[j];
		p[j] = victim;
	}
	for (size_t i = 0; i < n; i += 2)
		f->free(p[i]);
	check_heap();
	for (size_t i = 0; i < n; i += 2) {
		CHECK((p[i] = f->alloc(size + random_below(&random_state, spread + 1))));
		if (i % 256 == 0)
			check_heap();
	}
	for (size_t i = 0; i < n; i++)
		f->free(p[i]);
	CHECK(f->alloc(40000));
	check_heap();
}

TEST(large_trees)
{
	large_tree(&os, 1, 0);
	large_tree(&os, 64, 0);
	large_tree(&os, 1, 1000);
	large_tree(&os, 1100, 2000);
	large_tree(&spans, 64, 0);
	large_tree(&spans, 1100, 2000);
}
