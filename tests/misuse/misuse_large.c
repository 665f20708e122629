// SPDX-License-Identifier: BSD-3-Clause
// Needs: libosmem.so

/*
 * Pointers that are no live payloads, as in misuse.c, of what malloc gives above CELL_MAX: up to
 * SPAN_MAX a span, pages of a segment; above, a mapping. None has a header, so no write beside one
 * or into a free one leads the library anywhere. A free one may be kept, by the thread or for the
 * next mapping of its size; or its pages are free, with the process or the kernel.
 */

#include <errno.h>
#include <limits.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "osmem.h"
#include "pointers.h"

#define PAGE ((size_t)4096)
#define SPAN_MAX (2 * MIB)
#define SEGMENT (4 * MIB)
#define SLOT ((size_t)65536)
#define MAPPED (5 * MIB)

#define MEMORY_FREE "this memory is already free"
#define UNALIGNED "not a block: not aligned to 16 bytes"

/* Sizes of whole spans; a thread keeps some of those up to KEPT_MAX. */
#define KEPT_MAX (512 * KIB)

static const size_t span_sizes[] = {9 * PAGE, 16 * PAGE,   20 * PAGE, 128 * KIB,
				    KEPT_MAX, 3 * MIB / 2, SPAN_MAX};

/* No sweep comes in between, which would give to the kernel what is free. */
static void never_sweep(void)
{
	CHECK(mallopt(M_TRIM_THRESHOLD, INT_MAX));
}

static char *new_object(size_t size)
{
	char *p = malloc(size);

	CHECK_MSG(p && malloc_usable_size(p) == size, "%zu bytes: %p", size, (void *)p);
	memset(p, 'a', size);
	return p;
}

/* n spans side by side, upwards. */
static void new_row(char **p, size_t n, size_t size)
{
	for (size_t i = 0; i < n; i++) {
		p[i] = new_object(size);
		CHECK(!i || p[i] == p[i - 1] + size);
	}
}

/* Whatever has become of p since it was freed, if nobody has its memory. */
static void expect_freed(void *p)
{
	for (const struct call *call = libc.calls; call->name; call++) {
		char line[2][128], err[256];
		int status;

		for (int i = 0; i < 2; i++)
			snprintf(line[i], sizeof(line[i]), "osmem: %s(0x%lx): %s\n", call->name,
				 (unsigned long)(uintptr_t)p, i ? MEMORY_FREE : ALREADY_FREE);
		status = test_in_child(call->run, p, err, sizeof(err));
		CHECK_MSG(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT &&
				  (strcmp(err, line[0]) == 0 || strcmp(err, line[1]) == 0),
			  "%p: it %s and said %s", p, test_ending(status), err);
	}
}

static void expect_memory_free(void *p)
{
	expect_all(&libc, p, false, MEMORY_FREE);
}

static void expect_foreign(void *p)
{
	expect_all(&libc, p, false, FOREIGN);
}

/* Double frees. */

TEST(span_freed_twice)
{
	never_sweep();
	for (size_t i = 0; i < COUNT_OF(span_sizes); i++) {
		char *p = new_object(span_sizes[i]), *q = new_object(span_sizes[i]);
		bool is_kept = span_sizes[i] <= KEPT_MAX;

		free(p);
		expect_all(&libc, p, false, is_kept ? ALREADY_FREE : MEMORY_FREE);
		free(q);
		expect_all(&libc, p, false, is_kept ? ALREADY_FREE : MEMORY_FREE);
		expect_all(&libc, q, false, is_kept ? ALREADY_FREE : MEMORY_FREE);
		malloc_trim(0); /* a thread keeps a MiB */
	}
}

