// SPDX-License-Identifier: BSD-3-Clause

/*
 * Random calls of os_*, large_* and tcache_*, with the checkers called after each or now and then,
 * for builds without the C library's names, which leave malloc to a sanitizer, and for valgrind.
 * Exit status 0, or 1 with one line on standard error.
 *
 *	random [STEPS]
 */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "block/block.h"
#include "cache/tcache.h"
#include "common.h"
#include "large/large.h"
#include "large/large_core.h"
#include "osmem.h"

#define SLOTS 200
#define DEFAULT_STEPS 15000

enum kind {
	COURSE,
	LARGE,
	CELLS,
	KINDS,
};

struct slot {
	unsigned char *p;
	size_t size;
	unsigned char byte;
	enum kind kind;
};

static struct slot slots[SLOTS];
static uint64_t random_state = 88172645463325252u;

static void fail(const char *what)
{
	fprintf(stderr, "%s\n", what);
	exit(1);
}

static size_t random_size(void)
{
	static const size_t limits[] = {16, 64, 64, 600, 600, 5000, 40000, 300000, 5000000};

	return 1 +
	       random_below(
		       &random_state,
		       limits[random_below(&random_state, random_below(&random_state, 8) ? 7 : 9)]);
}

static void check_bytes(const unsigned char *p, size_t size, unsigned char byte)
{
	for (size_t i = 0; i < size; i += i < 64 ? 1 : 31)
		if (p[i] != byte)
			fail("a block's contents have changed");
}

static void fill(struct slot *s, size_t size)
{
	if (!s->p)
		fail("out of memory");
	s->size = size;
	s->byte = (unsigned char)random_below(&random_state, 256);
	memset(s->p, s->byte, size);
}

static void get(struct slot *s)
{
	size_t size = random_size();
	bool zero = random_below(&random_state, 3) == 0;

	s->kind = (enum kind)random_below(&random_state, KINDS);
	if (s->kind == COURSE)
		s->p = zero ? os_calloc(1, size) : os_malloc(size);
	else if (s->kind == LARGE)
		s->p = large_alloc(size, (size_t)1 << random_below(&random_state, 18), zero);
	else if (zero)
		s->p = tcache_alloc_zeroed(size);
	else if (random_below(&random_state, 2))
		s->p = tcache_alloc_aligned(size, (size_t)1 << random_below(&random_state, 14));
	else
		s->p = tcache_alloc(size);
	if (zero && s->p)
		check_bytes(s->p, size, 0);
	fill(s, size);
}

/* Where it is not resized in its place, it is copied. */
static void *resize_large(void *p, size_t size)
{
	void *q = large_resize("realloc", p, size);
	size_t old;

	if (q)
		return q;
	old = large_usable_size("realloc", p);
	q = large_alloc_growing(size);
	if (!q)
		fail("out of memory");
	memcpy(q, p, old < size ? old : size);
	large_free("free", p);
	return q;
}

static void resize(struct slot *s)
{
	size_t size = random_size();

	if (s->kind == COURSE)
		s->p = os_realloc(s->p, size);
	else if (s->kind == LARGE)
		s->p = resize_large(s->p, size);
	else
		s->p = tcache_realloc("realloc", s->p, size);
	if (!s->p)
		fail("out of memory");
	check_bytes(s->p, size < s->size ? size : s->size, s->byte);
	fill(s, size);
}

static void give_back(struct slot *s)
{
	check_bytes(s->p, s->size, s->byte);
	if (s->kind == COURSE)
		os_free(s->p);
	else if (s->kind == LARGE)
		large_free("free", s->p);
	else
		tcache_free("free", s->p);
	s->p = NULL;
}

static void step(struct slot *s)
{
	const char *fault;

	if (!s->p)
		get(s);
	else if (random_below(&random_state, 3) == 0)
		resize(s);
	else
		give_back(s);
	if (random_below(&random_state, 500) == 0)
		tcache_trim();
	fault = block_check();
	if (!fault)
		fault = large_check();
	if (!fault && random_below(&random_state, 32) == 0)
		fault = tcache_check();
	if (fault)
		fail(fault);
}

/* The very first objects: a mapping, then one that makes the first segment. */
static void start_with_a_mapping(void)
{
	struct slot first = {.p = large_alloc(4 << 20, 16, false), .kind = LARGE};
	struct slot second = {.p = large_alloc(10, 16, false), .kind = LARGE};

	fill(&first, 4 << 20);
	fill(&second, 10);
	give_back(&first);
	give_back(&second);
}

int main(int argc, char **argv)
{
	long steps = argc > 1 ? atol(argv[1]) : DEFAULT_STEPS;

	start_with_a_mapping();
	while (steps-- > 0)
		step(&slots[random_below(&random_state, SLOTS)]);
	for (int i = 0; i < SLOTS; i++)
		if (slots[i].p)
			give_back(&slots[i]);
	return 0;
}
