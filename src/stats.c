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

#include "helpers.h"
#include "inspect.h"
#include "options.h"
#include "printf.h"
#include "slab.h"
#include "tcache.h"

#define EXPORT __attribute__((visibility("default")))
#define TEXT_SIZE 4096
#define LINE_ROOM 128
#define SHOWN_THREADS 32
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

/* The summary. */

struct row {
	const char *name;
	size_t offset; /* of the figure in struct osmem_heap_stats, or osmem_cell_stats */
};

#define ROW(text, field)                                                                           \
	{                                                                                          \
		.name = text, .offset = offsetof(struct osmem_heap_stats, field)                   \
	}

#define CELL_ROW(text, field)                                                                      \
	{                                                                                          \
		.name = text, .offset = offsetof(struct osmem_cell_stats, field)                   \
	}

static const struct row rows[] = {
	ROW("blocks allocated", allocs),
	ROW("blocks freed", frees),
	ROW("blocks resized", reallocs),
	ROW("searches", searches),
	ROW("splits", splits),
	ROW("coalesces", coalesces),
	ROW("brk calls", brk_calls),
	ROW("mmap calls", mmap_calls),
	ROW("munmap calls", munmap_calls),
	ROW("mremap calls", mremap_calls),
	ROW("madvise calls", madvise_calls),
	ROW("regions", regions),
	ROW("region bytes", region_bytes),
	ROW("bytes ahead of need", ahead_bytes),
	ROW("blocks in regions", blocks),
	ROW("live blocks", live_blocks),
	ROW("live bytes, headers too", live_bytes),
	ROW("mapped blocks", mapped_blocks),
	ROW("mapped bytes", mapped_bytes),
	ROW("peak bytes", peak_bytes),
};

/* Counted only while somebody asks: see TCACHE_COUNTS. */
static const struct row counted_rows[] = {
	CELL_ROW("cells allocated", allocs),
	CELL_ROW("cells freed", frees),
	CELL_ROW("cells resized", reallocs),
};

static const struct row cell_rows[] = {
	CELL_ROW("live cells", live),
	CELL_ROW("live bytes in cells", live_bytes),
	CELL_ROW("cached cells", cached),
	CELL_ROW("cached bytes in cells", cached_bytes),
	CELL_ROW("thread caches", threads),
	CELL_ROW("slabs", slabs),
	CELL_ROW("segments", segments),
	CELL_ROW("dirty bytes in segments", dirty_bytes),
	CELL_ROW("mmap calls for cells", mmap_calls),
	CELL_ROW("munmap calls for cells", munmap_calls),
	CELL_ROW("madvise calls for cells", madvise_calls),
};

static unsigned long figure(const void *stats, const struct row *row)
{
	size_t value;

	memcpy(&value, (const char *)stats + row->offset, sizeof(value));
	return value;
}

/* os_malloc has no cells. */
static void add_cell_rows(struct text *t, const struct osmem_cell_stats *cells,
			  const struct row *row, size_t n)
{
	for (; n > 0; n--, row++)
		add(t, "osmem:   %-24s %14s %14lu\n", row->name, "-", figure(cells, row));
}

static void print(struct text *t)
{
	sys_print(t->at, t->len);
	t->len = 0;
}

static unsigned long percent(size_t part, size_t whole)
{
	return whole ? (unsigned long)((double)part * 100 / (double)whole + 0.5) : 0;
}

static void print_heaps(struct text *t, const struct osmem_stats *s)
{
	add(t, "osmem: process %u %26s %14s\n", (unsigned int)sys_process(), "os_malloc", "malloc");
	for (size_t i = 0; i < COUNT_OF(rows); i++)
		add(t, "osmem:   %-24s %14lu %14lu\n", rows[i].name, figure(&s->course, &rows[i]),
		    figure(&s->libc, &rows[i]));
	if (options_has_stats())
		add_cell_rows(t, &s->cells, counted_rows, COUNT_OF(counted_rows));
	add_cell_rows(t, &s->cells, cell_rows, COUNT_OF(cell_rows));
	print(t);
}

static void print_classes(struct text *t)
{
	struct slab_class_stats slabs;
	struct tcache_class_stats cached;
	size_t live;

	add(t, "osmem: cells of bytes %10s %12s %12s %12s %6s\n", "slabs", "room", "live", "cached",
	    "live");
	for (unsigned int class = 1; class < CLASS_COUNT; class += 1) {
		slab_get_class(class, &slabs);
		if (!slabs.slabs)
			continue;
		tcache_get_class(class, &cached);
		live = cached.with_threads + cached.in_depots;
		live = slabs.out > live ? slabs.out - live : 0; /* of two moments */
		add(t, "osmem:   %12zu %12zu %12zu %12zu %12zu %5lu%%\n", slabs.cell, slabs.slabs,
		    slabs.cells, live, cached.with_threads + cached.in_depots,
		    percent(live, slabs.cells));
		if (t->len > TEXT_SIZE - LINE_ROOM)
			print(t);
	}
	print(t);
}

