// SPDX-License-Identifier: BSD-3-Clause
// Needs: objects, refusals

/*
 * Cells and spans in windows other than the first, which is full. They behave as all others in
 * every call, for all threads, in reports, walks, trims and forks.
 */

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cache/hardened.h"
#include "cache/tcache_core.h"
#include "harness.h"
#include "places.h"
#include "refusals.h"

void free_sized(void *p, size_t size);
void free_aligned_sized(void *p, size_t align, size_t size);

static const size_t sizes[] = {1,     32,    1000,  1024,  1500,      8192,	  9000,
			       20000, 32768, 40000, 70000, 300 * KIB, 1000 * KIB, 2 * MIB};

static size_t usable(void *p)
{
	return malloc_usable_size(p);
}

#define CELL_USER_MAX (CELL_MAX - 8) /* hardened, larger objects are not in windows */

/* Further cells and spans, except for those that are free now, come from a new window. */
static void *make_in_last_window(size_t size)
{
	void *p;

	do
		CHECK((p = malloc(size)));
	while (window_of(p) != last_window());
	return p;
}

/* Fill two windows, so that a third is created. */
static void set_up(void)
{
	free(malloc(SPAN_MAX)); /* the first segment is mapped as a whole */
	for (int i = 0; i < 2; i++) {
		const struct window *last = last_window();

		take_last_window();
		for (int j = 0; last == last_window(); j++)
			CHECK(malloc(slab_store.is_hardened ? CELL_USER_MAX : SPAN_MAX / 4) &&
			      j < 20000);
	}
	CHECK(window_first()->next && window_first()->next->next == last_window());
	check_all();
}

static void fill(void *p, size_t i, size_t size)
{
	memset(p, (int)i + 1, size);
}

static void check_fill(const unsigned char *p, size_t i, size_t size)
{
	CHECK(p[0] == i + 1 && p[size / 2] == i + 1 && p[size - 1] == i + 1);
}

/* One object of each size, in the last window. */
static void *objects[COUNT_OF(sizes)];

static void make_objects(void)
{
	for (size_t i = 0; i < COUNT_OF(sizes); i++) {
		objects[i] = make_in_last_window(sizes[i]);
		fill(objects[i], i, sizes[i]);
	}
	check_all();
}

TEST(objects_in_far_windows)
{
	set_up();
	make_objects();
	for (size_t i = 0; i < COUNT_OF(sizes); i++) {
		check_fill(objects[i], i, sizes[i]);
		CHECK(usable(objects[i]) >= sizes[i] && usable(objects[i]) < 2 * sizes[i] + 16);
		if (sizes[i] <= CELL_MAX)
			CHECK(slab_class_of(objects[i]) == class_of_size(sizes[i]) &&
			      slab_find(objects[i]).state == CELL_LIVE);
		else
			CHECK(span_is_near(objects[i]) && span_find(objects[i]).state == SPAN_LIVE);
	}
	for (size_t i = 0; i < COUNT_OF(sizes); i++) {
		errno = 4711;
		free(objects[i]);
		CHECK(errno == 4711);
		check_all();
	}
}

/* A thread reuses what it has freed: cells from its magazine, spans from its page cache. */
TEST(freed_objects_are_used_again)
{
	set_up();
	make_objects();
	for (size_t i = 0; i < COUNT_OF(sizes); i++) {
		void *p = objects[i];

		free(p);
		if (sizes[i] <= CELL_MAX)
			CHECK(slab_find(p).state == CELL_LIVE && *cell_word(p) == CELL_FREED);
		CHECK(malloc(sizes[i]) == p);
	}
}

TEST(every_call_knows_far_objects)
{
	set_up();
	make_objects();
	for (size_t i = 0; i < COUNT_OF(sizes); i++) {
		size_t grown = sizes[i] * 3 / 2 + 20;
		unsigned char *p = realloc(objects[i], grown);

		CHECK(p);
		check_fill(p, i, sizes[i]);
		p = realloc(p, sizes[i]);
		CHECK(p);
		check_fill(p, i, sizes[i]);
		free_sized(p, sizes[i]);
		p = aligned_alloc(4096, sizes[i]);
		CHECK(p && (uintptr_t)p % 4096 == 0);
		fill(p, i, sizes[i]);
		free_aligned_sized(p, 4096, sizes[i]);
		p = calloc(1, sizes[i]);
		CHECK(p && !p[0] && !p[sizes[i] / 2] && !p[sizes[i] - 1]);
		free(p);
	}
	check_all();
}

/* ---- Threads ---- */

