// SPDX-License-Identifier: BSD-3-Clause
// Needs: objects, refusals

/* OSMEM_OPTIONS=hardened from inside: large objects, their guards, and when they are used again. */

#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "broken.h"
#include "cache/tcache.h"
#include "hardened_inside.h"
#include "harness.h"
#include "large/large.h"
#include "large/large_core.h"
#include "refusals.h"
#include "slab/slab.h"

/* Large objects: spans up to SPAN_MAX, mappings above. */

static void free_it(void *p)
{
	free(p);
}

static void write_into(void *p)
{
	*(volatile char *)p = 1;
}

static void read_from(void *p)
{
	(void)*(volatile char *)p;
}

static void expect_segv(void (*touch)(void *p), void *p)
{
	char err[256];
	int status = test_in_child(touch, p, err, sizeof(err));

	CHECK_MSG(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV, "status %#x", status);
}

static void expect_abort(void (*body)(void *p), void *p, const char *what)
{
	char err[256];
	int status = test_in_child(body, p, err, sizeof(err));

	CHECK_MSG(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT && strstr(err, what),
		  "status %#x, %s", status, err);
}

static const size_t large_sizes[] = {32768,  40000,   65536,   100001,
				     262144, 2093056, 2 * MIB, 9 * MIB};

/* Whatever their size and alignment, they end where a guard begins, or less than that before. */
TEST(large_objects_end_at_guards)
{
	for (size_t i = 0; i < COUNT_OF(large_sizes); i++)
		for (size_t align = 16; align <= 4096; align *= 4) {
			size_t size = large_sizes[i];
			char *p = memalign(align, size), *guard, *volatile before;

			CHECK(p && (uintptr_t)p % align == 0 && malloc_usable_size(p) == size);
			guard = p + ((size + align - 1) & ~(align - 1));
			CHECK(((uintptr_t)guard & 4095) == 0);
			memset(p, 1, size);
			expect_segv(write_into, guard);
			expect_segv(read_from, guard + 4095);
			if (size > SPAN_MAX)
				expect_segv(read_from, (char *)((uintptr_t)p & ~4095ul) - 1);
			for (char *at = p + size; at < guard; at++) {
				*at ^= 1;
				if (at - p - size < 64)
					expect_abort(free_it, p, "memory behind this block of");
				*at ^= 1;
				at += (guard - at) / 7;
			}
			before = p - 1;
			if ((uintptr_t)p % 4096) {
				*before ^= 1;
				expect_abort(free_it, p, "memory before this block is");
				*before ^= 1;
			} else if (size > MIB / 2) {
				expect_segv(read_from, before);
			}
			free(p);
			check_all();
		}
}

TEST(freed_large_objects_are_inaccessible)
{
	for (size_t i = 0; i < COUNT_OF(large_sizes); i++) {
		char *p = malloc(large_sizes[i]);

		CHECK(p);
		memset(p, 1, large_sizes[i]);
		free(p);
		for (size_t at = 0; at < large_sizes[i]; at += large_sizes[i] / 5) {
			expect_segv(read_from, p + at);
			expect_segv(write_into, p + at);
		}
		expect_segv(read_from, p + large_sizes[i] - 1);
		expect_abort(free_it, p, "this block is already free");
		CHECK(mprotect((void *)((uintptr_t)p & ~4095ul), large_sizes[i], PROT_READ) == 0);
		for (size_t at = 0; at < large_sizes[i]; at++)
			CHECK(p[at] == 0);
	}
}

#define LATE 16 /* as many others are freed before it is used again */

TEST(large_objects_are_used_again_late)
{
	slab_sweep_period_ms = 3600000; /* where one was unmapped the next may be mapped */
	for (size_t i = 0; i < COUNT_OF(large_sizes); i++) {
		size_t size = large_sizes[i], frees = 0;
		char *p = malloc(size), *q, *others[LATE + 4];

		for (size_t j = 0; j < COUNT_OF(others); j++)
			CHECK(others[j] = malloc(size)); /* so much may be kept */
		for (size_t j = 0; j < COUNT_OF(others); j++)
			free(others[j]);
		CHECK(p);
		free(p);
		do {
			q = malloc(size);
			CHECK(q);
			for (size_t at = 0; at < size; at += 4096)
				CHECK(q[at] == 0);
			memset(q, 1, size);
			free(q);
		} while (q != p && ++frees < 200);
		CHECK_MSG(frees >= LATE, "%zu bytes: again after %zu", size, frees);
		malloc_trim(0);
		check_all();
	}
}

static size_t page_faults(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return (size_t)usage.ru_minflt;
}