static void print_threads(struct text *t)
{
	struct tcache_thread_stats threads[SHOWN_THREADS];
	size_t n = tcache_list(threads, SHOWN_THREADS);

	add(t, "osmem: thread %18s %14s\n", "cached cells", "cached bytes");
	for (size_t i = 0; i < n && i < SHOWN_THREADS; i++)
		add(t, "osmem:   %-10u %12zu %14zu\n", threads[i].id, threads[i].cells,
		    threads[i].bytes);
	if (n > SHOWN_THREADS)
		add(t, "osmem:   and %zu more\n", n - SHOWN_THREADS);
	print(t);
}

static void print_process(struct text *t, const struct osmem_stats *s)
{
	struct sys_memory memory;
	struct sys_usage usage;

	sys_get_memory(&memory);
	sys_get_usage(&usage);
	add(t, "osmem: in all\n");
	add(t, "osmem:   %-24s %14zu\n", "live bytes", s->live_bytes);
	add(t, "osmem:   %-24s %14zu\n", "held bytes", s->held_bytes);
	add(t, "osmem:   %-24s %13lu%%\n", "live of held", percent(s->live_bytes, s->held_bytes));
	add(t, "osmem:   %-24s %14zu\n", "resident bytes", memory.resident);
	add(t, "osmem:   %-24s %14zu\n", "peak resident bytes", usage.peak_resident);
	add(t, "osmem:   %-24s %14zu\n", "page faults", usage.minor_faults);
	add(t, "osmem:   %-24s %14zu\n", "page faults from disk", usage.major_faults);
	print(t);
}

void stats_print(void)
{
	struct osmem_stats s;
	struct text t = {.len = 0};

	inspect_get_stats(&s);
	print_heaps(&t, &s);
	print_classes(&t);
	print_threads(&t);
	print_process(&t, &s);
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

static size_t free_bytes(const struct osmem_heap_stats *s)
{
	return s->region_bytes - s->live_bytes;
}

static void add_heap_info(struct mallinfo2 *info, const struct osmem_heap_stats *s)
{
	info->arena += s->region_bytes + s->ahead_bytes;
	info->ordblks += s->blocks - s->live_blocks;
	info->hblks += s->mapped_blocks;
	info->hblkhd += s->mapped_bytes;
	info->uordblks += s->live_bytes;
	info->fordblks += free_bytes(s) + s->ahead_bytes;
	info->keepcost += s->ahead_bytes;
}

static void add_cell_info(struct mallinfo2 *info, const struct osmem_cell_stats *s)
{
	size_t free = s->cached_bytes + s->free_bytes + s->dirty_bytes;

	info->arena += s->live_bytes + free;
	info->uordblks += s->live_bytes;
	info->fordblks += free;
	info->ordblks += s->free;
	info->smblks += s->cached;
	info->fsmblks += s->cached_bytes;
	info->keepcost += s->dirty_bytes;
}

/* malloc_info(3), mallinfo(3). Sizes are in bytes; any thread may call it. */
EXPORT struct mallinfo2 mallinfo2(void)
{
	struct mallinfo2 info = {0};
	struct osmem_stats s;

	inspect_get_stats(&s);
	add_heap_info(&info, &s.course);
	add_heap_info(&info, &s.libc);
	add_cell_info(&info, &s.cells);
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

static void add_heap(struct text *t, int nr, const char *name, const struct osmem_heap_stats *s)
{
	add(t, "<heap nr=\"%d\" name=\"%s\">\n", nr, name);
	add_total(t, "rest", s->blocks - s->live_blocks, free_bytes(s));
	add_total(t, "live", s->live_blocks, s->live_bytes);
	add_total(t, "mmap", s->mapped_blocks, s->mapped_bytes);
	add(t, "<system type=\"current\" size=\"%lu\"/>\n",
	    (unsigned long)(s->region_bytes + s->ahead_bytes + s->mapped_bytes));
	add(t, "<system type=\"max\" size=\"%lu\"/>\n", (unsigned long)s->peak_bytes);
	add(t, "</heap>\n");
}

static void add_cells(struct text *t, int nr, const struct osmem_cell_stats *s)
{
	add(t, "<heap nr=\"%d\" name=\"malloc, cells\">\n", nr);
	add_total(t, "fast", s->cached, s->cached_bytes);
	add_total(t, "rest", s->free, s->free_bytes);
	add_total(t, "live", s->live, s->live_bytes);
	add(t, "<system type=\"current\" size=\"%lu\"/>\n",
	    (unsigned long)(s->live_bytes + s->cached_bytes + s->free_bytes + s->own_bytes +
			    s->dirty_bytes));
	add(t, "</heap>\n");
}

/* malloc_info(3): XML on stream. -1 with errno EINVAL for options other than 0, or when writing
 * fails. */
EXPORT int malloc_info(int options, FILE *stream)
{
	struct text t = {.len = 0};
	struct osmem_stats s;

	if (options != 0) {
		errno = EINVAL;
		return -1;
	}
	add(&t, "<malloc version=\"1\">\n");
	inspect_get_stats(&s);
	add_heap(&t, OSMEM_COURSE, "os_malloc", &s.course);
	add_heap(&t, OSMEM_LIBC, "malloc", &s.libc);
	add_cells(&t, OSMEM_CELLS, &s.cells);
	add(&t, "</malloc>\n");
	return fwrite(t.at, 1, t.len, stream) == t.len ? 0 : -1;
}