static void *free_objects(void *arg)
{
	(void)arg;
	for (size_t i = 0; i < COUNT_OF(sizes); i++) {
		check_fill(objects[i], i, sizes[i]);
		free(objects[i]);
	}
	return NULL;
}

TEST(other_threads_free_far_objects)
{
	struct osmem_cell_stats before, after;
	pthread_t thread;

	set_up();
	malloc_trim(0);
	slab_get_stats(&before);
	for (int i = 0; i < 200; i++) {
		make_objects();
		CHECK(pthread_create(&thread, NULL, free_objects, NULL) == 0);
		CHECK(pthread_join(thread, NULL) == 0);
	}
	malloc_trim(0);
	check_all();
	slab_get_stats(&after);
	CHECK_MSG(after.segments <= before.segments + 10, "%zu segments, not %zu", after.segments,
		  before.segments);
}

/* ---- Misuse ---- */

static void free_it(void *p)
{
	free(p);
}

static void free_sized_as_32(void *p)
{
	free_sized(p, 32);
}

static void free_twice(void *p)
{
	free(p);
	free(p);
}

/* The second free happens when the cell is in the store. */
static void free_twice_later(void *p)
{
	free(p);
	malloc_trim(0);
	free(p);
}

static void expect(void (*body)(void *), const char *call, void *p, const char *what)
{
	char want[200];

	snprintf(want, sizeof(want), "osmem: %s(%p): %s", call, p, what);
	EXPECT_ABORT(body, p, want);
}

static const struct slab *slab_of(const void *p)
{
	struct segment *g = segment_of(p);

	return &g->slabs[g->first[(uintptr_t)p % SEGMENT_SIZE / SLAB_SIZE]];
}

/* A cell in a slab with other live cells. */
static void *make_beside_another(size_t size)
{
	void *p = make_in_last_window(size), *last;

	do {
		last = p;
		p = make_in_last_window(size);
	} while (slab_of(p) != slab_of(last));
	return p;
}

/* The report depends on whether the span is cached, or the slab has other live cells. */
static void expect_double_free(void *p)
{
	char kept[100], gone[100], err[200];

	snprintf(kept, sizeof(kept), "osmem: free(%p): this block is already free\n", p);
	snprintf(gone, sizeof(gone), "osmem: free(%p): this memory is already free\n", p);
	test_in_child(free_twice, p, err, sizeof(err));
	CHECK_MSG(!strcmp(err, kept) || !strcmp(err, gone), "free(%p) twice: %s", p, err);
}

TEST(misuse_of_far_objects_is_reported)
{
	set_up();
	make_objects();
	for (size_t i = 0; i < COUNT_OF(sizes); i++) {
		size_t size = usable(objects[i]);
		char *p = objects[i], inside[100];

		expect_double_free(p);
		if (sizes[i] <= CELL_MAX) {
			expect(free_twice, "free", make_beside_another(sizes[i]),
			       "this block is already free");
			expect(free_twice_later, "free", make_beside_another(sizes[i]),
			       "this block is already free");
		}
		if (size < 64)
			continue;
		snprintf(inside, sizeof(inside),
			 "not the start of a block, but inside one of %zu bytes at %p", size, p);
		expect(free_it, "free", p + 16, inside);
		snprintf(inside, sizeof(inside), "not allocated with 32 bytes: this block has %zu",
			 size);
		if (size < 64 * KIB)
			expect(free_sized_as_32, "free_sized", p, inside);
	}
}

/* Unmapped memory, inside and outside of windows, is not read. */
TEST(foreign_pointers)
{
	uintptr_t start;

	set_up();
	start = last_window()->map.start;
	expect(free_it, "free", (void *)start, "not a block of this allocator");
	expect(free_it, "free", (void *)(start + WINDOW_SIZE - 16),
	       "not a block of this allocator");
	expect(free_it, "free", (void *)(start - 5 * WINDOW_SIZE), "not a block of this allocator");
	expect(free_it, "free", (char *)make_in_last_window(1) + ((uintptr_t)1 << 49),
	       "not a block of this allocator");
	expect(free_it, "free", (char *)make_in_last_window(1) + ((uintptr_t)1 << 63),
	       "not a block of this allocator");
}

/* ---- Placement of segments ---- */

/* Free memory in the first windows is used first. */
TEST(near_segments_are_used_first)
{
	char *near;

	set_up();
	for (struct segment *g = NULL; (g = segment_next(SET_LIVE, g));)
		CHECK(segment_is_in(g, SET_LIVE) && segment_is_in((char *)g + 100, SET_LIVE));
	near = (char *)segment_next(SET_LIVE, NULL);
	CHECK(window_of(near) == window_first());
	make_objects();
	for (unsigned int page = SLOT_PAGES; page < MAP_PAGES; page++)
		if (((struct segment *)(void *)near)->spans[page])
			free(near + page * PAGE_BYTES);
	malloc_trim(0);
	CHECK(window_of(malloc(SPAN_MAX)) == window_first());
	check_all();
}