/* More than a thread keeps. */
TEST(span_freed_twice_after_other_frees)
{
	for (size_t i = 0; i < COUNT_OF(span_sizes); i++) {
		char *p[24];

		never_sweep();
		for (size_t k = 0; k < COUNT_OF(p); k++)
			p[k] = new_object(span_sizes[i]);
		for (size_t k = 0; k < COUNT_OF(p); k++)
			if (k % 3)
				free(p[k]);
		for (size_t k = 1; k < COUNT_OF(p); k += k % 3)
			expect_freed(p[k]);
		for (size_t k = 0; k < COUNT_OF(p); k += 3)
			free(p[k]);
	}
}

/* Its neighbors are handed out again, and it is not. */
TEST(span_freed_twice_after_reuse_of_its_neighbors)
{
	char *p[5], *q, *r;

	never_sweep();
	new_row(p, COUNT_OF(p), 9 * PAGE);
	free(p[2]);
	free(p[1]);
	free(p[3]);
	q = new_object(9 * PAGE);
	r = new_object(9 * PAGE);
	for (size_t i = 1; i < 4; i++)
		if (p[i] != q && p[i] != r)
			expect_all(&libc, p[i], false, ALREADY_FREE);
}

TEST(span_freed_twice_after_its_pages_went_back)
{
	for (size_t i = 0; i < COUNT_OF(span_sizes); i++) {
		char *p = new_object(span_sizes[i]), *q = new_object(span_sizes[i]);

		free(p);
		malloc_trim(0);
		expect_foreign(p);
		expect_foreign(p + PAGE);
		free(q);
		malloc_trim(0); /* perhaps its segment, too */
		expect_foreign(q);
	}
}

/* Pages of several are one span's, or what is left of one is free. */
TEST(span_freed_twice_after_reuse_by_others)
{
	char *p[8], *q;

	new_row(p, COUNT_OF(p), 128 * KIB);
	for (size_t i = 0; i < COUNT_OF(p); i++)
		free(p[i]);
	malloc_trim(0);
	q = new_object(MIB);
	CHECK(q == p[0]);
	for (size_t i = 1; i < COUNT_OF(p); i++)
		expect_inside(&libc, p[i], "one", q, MIB);
	never_sweep();
	CHECK(realloc(q, 128 * KIB) == q);
	for (size_t i = 1; i < COUNT_OF(p); i++)
		expect_memory_free(p[i]);
	q = new_object(3 * PAGE * 8);
	CHECK(q == p[1]);
	expect_memory_free(p[1] + 24 * PAGE);
}

/* Cells are where it was. */
TEST(span_freed_twice_after_reuse_by_cells)
{
	char *p[8];

	new_row(p, COUNT_OF(p), SLOT);
	free(p[3]);
	free(p[4]);
	malloc_trim(0);
	CHECK(malloc(112) == p[3]);
	for (size_t i = 1; i < SLOT / 112; i++)
		CHECK(malloc(112));
	expect_inside(&libc, p[3] + 16, "one", p[3], 112);
	expect_inside(&libc, p[3] + PAGE, "one", p[3] + PAGE / 112 * 112, 112);
}

TEST(span_that_moved_is_free)
{
	char *p[3], *q;

	never_sweep();
	new_row(p, COUNT_OF(p), 16 * PAGE);
	q = realloc(p[0], 64 * PAGE);
	CHECK(q && q != p[0]);
	expect_all(&libc, p[0], false, ALREADY_FREE);
	q = realloc(p[1], MAPPED);
	CHECK(q && q != p[1]);
	expect_all(&libc, p[1], false, ALREADY_FREE);
	q = realloc(p[2], 1000);
	CHECK(q && q != p[2]);
	expect_all(&libc, p[2], false, ALREADY_FREE);
}

TEST(span_that_was_grown_over)
{
	char *p[4];

	never_sweep();
	new_row(p, COUNT_OF(p), 3 * MIB / 8);
	free(p[1]);
	malloc_trim(0);
	CHECK(realloc(p[0], 3 * MIB / 4) == p[0]);
	expect_inside(&libc, p[1], "one", p[0], 3 * MIB / 4);
}

static void *free_it(void *arg)
{
	free(arg);
	return NULL;
}

