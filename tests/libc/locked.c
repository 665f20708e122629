// SPDX-License-Identifier: BSD-3-Clause
// Needs: libosmem.so

/*
 * Pages that the program has locked with mlock() and then freed: the kernel does not take them
 * back, nor a range that they are in. Only they may stay.
 */

#include "libc_common.h"

#include <errno.h>
#include <malloc.h>
#include <sys/mman.h>

#define PEAK (96 * MIB)
#define OBJECTS_MAX (PEAK / 1000)
#define SECONDS_LIGHT 3 /* of activity, until the memory must be gone */
#define STAYS_MAX (4 * MIB) /* of it, and live objects */

static char *objects[OBJECTS_MAX];

/* Objects of size bytes, PEAK bytes in all, written to. */
static size_t make_peak(size_t size)
{
	size_t n = PEAK / size;

	for (size_t i = 0; i < n; i++) {
		objects[i] = malloc(size);
		CHECK(objects[i]);
		memset(objects[i], 1, size);
	}
	return n;
}

/* All but one of every kept: 0 is none. */
static void free_peak(size_t n, size_t kept)
{
	for (size_t i = 0; i < n; i++)
		if (!kept || i % kept)
			free(objects[i]);
}

static void lock_page_of(char *p)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *start = (char *)(((uintptr_t)p + page - 1) & ~(uintptr_t)(page - 1));

	if (mlock(start, page) < 0)
		test_skip("no page can be locked: errno %d", errno);
}

static void lock_pages(size_t n, size_t locked)
{
	for (size_t i = 0; i < locked; i++)
		lock_page_of(objects[n / 2 + i * (n / 2 / locked) + 1]);
}

static void be_active(size_t size, double time)
{
	for (double end = seconds() + time; seconds() < end; sleep_ms(1))
		for (int i = 0; i < 20; i++)
			free(malloc(size));
}

/*
 * Pages here and there are locked in a first peak, of which a bit of every MiB stays; then a second
 * one comes and goes.
 */
static void check_peak(size_t size, size_t locked)
{
	size_t before, n, after;

	free(malloc(size));
	before = resident_bytes();
	n = make_peak(size);
	lock_pages(n, locked);
	free_peak(n, size < MIB / 50 ? MIB / size : 50);
	be_active(size, 1);
	free_peak(make_peak(size), 0);
	be_active(64, SECONDS_LIGHT);
	after = resident_bytes();
	CHECK_MSG(after < before + STAYS_MAX, "%zu of %zu MiB stay, of objects of %zu bytes",
		  (after - before) / MIB, PEAK / MIB, size);
}

TEST(a_locked_page_hides_no_small_objects)
{
	test_needs_small_pages();
	check_peak(1000, 1);
}

TEST(locked_pages_hide_no_small_objects)
{
	test_needs_small_pages();
	check_peak(4000, 10);
}

TEST(a_locked_page_hides_no_medium_objects)
{
	test_needs_small_pages();
	check_peak(20000, 1);
}

TEST(a_locked_page_hides_no_large_objects)
{
	check_peak(60000, 1);
}

TEST(locked_pages_hide_no_larger_objects)
{
	check_peak(300000, 4);
}

/* A trim takes all but the locked pages, too. */
TEST(locked_pages_alone_are_not_trimmed)
{
	size_t before, n;

	test_needs_small_pages();
	free(malloc(1000));
	malloc_trim(0);
	before = resident_bytes();
	n = make_peak(1000);
	lock_pages(n, 10);
	free_peak(n, 4 * MIB / 1000);
	malloc_trim(0);
	CHECK_MSG(resident_bytes() < before + STAYS_MAX, "%zu KiB stay",
		  (resident_bytes() - before) / KIB);
}

/* Between live objects, too: a page of every slab is in use. */
TEST(a_locked_page_hides_no_sparse_slabs)
{
	size_t before, n, after;

	test_needs_small_pages();
	before = resident_bytes();
	n = make_peak(1000);
	lock_pages(n, 1);
	free_peak(n, 64);
	be_active(64, SECONDS_LIGHT);
	after = resident_bytes();
	CHECK_MSG(after < before + PEAK / 4, "%zu of %zu MiB stay", (after - before) / MIB,
		  PEAK / MIB);
}
