// SPDX-License-Identifier: BSD-3-Clause
// Needs: libosmem.so

/*
 * Overwritten headers and links of os_malloc's blocks: a call or a search that meets one names it,
 * and aborts.
 */

#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "block_meta.h"
#include "harness.h"
#include "misuse.h"
#include "osmem.h"
#include "pointers.h"

#define OVERWRITTEN "the header of this block is overwritten"

/* Headers overwritten from the block before. The damage is done in the child that is to die. */

struct damage {
	const struct call *call; /* made with p, unless that is NULL */
	void *p;
	char *at; /* where size bytes of fill go before the call */
	size_t size;
	int fill;
};

static void damage_then_call(void *arg)
{
	const struct damage *d = arg;

	memset(d->at, d->fill, d->size);
	if (d->p)
		d->call->run(d->p);
	else
		for (size_t size = 8; size < 2048; size += 8)
			os_malloc(size);
}

/* The damage, a correct free, and searches. */
static void damage_then_free(void *arg)
{
	struct damage d = *(const struct damage *)arg;

	memset(d.at, d.fill, d.size);
	os_free(d.p);
	d.p = NULL;
	d.size = 0;
	damage_then_call(&d);
}

/* Every call with p, after the damage; all name p. */
static void expect_damaged(const struct damage *damage)
{
	for (const struct call *call = course.calls; call->name; call++) {
		struct damage d = *damage;
		char line[512];

		d.call = call;
		snprintf(line, sizeof(line), "osmem: %s(0x%lx): " OVERWRITTEN, call->name,
			 (unsigned long)(uintptr_t)d.p);
		EXPECT_ABORT(damage_then_call, &d, line);
	}
}

/* Searches after the damage find it in victim; before them, p is freed, if it is not NULL. */
static void expect_found_by_search(const struct damage *damage, void *p, void *victim)
{
	struct damage d = *damage;
	char line[512];

	d.p = p;
	snprintf(line, sizeof(line),
		 "osmem: heap(0x%lx): the header of this block, or free memory in it, is "
		 "overwritten",
		 (unsigned long)(uintptr_t)victim);
	EXPECT_ABORT(p ? damage_then_free : damage_then_call, &d, line);
}

static const size_t overflows[] = {1, 2, 4, 8, 12, 13, 16, 17, 24, 32, 40, 56, 200};
static const int fills[] = {0xa5, 0x00, 0x01, 0x40, 0xff};

struct victims {
	void *p; /* to be freed, if not NULL */
	void *victim;
};

/* check(damage, victims) for each overflow of p. */
static void each_overflow(char *p, size_t size,
			  void (*check)(const struct damage *d, const struct victims *v),
			  const struct victims *v)
{
	for (size_t i = 0; i < COUNT_OF(overflows); i++) {
		for (size_t j = 0; j < COUNT_OF(fills); j++) {
			struct damage d = {.p = v->victim,
					   .at = p + size,
					   .size = overflows[i],
					   .fill = fills[j]};

			check(&d, v);
		}
	}
}

static void check_calls(const struct damage *d, const struct victims *v)
{
	(void)v;
	expect_damaged(d);
}

static void check_search(const struct damage *d, const struct victims *v)
{
	expect_found_by_search(d, v->p, v->victim);
}

TEST(overflow_found_when_the_victim_is_freed_os)
{
	char *p[3];

	alloc_row(p, 3, SMALL);
	each_overflow(p[0], SMALL, check_calls, &(struct victims){.victim = p[1]});
}

TEST(overflow_found_by_the_search_after_its_origin_is_freed_os)
{
	char *p[3];

	alloc_row(p, 3, MEDIUM);
	each_overflow(p[0], MEDIUM, check_search, &(struct victims){.p = p[0], .victim = p[1]});
}

TEST(overflow_into_a_free_block_found_by_the_search_after_its_origin_is_freed_os)
{
	char *p[3];

	alloc_row(p, 3, MEDIUM);
	os_free(p[1]);
	each_overflow(p[0], MEDIUM, check_search, &(struct victims){.p = p[0], .victim = p[1]});
}

TEST(overflow_into_the_last_block_os)
{
	char *p = os_malloc(MEDIUM), *q = os_malloc(MEDIUM);

	CHECK(q == p + MEDIUM + META);
	each_overflow(p, MEDIUM, check_calls, &(struct victims){.victim = q});
	each_overflow(p, MEDIUM, check_search, &(struct victims){.p = p, .victim = q});
}

TEST(overflow_into_a_pending_block_found_by_the_next_search_os)
{
	char *p[3];

	alloc_row(p, 3, MEDIUM);
	os_free(p[1]);
	each_overflow(p[0], MEDIUM, check_search, &(struct victims){.victim = p[1]});
}

