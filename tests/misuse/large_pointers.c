// SPDX-License-Identifier: BSD-3-Clause
// Needs: libosmem.so

/* Pointers into, before and behind large objects, and sizes that cannot be true of them. */

#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "harness.h"
#include "misuse_large.h"
#include "osmem.h"
#include "pointers.h"

#define UNALIGNED "not a block: not aligned to 16 bytes"

/* Pointers into objects and beside them. */

/* Whether they are aligned or not. */
static void expect_interior(char *p, const char *kind, size_t size)
{
	const size_t at[] = {1,	   8,	  16,	    17,		 32,	    64,	      PAGE - 1,
			     PAGE, 32768, size / 2, size - PAGE, size - 16, size - 8, size - 1};

	for (size_t i = 0; i < COUNT_OF(at); i++)
		expect_inside(&libc, p + at[i], kind, p, size);
	for (size_t i = SLOT; i < size; i += i)
		expect_inside(&libc, p + i, kind, p, size);
}

TEST(span_interior)
{
	never_sweep();
	for (size_t i = 0; i < COUNT_OF(span_sizes); i++) {
		size_t size = span_sizes[i];
		char *p = new_object(size);

		expect_interior(p, "one", size);
		CHECK(p[0] == 'a' && p[size - 1] == 'a');
		free(p);
		if (size <= KEPT_MAX) {
			expect_interior(p, "a free one", size);
			continue;
		}
		expect_memory_free(p + 1);
		expect_memory_free(p + PAGE);
		expect_memory_free(p + size - 1);
	}
}

/* What asks for a smaller one has all pages of its class. */
TEST(span_interior_behind_what_was_asked_for)
{
	static const size_t asked[] = {CELL_MAX + 1, 70000, 100000, 1000000};

	for (size_t i = 0; i < COUNT_OF(asked); i++) {
		char *p = malloc(asked[i]);
		size_t size = malloc_usable_size(p);

		CHECK(size >= asked[i]);
		expect_inside(&libc, p + asked[i], "one", p, size);
		expect_inside(&libc, p + size - 1, "one", p, size);
	}
}

TEST(span_with_an_alignment)
{
	for (size_t align = 64 * KIB; align <= MIB; align *= 2) {
		char *p = aligned_alloc(align, align);
		size_t size = malloc_usable_size(p);

		CHECK((uintptr_t)p % align == 0 && size >= align);
		expect_inside(&libc, p + 16, "one", p, size);
		expect_inside(&libc, p + align - PAGE, "one", p, size);
	}
}

TEST(mapping_interior)
{
	char *p = new_object(MAPPED);

	never_sweep();
	expect_interior(p, "one", MAPPED);
	free(p);
	expect_interior(p, "a free one", MAPPED);
}

/* Of a program that keeps pointers to what it thinks is a header. */
TEST(span_near)
{
	static const size_t near[] = {1, 8, 16, 17, 32, 4096};
	char *p[3];

	never_sweep();
	new_row(p, COUNT_OF(p), 16 * PAGE);
	for (size_t i = 0; i < COUNT_OF(near); i++) {
		expect_inside(&libc, p[1] - near[i], "one", p[0], 16 * PAGE);
		expect_inside(&libc, p[1] + near[i], "one", p[1], 16 * PAGE);
	}
	free(p[0]);
	for (size_t i = 0; i < COUNT_OF(near); i++)
		expect_inside(&libc, p[1] - near[i], "a free one", p[0], 16 * PAGE);
	free(p[1]);
	expect_all(&libc, p[1], false, ALREADY_FREE);
	for (size_t i = 0; i < COUNT_OF(near); i++) {
		expect_inside(&libc, p[1] - near[i], "a free one", p[0], 16 * PAGE);
		expect_inside(&libc, p[1] + near[i], "a free one", p[1], 16 * PAGE);
	}
}

static void expect_nothing_at(char *p)
{
	expect_all(&libc, p, false, (uintptr_t)p % 16 ? UNALIGNED : FOREIGN);
}

TEST(mapping_near)
{
	static const size_t near[] = {1, 8, 16, 17, 32, 4096};
	char *p = new_object(MAPPED);

	for (size_t i = 0; i < COUNT_OF(near); i++) {
		expect_nothing_at(p - near[i]);
		expect_nothing_at(p + MAPPED + near[i]);
	}
	expect_nothing_at(p + MAPPED);
}

