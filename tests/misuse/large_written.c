// SPDX-License-Identifier: BSD-3-Clause
// Needs: libosmem.so

/*
 * Writes beside large objects and into free ones. None has a header, so no such write leads the
 * library anywhere.
 */

#include <malloc.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "harness.h"
#include "misuse_large.h"
#include "pointers.h"

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

/* Of the cells some are live, others are to come, and every other live one is freed afterwards. */
static void overflow_into_cells(void *arg)
{
	struct above *a = arg;

	memset(a->span + 1, a->fill, 2 * SLOT - 1);
	free(a->span);
	for (size_t i = 0; i < COUNT_OF(a->cells); i += 1)
		free(a->cells[i]);
	malloc_trim(0);
	for (size_t i = 0; i < COUNT_OF(a->cells); i++) {
		a->cells[i] = calloc(1, 112);
		CHECK(a->cells[i] && a->cells[i][0] == 0 &&
		      memcmp(a->cells[i], a->cells[i] + 1, 111) == 0);
	}
}

/* Free ones lose their marks, and the store wants these. */
static void overflow_into_free_cells(void *arg)
{
	struct above *a = arg;

	for (size_t i = 0; i < COUNT_OF(a->cells); i += 2)
		free(a->cells[i]);
	memset(a->span + 1, a->fill, 2 * SLOT - 1);
	malloc_trim(0);
}

static void end_in_report(void (*body)(void *arg), void *arg, const char *what)
{
	char err[256];
	int status = test_in_child(body, arg, err, sizeof(err));

	CHECK_MSG(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT && strstr(err, what),
		  "expected %s, but it %s and said %s", what, test_ending(status), err);
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
		end_in_report(overflow_into_free_cells, &a,
			      ": this free block was written to, or freed twice");
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

	memset(segment + SPAN_WORDS, r->fill, 2048);
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