/*
 * Where the searches are for sizes of smaller bins. In the block's own bin, a size that is written
 * over may look too small.
 */
TEST(overflow_into_an_indexed_block_found_by_a_search_os)
{
	static const size_t sizes[] = {48, 0x170, 0x1170};

	for (size_t i = 0; i < COUNT_OF(sizes); i++) {
		size_t size = sizes[i];
		char *p[3];

		alloc_row(p, 3, size);
		os_free(p[1]);
		CHECK(os_malloc(SEARCHED));
		each_overflow(p[0], size, check_search, &(struct victims){.victim = p[1]});
		CHECK(os_malloc(size) == p[1]);
	}
}

/* The free rest at the end of the heap. */
TEST(overflow_into_the_free_end_os)
{
	char *p = os_malloc(0x170);

	CHECK(p);
	each_overflow(p, 0x170, check_search, &(struct victims){.victim = p + 0x170 + META});
}

/* A live block that is the first of its region. */
static char *alloc_first(void)
{
	for (int i = 0; i < 10000; i++) {
		char *p = os_malloc(MEDIUM);
		struct block_meta *prev;

		CHECK(p);
		prev = header(p)->prev;
		if (!prev || (char *)prev + META + prev->size != (char *)header(p))
			return p;
	}
	test_fail(__FILE__, __LINE__, "no block is the first of its region");
}

/* What it points to is not in the region, before the damage either. */
TEST(stray_write_into_prev_of_the_first_block_os)
{
	char *p = alloc_first();

	for (size_t i = 0; i < COUNT_OF(fills); i++) {
		struct damage d = {.at = (char *)&header(p)->prev,
				   .size = sizeof(header(p)->prev),
				   .fill = fills[i]};

		if (fills[i] || header(p)->prev) /* it is 0 in the first region */
			expect_found_by_search(&d, p, p);
	}
}

/* One field of the header at a time, as a stray write would. */
TEST(stray_write_into_a_header_os)
{
	size_t prev = offsetof(struct block_meta, prev), next = offsetof(struct block_meta, next);
	char *p[3];

	alloc_row(p, 3, MEDIUM);
	for (size_t at = 0; at < META; at += 4) {
		struct damage d = {
			.p = p[1], .at = (char *)header(p[1]) + at, .size = 4, .fill = 0xa5};

		if (at < prev || at >= next)
			expect_damaged(&d);
		else
			expect_found_by_search(&d, p[1], p[1]);
	}
}

TEST(stray_write_into_the_header_of_a_mapped_block_os)
{
	char *p = os_malloc(LARGE);

	for (size_t at = 0; at < META; at += 4) {
		struct damage d = {.p = p, .at = (char *)header(p) + at, .size = 4, .fill = 0xa5};

		expect_damaged(&d);
	}
}

/* The payload begins right behind next. With others mapped, too, the links lead somewhere. */
TEST(stray_write_into_the_links_of_a_mapped_block_os)
{
	char *p[5];

	for (size_t i = 0; i < COUNT_OF(p); i++) {
		p[i] = os_malloc(LARGE);
		CHECK(p[i]);
	}
	for (size_t i = 0; i < COUNT_OF(p); i++) {
		struct damage d = {.p = p[i], .size = sizeof(void *), .fill = 0x41};

		d.at = p[i] - d.size;
		expect_damaged(&d);
		d.at -= d.size;
		expect_damaged(&d);
		d.size *= 2;
		expect_damaged(&d);
	}
}

TEST(underflow_of_a_mapped_block_os)
{
	char *p = os_malloc(LARGE);
	struct damage d = {.p = p, .at = (char *)header(p), .size = META};

	for (size_t i = 0; i < COUNT_OF(fills); i++) {
		d.fill = fills[i];
		expect_damaged(&d);
	}
}

/*
 * A block that is written to when a search has put it where the next ones look. Whatever its header
 * and the links behind that are, nothing is read or written through them.
 */

#define INDEXED ((size_t)300) /* more free blocks than are few */

struct indexed {
	char **p; /* every other one is free */
	char *searched; /* the others' neighbor, perhaps */
	size_t size, victim;
	ptrdiff_t at; /* where a word is written */
	const void *value; /* NULL: all bits, inverted */
};

static void write_to_indexed(void *arg)
{
	const struct indexed *f = arg;
	char *at = f->p[f->victim] + f->at, *p[INDEXED / 2 + 1];

	for (size_t i = 0; i < sizeof(f->value); i++)
		at[i] = f->value ? ((const char *)&f->value)[i] : (char)~at[i];
	for (size_t i = 0; i < COUNT_OF(p); i++)
		p[i] = os_malloc(f->size);
	for (size_t i = 0; i < COUNT_OF(p); i++)
		os_free(p[i]);
	for (size_t i = 1; i < INDEXED; i += 2)
		os_free(f->p[i]);
	os_free(f->searched);
	os_malloc(SEARCHED);
}