static char *filled(size_t size)
{
	char *p = malloc(size);

	CHECK(p);
	return memset(p, 1, size);
}

/* Addresses are used again late, pages at once: of equal objects, smaller ones, growing ones. */
TEST(pages_are_used_again_at_once)
{
	size_t before;
	char *p;

	slab_sweep_period_ms = 3600000;
	free(filled(4 * MIB));
	before = page_faults();
	for (size_t i = 1; i <= 100; i++) {
		free(filled(4 * MIB));
		free(filled(4 * MIB - i * 4096));
		free(filled(100000 + i * 1000));
		p = realloc(filled(100000), 200000);
		CHECK(p);
		free(memset(p, 1, 200000));
	}
	CHECK_MSG(page_faults() - before < 25000, "%zu page faults", page_faults() - before);
	check_all();
}

static bool can_be_read(const char *p)
{
	int ends[2];
	ssize_t written;

	CHECK(pipe(ends) == 0);
	written = write(ends[1], p, 1);
	close(ends[0]);
	close(ends[1]);
	return written == 1;
}

/* The next page behind p that cannot be read. */
static const char *guard_behind(const char *p)
{
	while (can_be_read(p))
		p += 4096;
	return p;
}

/*
 * What grows by and by takes kept pages along. They are inaccessible behind half as much again, in
 * sizes that are an eighth apart.
 */
TEST(growing_objects_use_pages_again)
{
	size_t before = 0;
	char *p;

	slab_sweep_period_ms = 3600000;
	for (size_t i = 0; i < 12; i++) {
		if (i == 6) /* by now there are pages of all sizes */
			before = page_faults();
		p = filled(40000);
		for (size_t size = 44000; size < 4 * MIB; size += 4000) {
			CHECK(p = realloc(p, size));
			CHECK(p[size - 4000 - 1] == 1);
			memset(p + size - 4000, 1, 4000);
			if (i == 0 && size % 100000 == 0)
				CHECK(guard_behind(p + size) <= p + size / 16 * 27 + 4096);
		}
		check_all();
		free(p);
		check_all();
	}
	CHECK_MSG(page_faults() - before < 1000, "%zu page faults", page_faults() - before);
}

/* After that time, too, until something else is mapped there. */
static void trim_and_write(void *p)
{
	large_trim();
	write_into((char *)p + 5000);
}

TEST(writes_to_pages_that_went_back)
{
	char *p = malloc(100000);

	CHECK(p && malloc(100000));
	free(p);
	expect_segv(trim_and_write, p);
}

/* Beyond the last guard, a freed block's pages may be anybody's when it has waited. */
static void write_and_allocate(void *p)
{
	large_trim();
	write_into((char *)p + 5000);
	for (int i = 0; i < 50; i++)
		CHECK(malloc(100000));
}

TEST(writes_to_free_pages)
{
	char *p;

	for (int i = 0; i < 5000; i++)
		CHECK(malloc(33000));
	p = malloc(100000);
	CHECK(p && malloc(100000));
	free(p);
	expect_segv(read_from, p);
	expect_abort(write_and_allocate, p, "this free block was written to");
}

static size_t count_mappings(void)
{
	static char text[1 << 20];
	size_t n = 0, lines = 0;
	int fd = open("/proc/self/maps", O_RDONLY);
	ssize_t got;

	CHECK(fd >= 0);
	while ((got = read(fd, text, sizeof(text))) > 0)
		for (n = 0; n < (size_t)got; n++)
			lines += text[n] == '\n';
	close(fd);
	return lines;
}

/* Each guard costs the process two mappings, of which it has 65,530. */
TEST(guards_are_bounded)
{
	enum {
		COUNT = 20000
	};
	static char *p[COUNT];

	for (size_t i = 0; i < COUNT; i++) {
		CHECK(p[i] = malloc(33000));
		p[i][0] = p[i][32999] = 1;
	}
	CHECK_MSG(count_mappings() < 20000, "%zu mappings", count_mappings());
	CHECK(count_mappings() > 8000);
	expect_segv(read_from, p[0] + 33000 + 8);
	for (size_t i = 0; i < COUNT; i++) {
		if (i % 1000 == 999)
			expect_abort(free_it, (p[i][33000] ^= 1, p[i]), "behind this block");
		p[i][33000] ^= i % 1000 == 999;
		free(p[i]);
	}
	malloc_trim(0);
	CHECK_MSG(count_mappings() < 300, "%zu mappings", count_mappings());
	p[0] = malloc(33000);
	expect_segv(read_from, p[0] + 33000 + 8); /* there are guards again */
	check_all();
}
