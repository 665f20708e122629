// SPDX-License-Identifier: BSD-3-Clause
// Needs: libosmem.so

/* osmem_inspect.h: what a program sees of its heap. */

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "blocks.h"
#include "harness.h"
#include "osmem.h"
#include "osmem_inspect.h"
#include "tracefile.h"

static void *volatile sink;

/* ---- Walking ---- */

/* The blocks of os_malloc as heap_text has them, and what else was met. */
struct seen {
	char text[4096];
	size_t len, regions, mapped, segments, slabs;
};

static int see(const struct osmem_item *i, void *arg)
{
	struct seen *s = arg;

	s->segments += i->kind == OSMEM_SEGMENT;
	s->slabs += i->kind == OSMEM_SLAB;
	if (i->heap != OSMEM_COURSE)
		return 0;
	s->regions += i->kind == OSMEM_REGION;
	s->mapped += i->kind == OSMEM_MAPPED;
	if (i->kind == OSMEM_BLOCK)
		s->len += (size_t)snprintf(s->text + s->len, sizeof(s->text) - s->len, "%s%c%zu",
					   s->len ? " " : "", i->status ? 'a' : 'f', i->payload);
	return 0;
}

TEST(a_walk_meets_every_block)
{
	static struct seen s;
	void *p[20];

	for (size_t i = 0; i < COUNT_OF(p); i++)
		p[i] = os_malloc(100 + i * 50);
	for (size_t i = 0; i < COUNT_OF(p); i += 3)
		os_free(p[i]);
	CHECK(os_malloc(300000));
	sink = malloc(1);
	CHECK(osmem_walk(see, &s) == 0);
	CHECK_MSG(strcmp(s.text, heap_text(p[1])) == 0, "%s\nwant %s", s.text, heap_text(p[1]));
	CHECK(s.regions == 1 && s.mapped == 1 && s.segments > 0 && s.slabs > 0);
}

struct wanted {
	const char *p;
	struct osmem_item found;
	size_t count;
};

/* The course's blocks begin in front of the pointer, slabs anywhere. */
static int find(const struct osmem_item *i, void *arg)
{
	struct wanted *w = arg;
	const char *start = i->start;

	if (i->kind != OSMEM_REGION && i->kind != OSMEM_SEGMENT && w->p >= start &&
	    w->p < start + i->size) {
		w->found = *i;
		w->count++;
	}
	return 0;
}

static size_t count_of(const void *p)
{
	struct wanted w = {.p = p};

	CHECK(osmem_walk(find, &w) == 0);
	return w.count;
}

static struct osmem_item item_of(const void *p)
{
	struct wanted w = {.p = p};

	CHECK(osmem_walk(find, &w) == 0);
	CHECK_MSG(w.count == 1, "%zu items have it", w.count);
	return w.found;
}

TEST(a_walk_meets_every_kind_of_block)
{
	char *cell = malloc(100), *span = malloc(60000), *mapped = malloc(5000000);
	struct osmem_item i = item_of(cell);

	CHECK(i.kind == OSMEM_SLAB && i.heap == OSMEM_CELLS && i.cell == 112 && !i.is_own);
	CHECK((size_t)(cell - (char *)(uintptr_t)i.start) % i.cell == 0);
	CHECK(i.out > 0 && i.out <= i.carved && i.carved <= i.cells && i.cells * i.cell <= i.size);
	i = item_of(span);
	CHECK(i.kind == OSMEM_SPAN && i.heap == OSMEM_LIBC && i.status == 1);
	CHECK(i.start == span && i.payload >= 60000 && i.payload == malloc_usable_size(span));
	i = item_of(mapped);
	CHECK(i.kind == OSMEM_MAPPED && i.heap == OSMEM_LIBC && i.status == 2);
	CHECK(i.start == mapped && i.payload >= 5000000 && i.mapping >= i.size);
	free(span); /* kept by this thread */
	CHECK(item_of(span).status == 0);
	malloc_trim(0);
	CHECK(count_of(span) == 0);
}

static int end_at_third(const struct osmem_item *i, void *arg)
{
	int *count = arg;

	(void)i;
	return ++*count == 3 ? 7 : 0;
}

TEST(a_callback_ends_the_walk)
{
	int count = 0;

	sink = os_malloc(1);
	sink = malloc(1);
	CHECK(osmem_walk(end_at_third, &count) == 7 && count == 3);
}

/* Nothing is locked: all that a program may do elsewhere it may do in the callback. */
static int use_everything(const struct osmem_item *i, void *arg)
{
	static int depth;
	size_t *count = arg;
	struct osmem_stats stats;

	(void)i;
	sink = os_realloc(os_malloc(100), 5000);
	os_free(sink);
	sink = realloc(malloc(100), 200000);
	free(sink);
	osmem_get_stats(&stats, sizeof(stats));
	if (depth++ == 0) {
		size_t inner = 0;

		CHECK(osmem_walk(use_everything, &inner) == 0 && inner > 0);
	}
	++*count;
	return 0;
}