/* All but what two links lead to where there was nothing is looked at; prev may be made anew. */
static void expect_no_fault(struct indexed *f)
{
	char err[256];
	int status = test_in_child(write_to_indexed, f, err, sizeof(err));

	if (status == 0 && (f->at > 0 || f->at == -(ptrdiff_t)sizeof(void *) * 2))
		return;
	CHECK_MSG(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT &&
			  strstr(err, "free memory in it, is overwritten\n"),
		  "%zu bytes, block %zu, at %td, value %p: status %d, %s", f->size, f->victim,
		  f->at, f->value, status, err);
}

TEST(indexed_block_written_to_os)
{
	static const size_t sizes[] = {8, 16, 24, 112, 1024, 1032, 1200, 5000, 40000};
	static char elsewhere[256];
	const void *values[] = {NULL, elsewhere, (const void *)0x6262626262626262, (const void *)-1,
				(const void *)1};

	test_timeout(120);
	for (size_t i = 0; i < COUNT_OF(sizes); i++) {
		size_t size = sizes[i];
		size_t words = 4 + (size < 24 ? 1 : size > 1024 ? 2 : 3);
		char *first = os_malloc(size), *guard = os_malloc(size), *p[INDEXED], *searched;

		CHECK(first && guard);
		for (size_t k = 0; k < INDEXED; k++)
			CHECK((p[k] = os_malloc(size)));
		for (size_t k = 0; k < INDEXED; k += 2)
			os_free(p[k]);
		/* Only a search for as little puts the smallest into the index. */
		os_free(first);
		CHECK(os_malloc(size) == first);
		CHECK((searched = os_malloc(SEARCHED)));
		/* Four blocks, the lowest among them; each word of each; every value. */
		for (size_t k = 0; k < COUNT_OF(values) * words * 4; k++) {
			struct indexed d = {.p = p,
					    .searched = searched,
					    .size = size,
					    .victim = k % 4 * 98,
					    .at = (ptrdiff_t)(k / 4 % words * 8 - META),
					    .value = values[k / 4 / words]};

			expect_no_fault(&d);
		}
		for (size_t k = 1; k < INDEXED; k += 2)
			os_free(p[k]);
		os_free(first);
		os_free(guard);
		os_free(searched);
	}
}

/* Headers of free blocks, and of those that are beside what comes and goes. */

struct overwritten {
	void *at, *p; /* a word, and the block that is named for it */
	void (*then)(void);
};

static void overwrite(void *arg)
{
	const struct overwritten *o = arg;

	memset(o->at, 0x5a, sizeof(void *));
	o->then();
}

static void expect_named(const struct overwritten *o)
{
	char line[256];

	snprintf(line, sizeof(line),
		 "osmem: heap(0x%lx): the header of this block, or free memory in it, is "
		 "overwritten",
		 (unsigned long)(uintptr_t)o->p);
	EXPECT_ABORT(overwrite, (void *)(uintptr_t)o, line);
}

static void search_os(void)
{
	os_malloc(SEARCHED);
}

TEST(growing_behind_a_block_whose_neighbor_is_overwritten)
{
	char *p = os_malloc(SEARCHED), *last = os_malloc(SEARCHED);

	CHECK(p && last && !header(last)->next);
	expect_named(
		&(struct overwritten){.at = &header(last)->next, .p = last, .then = search_os});
}

TEST(growing_behind_a_block_whose_header_is_overwritten)
{
	char *p = os_malloc(SEARCHED), *last = os_malloc(SEARCHED);

	CHECK(p && last && !header(last)->next);
	expect_named(
		&(struct overwritten){.at = &header(last)->size, .p = last, .then = search_os});
	expect_named(
		&(struct overwritten){.at = &header(last)->status, .p = last, .then = search_os});
}

static char *row_of_three[3];

static void take_the_same(void)
{
	os_malloc(24);
}

static void free_the_next(void)
{
	os_free(row_of_three[2]);
	search_os();
}

/* The middle one is free; its size is overwritten before a search has seen it, or after. */
static void test_overwritten_size(bool is_indexed, void (*then)(void))
{
	char *p;

	alloc_row(row_of_three, COUNT_OF(row_of_three), 24);
	p = row_of_three[1];
	os_free(p);
	if (is_indexed)
		search_os();
	expect_named(&(struct overwritten){.at = header(p), .p = p, .then = then});
}

TEST(searching_past_a_freed_block_whose_size_is_overwritten)
{
	test_overwritten_size(false, search_os);
}

TEST(taking_a_free_block_whose_size_is_overwritten)
{
	test_overwritten_size(true, take_the_same);
}

TEST(coalescing_with_a_free_block_whose_size_is_overwritten)
{
	test_overwritten_size(true, free_the_next);
}
