// SPDX-License-Identifier: BSD-3-Clause
// Needs: libosmem.so

/*
 * free_sized, free_aligned_sized, and sized and aligned delete: sizes and alignments that cannot be
 * true are reported, and right ones never.
 */

#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "harness.h"
#include "misuse.h"
#include "pointers.h"

/* What free_sized and its sisters, and the C++ deletes, are told of a block. */

void *new_plain(size_t size) __asm__("_Znwm");
void *new_aligned(size_t size, size_t align) __asm__("_ZnwmSt11align_val_t");
void delete_sized(void *p, size_t size) __asm__("_ZdlPvm");
void delete_array_sized(void *p, size_t size) __asm__("_ZdaPvm");
void delete_aligned(void *p, size_t align) __asm__("_ZdlPvSt11align_val_t");
void delete_sized_aligned(void *p, size_t size, size_t align) __asm__("_ZdlPvmSt11align_val_t");

struct told {
	void *p;
	size_t size, align;
};

static void told_free(void *arg)
{
	const struct told *t = arg;

	free_sized(t->p, t->size);
}

static void told_free_aligned(void *arg)
{
	const struct told *t = arg;

	free_aligned_sized(t->p, t->align, t->size);
}

static void told_delete(void *arg)
{
	const struct told *t = arg;

	delete_sized(t->p, t->size);
}

static void told_delete_array(void *arg)
{
	const struct told *t = arg;

	delete_array_sized(t->p, t->size);
}

static void told_delete_aligned(void *arg)
{
	const struct told *t = arg;

	delete_aligned(t->p, t->align);
}

static void told_delete_sized_aligned(void *arg)
{
	const struct told *t = arg;

	delete_sized_aligned(t->p, t->size, t->align);
}

static const size_t three_sizes[] = {8, 4096, 262144};

static void expect_wrong_size(const char *call, void (*body)(void *arg), struct told t)
{
	char line[256];

	snprintf(line, sizeof(line),
		 "osmem: %s(0x%lx): not allocated with %lu bytes: this block has %lu", call,
		 (unsigned long)(uintptr_t)t.p, (unsigned long)t.size,
		 (unsigned long)malloc_usable_size(t.p));
	EXPECT_ABORT(body, &t, line);
}

static void expect_wrong_align(const char *call, void (*body)(void *arg), struct told t)
{
	char line[256];

	snprintf(line, sizeof(line),
		 "osmem: %s(0x%lx): not allocated with an alignment of %lu bytes", call,
		 (unsigned long)(uintptr_t)t.p, (unsigned long)t.align);
	EXPECT_ABORT(body, &t, line);
}

/* Wrong for all three: no block is so small, or so large, for size. */
static void wrong_sizes(size_t size, size_t wrong[4])
{
	wrong[0] = 2 * size + 8192;
	wrong[1] = size == 8 ? 100 : size / 10;
	wrong[2] = SIZE_MAX;
	wrong[3] = size == 8 ? SIZE_MAX - 15 : 0;
}

TEST(free_sized_with_a_wrong_size)
{
	size_t wrong[4];

	for (size_t i = 0; i < COUNT_OF(three_sizes); i++) {
		size_t size = three_sizes[i];
		void *p = malloc(size), *q = aligned_alloc(64, size);

		wrong_sizes(size, wrong);
		for (size_t j = 0; j < COUNT_OF(wrong); j++) {
			expect_wrong_size("free_sized", told_free, (struct told){p, wrong[j], 0});
			expect_wrong_size("free_aligned_sized", told_free_aligned,
					  (struct told){q, wrong[j], 64});
		}
		free_sized(p, size);
		free_aligned_sized(q, 64, size);
	}
}

