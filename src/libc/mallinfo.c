// SPDX-License-Identifier: BSD-3-Clause

/*
 * The C library's heap statistics, for os_malloc and malloc together. A separate file, so that a
 * program with its own malloc and its own versions of these can link the archive.
 *
 *	arena     regions of os_malloc with their reserve, slabs, spans, cached mappings, and dirty
 *	          pages of segments; always uordblks + fordblks
 *	uordblks  live blocks with headers, live spans and live cells
 *	fordblks  the rest of arena
 *	ordblks   free blocks, cached spans, and free or uncarved cells of slabs
 *	smblks    cells in magazines, fsmblks their bytes, which are also in fordblks
 *	hblks     live mappings, hblkhd their bytes, which are not in arena
 *	keepcost  memory that is returned to the kernel first
 *
 * The library's own objects are not counted.
 */

#include <errno.h>
#include <limits.h>
#include <stdio.h>

#include "compat.h"
#include "inspect/inspect.h"
#include "inspect/text.h"

static size_t free_blocks(const struct osmem_heap_stats *s)
{
	return s->blocks - s->live_blocks;
}

static size_t free_bytes(const struct osmem_heap_stats *s)
{
	return s->region_bytes - s->live_bytes;
}

/* mallinfo(3). */
EXPORT struct mallinfo2 mallinfo2(void)
{
	size_t live, free, kept;
	struct osmem_stats s;

	inspect_get_stats(&s);
	live = s.course.live_bytes + s.libc.live_bytes + s.cells.live_bytes;
	kept = s.course.ahead_bytes + s.libc.ahead_bytes + s.cells.dirty_bytes;
	free = free_bytes(&s.course) + free_bytes(&s.libc) + s.cells.free_bytes +
	       s.cells.cached_bytes + kept;
	return (struct mallinfo2){
		.arena = live + free,
		.ordblks = free_blocks(&s.course) + free_blocks(&s.libc) + s.cells.free,
		.smblks = s.cells.cached,
		.fsmblks = s.cells.cached_bytes,
		.hblks = s.course.mapped_blocks + s.libc.mapped_blocks,
		.hblkhd = s.course.mapped_bytes + s.libc.mapped_bytes,
		.uordblks = live,
		.fordblks = free,
		.keepcost = kept,
	};
}

static int clamp(size_t n)
{
	return n > INT_MAX ? INT_MAX : (int)n;
}

/* mallinfo(3): as mallinfo2, with values limited to INT_MAX. */
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

/* malloc_stats(3): all figures on standard error. */
EXPORT void malloc_stats(void)
{
	stats_print(STATS_FULL);
}

static void add_total(struct text *t, const char *type, size_t count, size_t size)
{
	text_add(t, "<total type=\"%s\" count=\"%zu\" size=\"%zu\"/>\n", type, count, size);
}

static void add_heap(struct text *t, int nr, const char *name, const struct osmem_heap_stats *s)
{
	text_add(t, "<heap nr=\"%d\" name=\"%s\">\n", nr, name);
	add_total(t, "rest", free_blocks(s), free_bytes(s));
	add_total(t, "live", s->live_blocks, s->live_bytes);
	add_total(t, "mmap", s->mapped_blocks, s->mapped_bytes);
	text_add(t, "<system type=\"current\" size=\"%zu\"/>\n",
		 s->region_bytes + s->ahead_bytes + s->mapped_bytes);
	text_add(t, "<system type=\"max\" size=\"%zu\"/>\n</heap>\n", s->peak_bytes);
}

static void add_cells(struct text *t, int nr, const struct osmem_cell_stats *s)
{
	text_add(t, "<heap nr=\"%d\" name=\"malloc, cells\">\n", nr);
	add_total(t, "fast", s->cached, s->cached_bytes);
	add_total(t, "rest", s->free, s->free_bytes);
	add_total(t, "live", s->live, s->live_bytes);
	text_add(t, "<system type=\"current\" size=\"%zu\"/>\n</heap>\n",
		 s->live_bytes + s->cached_bytes + s->free_bytes + s->own_bytes + s->dirty_bytes);
}

/* malloc_info(3): XML. -1 with errno EINVAL for options other than 0; -1 if writing fails. */
EXPORT int malloc_info(int options, FILE *stream)
{
	struct text t = {.len = 0};
	struct osmem_stats s;

	if (options != 0) {
		errno = EINVAL;
		return -1;
	}
	text_add(&t, "<malloc version=\"1\">\n");
	inspect_get_stats(&s);
	add_heap(&t, OSMEM_COURSE, "os_malloc", &s.course);
	add_heap(&t, OSMEM_LIBC, "malloc", &s.libc);
	add_cells(&t, OSMEM_CELLS, &s.cells);
	text_add(&t, "</malloc>\n");
	return fwrite(t.at, 1, t.len, stream) == t.len ? 0 : -1;
}