static atomic_bool is_freed;

static void *free_it_and_wait(void *arg)
{
	free(arg);
	atomic_store(&is_freed, true);
	pause();
	return NULL;
}

TEST(object_freed_by_a_thread_that_ended_then_here)
{
	static const size_t sizes[] = {9 * PAGE, KEPT_MAX, SPAN_MAX, MAPPED};

	never_sweep();
	for (size_t i = 0; i < COUNT_OF(sizes); i++) {
		char *p = new_object(sizes[i]);
		pthread_t thread;

		CHECK(pthread_create(&thread, NULL, free_it, p) == 0);
		CHECK(pthread_join(thread, NULL) == 0);
		expect_freed(p);
	}
}

TEST(object_freed_by_a_thread_that_lives_then_here)
{
	static const size_t sizes[] = {9 * PAGE, KEPT_MAX, SPAN_MAX, MAPPED};

	never_sweep();
	for (size_t i = 0; i < COUNT_OF(sizes); i++) {
		char *p = new_object(sizes[i]);
		pthread_t thread;

		atomic_store(&is_freed, false);
		CHECK(pthread_create(&thread, NULL, free_it_and_wait, p) == 0);
		while (!atomic_load(&is_freed))
			usleep(1000);
		expect_freed(p);
	}
}

TEST(mapping_freed_twice)
{
	char *p = new_object(MAPPED), *q = new_object(MAPPED);

	never_sweep();
	free(p);
	expect_all(&libc, p, false, ALREADY_FREE);
	free(q);
	expect_all(&libc, p, false, ALREADY_FREE);
	expect_all(&libc, q, false, ALREADY_FREE);
	malloc_trim(0);
	expect_foreign(p);
	expect_foreign(q);
}

/* More than are kept: those that were freed first are unmapped. */
TEST(mapping_freed_twice_after_many)
{
	char *p[80];

	never_sweep();
	for (size_t i = 0; i < COUNT_OF(p); i++)
		p[i] = malloc(3 * MIB);
	for (size_t i = 0; i < COUNT_OF(p); i++)
		free(p[i]);
	for (size_t i = 0; i < COUNT_OF(p) - 64; i += 5)
		expect_foreign(p[i]);
	for (size_t i = COUNT_OF(p) - 64; i < COUNT_OF(p); i += 9)
		expect_all(&libc, p[i], false, ALREADY_FREE);
}

TEST(mapping_freed_twice_after_reuse)
{
	char *p = new_object(MAPPED);

	never_sweep();
	free(p);
	CHECK(malloc(MAPPED - 100) == p);
	expect_inside(&libc, p + 16, "one", p, MAPPED);
	CHECK(realloc(p, 3 * MIB) == p);
	expect_inside(&libc, p + 16, "one", p, 3 * MIB);
	expect_foreign(p + 3 * MIB);
	free(p);
	expect_all(&libc, p, false, ALREADY_FREE);
}

TEST(mapping_that_moved_is_none)
{
	char *p = new_object(MAPPED), *q = p;

	for (size_t size = 2 * MAPPED; q == p; size *= 2) {
		CHECK(size < (size_t)1 << 40);
		q = realloc(p, size);
	}
	CHECK(q);
	expect_foreign(p);
}

/* A span becomes a mapping and a cell, and a mapping both. */
TEST(mapping_that_became_another_is_free)
{
	char *p = new_object(MAPPED), *q = new_object(MAPPED);

	never_sweep();
	CHECK(realloc(p, 100) != p);
	expect_all(&libc, p, false, ALREADY_FREE);
	free(q);
	expect_all(&libc, q, false, ALREADY_FREE);
}

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
	static const size_t at[] = {0, 1, 16, 4096, 40960, 40968, 43008, 65535};
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

/*
 * Writes where they should not go. What is hit is somebody's, or nobody's: the default does not
 * see it, and goes on as if nothing had been.
 */

