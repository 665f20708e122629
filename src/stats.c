// SPDX-License-Identifier: BSD-3-Clause

#include "stats.h"

#include <errno.h>
#include <limits.h>
#include <malloc.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "heap.h"
#include "helpers.h"
#include "options.h"
#include "printf.h"
#include "slab.h"
#include "tcache.h"

#define EXPORT __attribute__((visibility("default")))
#define TEXT_SIZE 4096
#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* A text that grows by formatted pieces and is cut off rather than overrun. */
struct text {
	size_t len;
	char at[TEXT_SIZE];
};

static void add(struct text *t, const char *format, ...) __attribute__((format(__printf__, 2, 3)));

static void add(struct text *t, const char *format, ...)
{
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf_(t->at + t->len, TEXT_SIZE - t->len, format, args);
	va_end(args);
	if (n > 0)
		t->len += (size_t)n < TEXT_SIZE - t->len ? (size_t)n : TEXT_SIZE - t->len - 1;
}

/*
 * Cells. A cell that waits in a magazine is out of the store, but not live. The two figures are of
 * two moments: while other threads run, their difference is approximate.
 */
struct cell_stats {
	struct slab_stats store;
	struct tcache_stats cached;
	size_t live_cells, live_bytes;
};

static size_t difference(size_t a, size_t b)
{
	return a > b ? a - b : 0;
}

static void get_cell_stats(struct cell_stats *s)
{
	slab_get_stats(&s->store);
	tcache_get_stats(&s->cached);
	s->live_cells = difference(s->store.out_cells, s->cached.cached_cells);
	s->live_bytes = difference(s->store.out_bytes, s->cached.cached_bytes);
}

/* The summary. */

struct row {
	const char *name;
	size_t offset; /* of the figure in struct heap_stats, or struct cell_stats */
};

#define ROW(text, field)                                                                           \
	{                                                                                          \
		.name = text, .offset = offsetof(struct heap_stats, field)                         \
	}

#define CELL_ROW(text, field)                                                                      \
	{                                                                                          \
		.name = text, .offset = offsetof(struct cell_stats, field)                         \
	}

static const struct row rows[] = {
	ROW("blocks allocated", allocs),
	ROW("blocks freed", frees),
	ROW("blocks resized", reallocs),
	ROW("searches", searches),
	ROW("splits", splits),
	ROW("coalesces", coalesces),
	ROW("brk calls", brk_calls),
	ROW("mmap calls", map_calls),
	ROW("munmap calls", unmap_calls),
	ROW("mremap calls", remap_calls),
	ROW("madvise calls", advise_calls),
	ROW("regions", regions),
	ROW("region bytes", region_bytes),
	ROW("bytes ahead of need", reserve_bytes),
	ROW("blocks in regions", blocks),
	ROW("live blocks", live_blocks),
	ROW("live bytes, headers too", live_bytes),
	ROW("mapped blocks", mapped_blocks),
	ROW("mapped bytes", mapped_bytes),
	ROW("peak bytes", peak_bytes),
};

/* Counted only while somebody asks: see TCACHE_COUNTS. */
static const struct row counted_rows[] = {
	CELL_ROW("cells allocated", cached.allocs),
	CELL_ROW("cells freed", cached.frees),
	CELL_ROW("cells resized", cached.reallocs),
};

static const struct row cell_rows[] = {
	CELL_ROW("live cells", live_cells),
	CELL_ROW("live bytes in cells", live_bytes),
	CELL_ROW("cached cells", cached.cached_cells),
	CELL_ROW("cached bytes in cells", cached.cached_bytes),
	CELL_ROW("thread caches", cached.caches),
	CELL_ROW("slabs", store.slabs),
	CELL_ROW("segments", store.segments),
	CELL_ROW("dirty bytes in segments", store.dirty_bytes),
	CELL_ROW("mmap calls for cells", store.map_calls),
	CELL_ROW("munmap calls for cells", store.unmap_calls),
	CELL_ROW("madvise calls for cells", store.advise_calls),
};

static unsigned long figure(const void *stats, const struct row *row)
{
	size_t value;

	memcpy(&value, (const char *)stats + row->offset, sizeof(value));
	return value;
}

/* os_malloc has no cells. */
static void add_cell_rows(struct text *t, const struct cell_stats *cells, const struct row *row,
			  size_t n)
{
	for (; n > 0; n--, row++)
		add(t, "osmem:   %-24s %14s %14lu\n", row->name, "-", figure(cells, row));
}

void stats_print(void)
{
	struct heap_stats course, libc;
	struct cell_stats cells;
	struct text t = {.len = 0};

	heap_get_stats(HEAP_COURSE, &course);
	heap_get_stats(HEAP_LIBC, &libc);
	get_cell_stats(&cells);
	add(&t, "osmem: process %d %26s %14s\n", (int)getpid(), "os_malloc", "malloc");
	for (size_t i = 0; i < COUNT_OF(rows); i++)
		add(&t, "osmem:   %-24s %14lu %14lu\n", rows[i].name, figure(&course, &rows[i]),
		    figure(&libc, &rows[i]));
	if (options_has_stats())
		add_cell_rows(&t, &cells, counted_rows, COUNT_OF(counted_rows));
	add_cell_rows(&t, &cells, cell_rows, COUNT_OF(cell_rows));
	sys_print(t.at, t.len);
}