static void *walk_in_thread(void *arg)
{
	CHECK(osmem_walk(use_everything, arg) == 0);
	return NULL;
}

TEST(a_callback_may_allocate)
{
	size_t count = 0;
	pthread_t thread;

	sink = os_malloc(1);
	CHECK(osmem_walk(use_everything, &count) == 0 && count > 0);
	CHECK(pthread_create(&thread, NULL, walk_in_thread, &count) == 0);
	CHECK(pthread_join(thread, NULL) == 0);
}

static int any(const struct osmem_item *i, void *arg)
{
	(void)i;
	(void)arg;
	return 0;
}

TEST(no_memory_for_a_walk)
{
	sink = malloc(1);
	limit_addresses(MIB);
	errno = 0;
	CHECK(osmem_walk(any, NULL) == -1 && errno == ENOMEM);
}

/* ---- Figures ---- */

TEST(figures_follow_the_calls)
{
	struct osmem_stats before, after;
	void *p;

	sink = os_malloc(1);
	osmem_get_stats(&before, sizeof(before));
	CHECK(before.size == sizeof(before));
	p = os_malloc(1000);
	sink = malloc(300000);
	sink = malloc(3000000);
	osmem_get_stats(&after, sizeof(after));
	CHECK(after.course.allocs == before.course.allocs + 1);
	CHECK(after.course.searches == before.course.searches + 1);
	CHECK(after.course.splits == before.course.splits + 1);
	CHECK(after.course.live_bytes == before.course.live_bytes + 1032);
	CHECK(after.libc.mapped_blocks == before.libc.mapped_blocks + 1);
	CHECK(after.libc.mmap_calls == before.libc.mmap_calls + 1);
	CHECK(after.libc.live_blocks == before.libc.live_blocks + 1);
	CHECK(after.libc.live_bytes >= before.libc.live_bytes + 300000);
	CHECK(after.libc.mapped_bytes >= before.libc.mapped_bytes + 3000000);
	CHECK(after.live_bytes >= before.live_bytes + 3301032);
	CHECK(after.held_bytes >= after.live_bytes);
	os_free(p);
	osmem_get_stats(&after, sizeof(after));
	CHECK(after.course.frees == before.course.frees + 1);
	CHECK(after.course.live_bytes == before.course.live_bytes);
}

/* A program that knows less, and one that knows more. */
TEST(figures_have_a_version)
{
	struct {
		struct osmem_stats known;
		size_t newer;
	} s;

	memset(&s, 0xff, sizeof(s));
	osmem_get_stats(&s.known, offsetof(struct osmem_stats, cells));
	CHECK(s.known.size == offsetof(struct osmem_stats, cells));
	CHECK(s.known.cells.segments == SIZE_MAX);
	osmem_get_stats(&s.known, sizeof(s));
	CHECK(s.known.size == sizeof(s.known) && s.newer == 0);
}

/* ---- Checks ---- */

TEST(a_sound_heap_has_no_fault)
{
	void *p = os_malloc(100);

	CHECK(!osmem_check());
	os_free(p);
	sink = malloc(100);
	free(sink);
	CHECK(!osmem_check());
}

TEST(a_damaged_heap_has_one)
{
	char *p = os_malloc(100);

	memset(p + 104, 0x55, 32); /* the next header */
	CHECK(osmem_check());
	_exit(0);
}

/* ---- Maps ---- */

TEST(a_map_has_every_block)
{
	char path[64];
	struct tracefile t;
	struct seen s = {.len = 0};
	void *p[10];

	for (size_t i = 0; i < COUNT_OF(p); i++)
		p[i] = os_malloc(100 + i);
	os_free(p[3]);
	snprintf(path, sizeof(path), "/tmp/osmem-map-%d", (int)getpid());
	CHECK(osmem_write_map(path) == 0);
	t = tracefile_open(path);
	unlink(path);
	for (size_t i = 0; i < t.count; i++)
		if (t.records[i].kind == TRACE_SNAP_BLOCK && t.records[i].what == TRACE_HEAP_COURSE)
			s.len += (size_t)snprintf(s.text + s.len, sizeof(s.text) - s.len, "%s%c%lu",
						  s.len ? " " : "", t.records[i].c ? 'a' : 'f',
						  (unsigned long)t.records[i].b);
	CHECK(strcmp(s.text, heap_text(p[0])) == 0);
	CHECK(t.count == t.header->capacity && t.count == t.header->next);
	CHECK(tracefile_count(&t, TRACE_SNAP_BEGIN, TRACE_ASKED) == 1);
	CHECK(tracefile_count(&t, TRACE_SNAP_END, TRACE_ASKED) == 1);
	CHECK(tracefile_count(&t, TRACE_FIGURES, 0) == 1);
}

TEST(maps_that_cannot_be_written)
{
	errno = 0;
	CHECK(osmem_write_map("/nonexistent/map") == -1 && errno == ENOENT);
	CHECK(osmem_write_map("/") == -1 && errno == EISDIR);
	errno = 0;
	CHECK(osmem_write_map("/dev/full") == -1 && errno == ENOSPC);
}