/* There is no realloc for what new has made: a size of another class is wrong. */
TEST(delete_with_a_wrong_size)
{
	size_t wrong[4];

	for (size_t i = 0; i < COUNT_OF(three_sizes); i++) {
		size_t size = three_sizes[i];
		void *p = new_plain(size), *q = new_aligned(size, 64);

		wrong_sizes(size, wrong);
		for (size_t j = 0; j < COUNT_OF(wrong); j++) {
			struct told t = {.p = p, .size = wrong[j]};

			expect_wrong_size("operator delete", told_delete, t);
			expect_wrong_size("operator delete", told_delete_array, t);
			t = (struct told){q, wrong[j], 64};
			expect_wrong_size("operator delete", told_delete_sized_aligned, t);
		}
		delete_sized(p, size);
		delete_sized_aligned(q, size, 64);
	}
	EACH_CELL_SIZE(size)
	{
		void *p = new_plain(size);

		expect_wrong_size("operator delete", told_delete, (struct told){p, size + 1, 0});
		expect_wrong_size("operator delete", told_delete,
				  (struct told){p, size > 1024 ? size * 7 / 8 : size + 16, 0});
		delete_sized(p, size);
	}
}

/* An address may be a multiple of more than was asked for, by chance. */
static size_t more_than_aligned(const void *p)
{
	uintptr_t address = (uintptr_t)p;

	return 2 * (size_t)(address & -address);
}

TEST(delete_with_a_wrong_alignment)
{
	for (size_t i = 0; i < COUNT_OF(three_sizes); i++) {
		size_t size = three_sizes[i];
		struct told t = {.p = new_plain(size), .size = size};

		t.align = more_than_aligned(t.p);
		expect_wrong_align("operator delete", told_delete_aligned, t);
		expect_wrong_align("operator delete", told_delete_sized_aligned, t);
		delete_sized(t.p, size);
		t = (struct told){.p = new_aligned(size, 4096), .size = size};
		t.align = more_than_aligned(t.p);
		expect_wrong_align("operator delete", told_delete_sized_aligned, t);
		if (size == 8) { /* it has a cell of 4096 */
			expect_wrong_size("operator delete", told_delete, t);
			t.align = 16;
			expect_wrong_size("operator delete", told_delete_sized_aligned, t);
		}
		delete_sized_aligned(t.p, size, 4096);
	}
}

/* Bad pointers, under the name of the call that was made. */
TEST(sized_calls_of_bad_pointers)
{
	char on_stack[64] __attribute__((aligned(64))), *p = new_cell(112), line[128];
	struct told t = {.p = on_stack, .size = 50, .align = 16};

	snprintf(line, sizeof(line), "osmem: operator delete(0x%lx): " FOREIGN,
		 (unsigned long)(uintptr_t)on_stack);
	EXPECT_ABORT(told_delete, &t, line);
	EXPECT_ABORT(told_delete_aligned, &t, line);
	EXPECT_ABORT(told_delete_sized_aligned, &t, line);
	free(p);
	t = (struct told){p, 112, 16};
	snprintf(line, sizeof(line), "osmem: operator delete(0x%lx): " ALREADY_FREE,
		 (unsigned long)(uintptr_t)p);
	EXPECT_ABORT(told_delete, &t, line);
	t.size = 500;
	EXPECT_ABORT(told_delete, &t, line);
	EXPECT_ABORT(told_delete_sized_aligned, &t, line);
}

/* No size that a block has been given is wrong, however it came to have it. */
TEST(right_sizes_are_not_reported)
{
	uint32_t random = 1;

	for (int i = 0; i < 20000; i++) {
		size_t size, align;
		void *p;

		random = random * 1664525 + 1013904223;
		size = random >> 12 >> (random >> 27) % 20;
		p = malloc(size);
		for (int j = 0; j < (i & 7); j++) {
			random = random * 1664525 + 1013904223;
			size = size * (random >> 24) / 160 + 1;
			p = realloc(p, size);
		}
		free_sized(p, size);
		align = (size_t)16 << (random >> 29);
		p = aligned_alloc(align, size);
		free_aligned_sized(p, align, size);
		delete_array_sized(new_plain(size), size);
		delete_aligned(new_aligned(size, align), align);
		delete_sized_aligned(new_aligned(size, align), size, align);
	}
}

/* A block of 30000 bytes, shrunk to keep where it cannot move. */
static void *shrunk_in_place(size_t keep)
{
	char *p = malloc(30000), *q;

	CHECK(p);
	limit_addresses(0);
	while (malloc(keep))
		;
	q = realloc(p, keep);
	CHECK(q == p);
	return q;
}

/* Where there is no memory, a realloc that shrinks keeps what it has. */
TEST(right_sizes_without_memory)
{
	free_sized(shrunk_in_place(100), 100);
}