static void end_in_order(void (*body)(void *arg), void *arg)
{
	char err[256];
	int status = test_in_child(body, arg, err, sizeof(err));

	CHECK_MSG(status == 0 && !err[0], "it %s and said %s", test_ending(status), err);
}

/* All calls there are, and each free one is handed out again. */
static void use_row(char **p, size_t n, size_t size)
{
	for (size_t i = 0; i < n; i++) {
		CHECK(malloc_usable_size(p[i]) == size);
		p[i] = realloc(p[i], size + PAGE);
		CHECK(p[i] && malloc_usable_size(p[i]) >= size + PAGE);
		free(p[i]);
	}
	for (size_t i = 0; i < n; i++) {
		p[i] = calloc(1, size);
		CHECK(p[i] && p[i][0] == 0 && memcmp(p[i], p[i] + 1, size - 1) == 0);
	}
	malloc_trim(0);
	for (size_t i = 0; i < n; i++)
		free(p[i]);
	malloc_trim(0);
}

static const int fills[] = {0xa5, 0x00, 0x01, 0x40, 0xff};

struct row {
	char *p[6];
	size_t size;
	int fill;
};

/* From the first one to the end of the last, none, one and two of which are free. */
static void overflow_row(void *arg)
{
	struct row *r = arg;

	memset(r->p[0] + 1, r->fill, 6 * r->size - 1);
	use_row(r->p, 6, r->size);
}

static void overflow_free_ones(void *arg)
{
	struct row *r = arg;

	free(r->p[4]);
	free(r->p[5]);
	memset(r->p[0] + 1, r->fill, 6 * r->size - 1);
	use_row(r->p, 4, r->size);
}

TEST(span_overflow_into_spans)
{
	static const size_t sizes[] = {9 * PAGE, 16 * PAGE, 128 * KIB};

	for (size_t i = 0; i < COUNT_OF(sizes); i++) {
		struct row r = {.size = sizes[i]};

		new_row(r.p, COUNT_OF(r.p), r.size);
		for (size_t k = 0; k < COUNT_OF(fills); k++) {
			r.fill = fills[k];
			end_in_order(overflow_row, &r);
			end_in_order(overflow_free_ones, &r);
		}
	}
}

struct above {
	char *span, *first; /* cells of 112 bytes are right behind the span */
	char *cells[3000];
	int fill;
};

/* Live cells, a free one that the thread has, and ones that are to come. */
static void overflow_into_cells(void *arg)
{
	struct above *a = arg;

	for (size_t i = 0; i < COUNT_OF(a->cells); i += 2)
		free(a->cells[i]);
	memset(a->span + 1, a->fill, 2 * SLOT - 1);
	free(a->span);
	for (size_t i = 1; i < COUNT_OF(a->cells); i += 2)
		free(a->cells[i]);
	malloc_trim(0);
	for (size_t i = 0; i < COUNT_OF(a->cells); i++) {
		a->cells[i] = calloc(1, 112);
		CHECK(a->cells[i] && a->cells[i][0] == 0 &&
		      memcmp(a->cells[i], a->cells[i] + 1, 111) == 0);
	}
}

static void find_slab_above(struct above *a)
{
	char *p[3];

	new_row(p, COUNT_OF(p), SLOT);
	free(p[1]);
	malloc_trim(0);
	a->span = p[0];
	a->first = NULL;
	for (size_t i = 0; i < COUNT_OF(a->cells); i++) {
		a->cells[i] = malloc(112);
		if (a->cells[i] == p[1])
			a->first = p[1];
	}
	CHECK(a->first);
}

TEST(span_overflow_into_a_slab)
{
	static struct above a;

	find_slab_above(&a);
	for (size_t i = 0; i < COUNT_OF(fills); i++) {
		a.fill = fills[i];
		end_in_order(overflow_into_cells, &a);
	}
}