/* Behind the last one of a segment's pages that were ever in use. */
TEST(span_beyond_the_end)
{
	static const size_t beyond[] = {0, 1, 8, 16, 4096, 65536};
	char *p[4], *end;

	new_row(p, COUNT_OF(p), 128 * KIB);
	end = p[3] + 128 * KIB;
	for (size_t i = 0; i < COUNT_OF(beyond); i++)
		expect_nothing_at(end + beyond[i]);
}

/* The library's own memory, where it notes what spans there are. */
TEST(span_header_of_its_segment)
{
	static const size_t at[] = {
		0, 1, 16, 4096, SPAN_WORDS, SPAN_WORDS + 8, SPAN_WORDS + 2048, 65535};
	char *p = new_object(9 * PAGE);
	char *segment = (char *)((uintptr_t)p & ~(SEGMENT - 1));

	for (size_t i = 0; i < COUNT_OF(at); i++)
		expect_nothing_at(segment + at[i]);
}

/* Both families. */

static void expect_strange(char *p, size_t size)
{
	const size_t at[] = {0, 8, 16, PAGE, size - PAGE, size - 8};

	for (size_t i = 0; i < COUNT_OF(at); i++)
		expect_all(&course, p + at[i], false, "a block of malloc, not of os_malloc");
	expect_all(&course, p + 1, false, "not a block: not aligned to 8 bytes");
}

TEST(objects_in_os_free)
{
	static const size_t sizes[] = {9 * PAGE, KEPT_MAX, 3 * MIB / 2, MAPPED};

	never_sweep();
	for (int round = 0; round < 2; round++) {
		for (size_t i = 0; i < COUNT_OF(sizes); i++) {
			char *p = new_object(sizes[i]);

			expect_strange(p, sizes[i]);
			free(p);
			if (sizes[i] <= KEPT_MAX || sizes[i] == MAPPED)
				expect_strange(p, sizes[i]);
			else
				expect_all(&course, p, false, FOREIGN);
			malloc_trim(0);
			expect_all(&course, p, false, FOREIGN);
		}
		CHECK(os_malloc(100) && os_malloc(MIB));
	}
}

/* The sized calls, and the deletes, by their own names. */

void delete_sized(void *p, size_t size) __asm__("_ZdlPvm");

static void delete_it(void *p)
{
	delete_sized(p, 9 * PAGE);
}

static const struct call delete = {.name = "operator delete", .run = delete_it};

TEST(deletes_of_bad_pointers)
{
	char *p = new_object(9 * PAGE), what[128];

	never_sweep();
	snprintf(what, sizeof(what), "not the start of a block, but inside one of %zu bytes at %p",
		 9 * PAGE, (void *)p);
	expect_line(&delete, p + 16, what);
	free(p);
	expect_line(&delete, p, ALREADY_FREE);
	malloc_trim(0);
	expect_line(&delete, p, FOREIGN);
}

static size_t told_size;

static void free_sized_as_told(void *p)
{
	free_sized(p, told_size);
}

static void free_aligned_sized_as_told(void *p)
{
	free_aligned_sized(p, 16, told_size);
}

/* All that has a size that no object of it can have been asked for. */
TEST(wrong_sizes)
{
	static const struct call told[] = {
		{.name = "free_sized", .run = free_sized_as_told},
		{.name = "free_aligned_sized", .run = free_aligned_sized_as_told},
	};
	static const size_t sizes[] = {9 * PAGE, 128 * KIB, SPAN_MAX, MAPPED};

	for (size_t i = 0; i < COUNT_OF(sizes); i++) {
		const size_t wrong[] = {0, sizes[i] / 2 - PAGE - 1, sizes[i] + 1, SIZE_MAX};
		char *p = new_object(sizes[i]), what[128];

		for (size_t k = 0; k < 2 * COUNT_OF(wrong); k++) {
			told_size = wrong[k / 2];
			snprintf(what, sizeof(what),
				 "not allocated with %zu bytes: this block has %zu", told_size,
				 sizes[i]);
			expect_line(&told[k % 2], p, what);
		}
		free_sized(p, sizes[i]);
	}
}