/*
 * The C library's functions: figures of both heaps and of the cells together.
 *
 *	arena     regions and slabs, and what is ahead of need or free in segments and not yet with
 *	          the kernel; always uordblks + fordblks
 *	uordblks  live blocks, headers included, and live cells
 *	fordblks  everything else in arena
 *	ordblks   free blocks, and cells that slabs have or have room for
 *	smblks    cells in magazines, fsmblks their bytes, which are in fordblks too
 *	keepcost  what goes back to the kernel first
 *
 * Memory that holds the library's own records is in none of them.
 */

static size_t free_bytes(const struct heap_stats *s)
{
	return s->region_bytes - s->live_bytes;
}

static void add_cell_info(struct mallinfo2 *info)
{
	struct cell_stats s;
	size_t free;

	get_cell_stats(&s);
	free = difference(s.store.out_bytes, s.live_bytes) + s.store.free_bytes +
	       s.store.dirty_bytes;
	info->arena += s.live_bytes + free;
	info->uordblks += s.live_bytes;
	info->fordblks += free;
	info->ordblks += s.store.free_cells;
	info->smblks += s.cached.cached_cells;
	info->fsmblks += s.cached.cached_bytes;
	info->keepcost += s.store.dirty_bytes;
}

/* malloc_info(3), mallinfo(3). Sizes are in bytes; any thread may call it. */
EXPORT struct mallinfo2 mallinfo2(void)
{
	struct mallinfo2 info = {0};
	struct heap_stats s;

	for (int i = 0; i < HEAP_COUNT; i++) {
		heap_get_stats((enum heap_id)i, &s);
		info.arena += s.region_bytes + s.reserve_bytes;
		info.ordblks += s.blocks - s.live_blocks;
		info.hblks += s.mapped_blocks;
		info.hblkhd += s.mapped_bytes;
		info.uordblks += s.live_bytes;
		info.fordblks += free_bytes(&s) + s.reserve_bytes;
		info.keepcost += s.reserve_bytes;
	}
	add_cell_info(&info);
	return info;
}

static int clamp(size_t n)
{
	return n > INT_MAX ? INT_MAX : (int)n;
}

/* mallinfo(3): as mallinfo2, but what an int cannot hold reads as INT_MAX. */
EXPORT struct mallinfo mallinfo(void)
{
	struct mallinfo2 info = mallinfo2();

	return (struct mallinfo){
		.arena = clamp(info.arena),
		.ordblks = clamp(info.ordblks),
		.smblks = clamp(info.smblks),
		.fsmblks = clamp(info.fsmblks),
		.hblks = clamp(info.hblks),
		.hblkhd = clamp(info.hblkhd),
		.uordblks = clamp(info.uordblks),
		.fordblks = clamp(info.fordblks),
		.keepcost = clamp(info.keepcost),
	};
}

/* malloc_stats(3): a summary on standard error. */
EXPORT void malloc_stats(void)
{
	stats_print();
}

static void add_total(struct text *t, const char *type, size_t count, size_t size)
{
	add(t, "<total type=\"%s\" count=\"%lu\" size=\"%lu\"/>\n", type, (unsigned long)count,
	    (unsigned long)size);
}

static void add_heap(struct text *t, int nr, const struct heap_stats *s)
{
	add(t, "<heap nr=\"%d\" name=\"%s\">\n", nr, nr == HEAP_COURSE ? "os_malloc" : "malloc");
	add_total(t, "rest", s->blocks - s->live_blocks, free_bytes(s));
	add_total(t, "live", s->live_blocks, s->live_bytes);
	add_total(t, "mmap", s->mapped_blocks, s->mapped_bytes);
	add(t, "<system type=\"current\" size=\"%lu\"/>\n",
	    (unsigned long)(s->region_bytes + s->reserve_bytes + s->mapped_bytes));
	add(t, "<system type=\"max\" size=\"%lu\"/>\n", (unsigned long)s->peak_bytes);
	add(t, "</heap>\n");
}

static void add_cells(struct text *t, int nr)
{
	struct cell_stats s;

	get_cell_stats(&s);
	add(t, "<heap nr=\"%d\" name=\"malloc, cells\">\n", nr);
	add_total(t, "fast", s.cached.cached_cells, s.cached.cached_bytes);
	add_total(t, "rest", s.store.free_cells, s.store.free_bytes);
	add_total(t, "live", s.live_cells, s.live_bytes);
	add(t, "<system type=\"current\" size=\"%lu\"/>\n",
	    (unsigned long)(s.store.out_bytes + s.store.free_bytes + s.store.own_bytes +
			    s.store.dirty_bytes));
	add(t, "</heap>\n");
}

/* malloc_info(3): XML on stream. -1 with errno EINVAL for options other than 0, or when writing
 * fails. */
EXPORT int malloc_info(int options, FILE *stream)
{
	struct text t = {.len = 0};
	struct heap_stats s;

	if (options != 0) {
		errno = EINVAL;
		return -1;
	}
	add(&t, "<malloc version=\"1\">\n");
	for (int i = 0; i < HEAP_COUNT; i++) {
		heap_get_stats((enum heap_id)i, &s);
		add_heap(&t, i, &s);
	}
	add_cells(&t, HEAP_COUNT);
	add(&t, "</malloc>\n");
	return fwrite(t.at, 1, t.len, stream) == t.len ? 0 : -1;
}