/* What was overwritten is free, and is freed once more: the store sees it. */
static void free_overwritten_cell_twice(void *arg)
{
	struct above *a = arg;

	free(a->first);
	memset(a->span, 0, SLOT + 16);
	free(a->first);
	malloc_trim(0);
}

TEST(span_overflow_over_the_mark_of_a_cell)
{
	static struct above a;
	char line[128];

	find_slab_above(&a);
	snprintf(line, sizeof(line), "osmem: free(0x%lx): " ALREADY_FREE,
		 (unsigned long)(uintptr_t)a.first);
	EXPECT_ABORT(free_overwritten_cell_twice, &a, line);
}

static void write_to_mappings(void *arg)
{
	struct row *r = arg;

	for (size_t i = 0; i < 6; i += 2)
		free(r->p[i]);
	for (size_t i = 0; i < 6; i++)
		memset(r->p[i], r->fill, r->size);
	for (size_t i = 0; i < 6; i += 2) {
		r->p[i] = malloc(r->size);
		CHECK(r->p[i] && malloc_usable_size(r->p[i]) == r->size);
	}
	use_row(r->p, 6, r->size);
}

TEST(mapping_written_to_after_free)
{
	struct row r = {.size = 3 * MIB};

	for (size_t i = 0; i < COUNT_OF(r.p); i++)
		r.p[i] = new_object(r.size);
	for (size_t i = 0; i < COUNT_OF(fills); i++) {
		r.fill = fills[i];
		end_in_order(write_to_mappings, &r);
	}
}

/* Each one that waits, in any of its words, and where it lies with its likes. */
static void write_to_free_spans(void *arg)
{
	struct row *r = arg;

	for (size_t i = 0; i < 6; i++)
		free(r->p[i]);
	for (size_t i = 0; i < 6; i++)
		memset(r->p[i], r->fill, r->size);
	for (size_t i = 0; i < 6; i++) {
		r->p[i] = calloc(1, r->size);
		CHECK(r->p[i] && r->p[i][0] == 0 && memcmp(r->p[i], r->p[i] + 1, r->size - 1) == 0);
		for (size_t k = 0; k < i; k++)
			CHECK(r->p[k] != r->p[i]);
	}
	use_row(r->p, 6, r->size);
}

TEST(span_written_to_after_free)
{
	never_sweep();
	for (size_t i = 0; i < COUNT_OF(span_sizes); i++) {
		struct row r = {.size = span_sizes[i]};

		for (size_t k = 0; k < COUNT_OF(r.p); k++)
			r.p[k] = new_object(r.size);
		for (size_t k = 0; k < COUNT_OF(fills); k++) {
			r.fill = fills[k];
			end_in_order(write_to_free_spans, &r);
		}
		for (size_t k = 0; k < COUNT_OF(r.p); k++)
			free(r.p[k]);
		malloc_trim(0);
	}
}

/* Where the library notes its spans: what is written there is seen before it leads anywhere. */
static void overwrite_words(void *arg)
{
	const struct row *r = arg;
	char *segment = (char *)((uintptr_t)r->p[0] & ~(SEGMENT - 1));

	memset(segment + 40960, r->fill, 2048);
	for (size_t i = 0; i < 6; i++)
		free(r->p[i]);
	malloc_trim(0);
}

TEST(span_words_overwritten)
{
	static const int values[] = {'b', 'A', 0x00, 0x01, 0x10, 0xff};
	struct row r = {.size = 9 * PAGE};
	char err[256];

	new_row(r.p, COUNT_OF(r.p), r.size);
	for (size_t i = 0; i < COUNT_OF(values); i++) {
		int status;

		r.fill = values[i];
		status = test_in_child(overwrite_words, &r, err, sizeof(err));
		CHECK_MSG(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT &&
				  (strstr(err, "the header of a segment is overwritten\n") ||
				   strstr(err, "not a block") || strstr(err, ALREADY_FREE)),
			  "%x: it %s and said %s", r.fill, test_ending(status), err);
	}
}