TEST(far_segments_go_back_and_come_again)
{
	void *p[100];
	size_t segments;

	set_up();
	malloc_trim(0);
	segments = slab_store.segments;
	for (int round = 0; round < 3; round++) {
		for (size_t i = 0; i < COUNT_OF(p); i++)
			p[i] = make_in_last_window(SPAN_MAX);
		CHECK(slab_store.segments >= segments + 90);
		for (size_t i = 0; i < COUNT_OF(p); i++)
			free(p[i]);
		malloc_trim(0);
		CHECK(slab_store.segments <= segments + 1);
		check_all();
	}
	CHECK(window_first()->next->next == last_window());
}

/* ---- Introspection ---- */

struct seen {
	size_t segments, slabs, spans;
};

static int count_item(const struct osmem_item *item, void *arg)
{
	struct seen *seen = arg;

	if (window_of(item->start) != last_window())
		return 0;
	seen->segments += item->kind == OSMEM_SEGMENT;
	seen->slabs += item->kind == OSMEM_SLAB;
	seen->spans += item->kind == OSMEM_SPAN;
	return 0;
}

TEST(walks_meet_far_objects)
{
	struct seen seen = {0};

	set_up();
	make_objects();
	osmem_walk(count_item, &seen);
	CHECK_MSG(seen.segments >= 2 && seen.slabs >= 7 && seen.spans >= 5,
		  "%zu segments, %zu slabs, %zu spans", seen.segments, seen.slabs, seen.spans);
}

/* ---- The child of a fork ---- */

TEST(child_has_far_objects)
{
	int status;
	pid_t pid;

	set_up();
	make_objects();
	pid = fork();
	if (pid == 0) {
		check_all();
		free_objects(NULL);
		make_objects();
		check_all();
		_exit(0);
	}
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	free_objects(NULL);
}

/* ---- Hardened ---- */

TEST(hardened_objects)
{
	char *arguments[] = {"windows", "hardened_objects", NULL}, said[1024];

	free(malloc(1));
	if (!slab_store.is_hardened) {
		int status = test_again("hardened", arguments, said, sizeof(said));

		CHECK_MSG(status == 0, "%s", said);
		return;
	}
	set_up();
	for (size_t i = 0; i < COUNT_OF(sizes); i++) {
		char *p = sizes[i] <= CELL_USER_MAX ? make_in_last_window(sizes[i])
						    : malloc(sizes[i]);

		CHECK(p && usable(p) == sizes[i]);
		fill(p, i, sizes[i]);
		expect(free_twice, "free", p, "this block is already free");
		p = realloc(p, sizes[i] + 100);
		CHECK(p);
		check_fill((unsigned char *)p, i, sizes[i]);
		free_sized(p, sizes[i] + 100);
	}
	check_all();
}

/* ---- The kernel refuses ---- */

static void use_up_slots(void)
{
	while (segment_next(SET_ROOMY, NULL))
		CHECK(malloc(SLAB_CELL_MAX));
}

/*
 * Refuse each call that a new window needs, and all from one on: a mapping serves, or malloc fails.
 */
TEST(window_is_refused)
{
	set_up();
	for (size_t first = 1, failures = 1; failures; first++) {
		take_last_window();
		use_up_slots();
		slab_store.skips = 0;
		note_live();
		refuse(first, first);
		CHECK(malloc(SPAN_MAX));
		failures = kernel.failures;
		refuse_nothing();
		check_all();
	}
}

/* There is memory, but not for segments: not every cell asks for one. */
TEST(segments_are_always_refused)
{
	struct osmem_cell_stats before, after;

	set_up();
	take_last_window();
	use_up_slots();
	slab_get_stats(&before);
	kernel.least = SEGMENT_FIRST + SEGMENT_SIZE;
	refuse(1, SIZE_MAX); /* and so few blocks that their table is smaller */
	for (int i = 0; i < 20000; i++)
		CHECK(malloc(64));
	slab_get_stats(&after);
	CHECK(kernel.failures);
	CHECK(after.segments == before.segments);
	CHECK_MSG(after.mmap_calls < before.mmap_calls + 1000, "%zu calls",
		  after.mmap_calls - before.mmap_calls);
	check_all();
	refuse_nothing();
	for (int i = 0; i < 200; i++)
		CHECK(malloc(SLAB_CELL_MAX));
	CHECK(last_window() != window_first()->next->next);
}
