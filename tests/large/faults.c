// SPDX-License-Identifier: BSD-3-Clause
// Needs: objects, refusals

/*
 * Spans and mappings on their own, with a kernel that refuses any of their calls. A request
 * succeeds or fails with ENOMEM; existing objects stay as they were, and nothing is lost.
 */

#include <errno.h>
#include <malloc.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "harness.h"
#include "large/large.h"
#include "large/large_core.h"
#include "refusals.h"
#include "slab/slab.h"

#define CALLS_MAX 400 /* system calls in a scenario, at most */
#define OBJECTS 90 /* the table grows */

static const size_t sizes[] = {40000, 500000, 2 * MIB, 3 * MIB, 20 * MIB};

static struct {
	unsigned char *p;
	size_t size;
} objects[OBJECTS];

static bool may_fail;

static void check_one(size_t i)
{
	unsigned char *p = objects[i].p;

	CHECK(!p || (p[0] == i && p[objects[i].size - 1] == i));
}

static void set(size_t i, unsigned char *p, size_t size)
{
	objects[i].p = p;
	objects[i].size = size;
	p[0] = p[size - 1] = (unsigned char)i;
}

static void make(size_t i)
{
	size_t size = sizes[i % COUNT_OF(sizes)] + i;
	size_t align = i % 7 ? CELL_ALIGN : (size_t)4096 << i % 12;
	unsigned char *p;

	errno = 0;
	p = large_alloc(size, align, i % 3 == 0);
	if (!p) {
		expect_refusal(may_fail);
		return;
	}
	CHECK((uintptr_t)p % align == 0);
	for (size_t at = 0; i % 3 == 0 && at < size && at < MIB; at += 4096)
		CHECK(p[at] == 0);
	set(i, p, size);
}

/* If it cannot be resized in place, it may be copied; this test does not copy. */
static void resize(size_t i, size_t size)
{
	unsigned char *p;

	if (!objects[i].p)
		return;
	p = large_resize("realloc", objects[i].p, size);
	if (!p) {
		check_one(i);
		return;
	}
	CHECK(p[0] == i && large_usable_size("realloc", p) >= size);
	set(i, p, size);
}

static void drop(size_t i)
{
	check_one(i);
	if (objects[i].p)
		large_free("free", objects[i].p);
	objects[i].p = NULL;
}

static void scenario(void)
{
	for (size_t i = 0; i < OBJECTS; i++)
		make(i);
	for (size_t i = 0; i < OBJECTS; i++)
		resize(i, i % 2 ? objects[i].size * 2 : objects[i].size / 2);
	for (size_t i = 0; i < OBJECTS; i += 2)
		drop(i);
	cache_sweep(0);
	for (size_t i = 0; i < OBJECTS; i += 2)
		make(i);
	for (size_t i = 0; i < OBJECTS; i++)
		drop(i);
	malloc_trim(0);
}

/* Let the calls from first to last fail, of one kind or of all. Returns whether any call failed. */
static bool survives(size_t first, size_t last, unsigned int kinds)
{
	bool is_refused;

	may_fail = true;
	refuse(first, last);
	refuse_only(kinds);
	scenario();
	is_refused = kernel.failures > 0;
	refuse_nothing();
	may_fail = false;
	check_all();
	check_nothing_lost();
	return is_refused;
}

static void refuse_each(size_t step, bool for_ever, unsigned int kinds, size_t least)
{
	size_t n = 1;

	test_timeout(200);
	scenario();
	note_live();
	while (n < CALLS_MAX && survives(n, for_ever ? SIZE_MAX : n, kinds))
		n += step;
	scenario(); /* all of it works again */
	check_nothing_lost();
	CHECK_MSG(n > least && n < CALLS_MAX, "%zu calls", n);
}

TEST(each_call_refused)
{
	refuse_each(1, false, REFUSE_ANY, 40);
}

TEST(all_calls_refused_from_one_on)
{
	refuse_each(2, true, REFUSE_ANY, 20);
}

TEST(all_unmappings_refused_from_one_on)
{
	refuse_each(3, true, REFUSE_MUNMAP, 10);
}

TEST(all_moves_refused_from_one_on)
{
	refuse_each(1, true, REFUSE_MREMAP, 3);
}

TEST(all_purges_refused_from_one_on)
{
	refuse_each(1, true, REFUSE_MADVISE, 1);
}
