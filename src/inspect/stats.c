// SPDX-License-Identifier: BSD-3-Clause

/* The statistics as tables. */

#include <stddef.h>
#include <stdint.h>

#include "cache/tcache.h"
#include "helpers.h"
#include "inspect.h"
#include "slab/slab.h"
#include "stats.h"
#include "text.h"
#include "trace/calls.h"

#define SHOWN_THREADS 32

/* The source of the rows of the first table. */
struct figures {
	struct osmem_stats s;
	size_t cached_spans, cached_bytes; /* of malloc: spans that threads cache */
};

struct row {
	char name[28]; /* no pointer, which would be relocated in every program */
	size_t course, malloc; /* offsets of their figures, or NONE */
};

#define NONE SIZE_MAX
#define COURSE(field) offsetof(struct figures, s.course.field)
#define LARGE(field) offsetof(struct figures, s.libc.field)
#define CELLS(field) offsetof(struct figures, s.cells.field)
#define BOTH(field) COURSE(field), LARGE(field)

static const struct row rows[] = {
	{"blocks allocated", BOTH(allocs)},
	{"blocks freed", BOTH(frees)},
	{"blocks resized", BOTH(reallocs)},
	{"searches", COURSE(searches), NONE},
	{"splits", COURSE(splits), NONE},
	{"coalesces", COURSE(coalesces), NONE},
	{"brk calls", COURSE(brk_calls), NONE},
	{"mmap calls", BOTH(mmap_calls)},
	{"munmap calls", BOTH(munmap_calls)},
	{"mremap calls", NONE, LARGE(mremap_calls)},
	{"regions", COURSE(regions), NONE},
	{"region bytes", COURSE(region_bytes), NONE},
	{"bytes in reserve", COURSE(ahead_bytes), NONE},
	{"blocks in regions", COURSE(blocks), NONE},
	{"live blocks", BOTH(live_blocks)},
	{"live bytes with headers", BOTH(live_bytes)},
	{"mapped blocks", BOTH(mapped_blocks)},
	{"mapped bytes", BOTH(mapped_bytes)},
	{"peak bytes", BOTH(peak_bytes)},
	{"spans", NONE, LARGE(blocks)},
	{"bytes in spans", NONE, LARGE(region_bytes)},
	{"bytes of cached mappings", NONE, LARGE(ahead_bytes)},
	{"spans cached by threads", NONE, offsetof(struct figures, cached_spans)},
	{"bytes of cached spans", NONE, offsetof(struct figures, cached_bytes)},
};

/* Valid only with TCACHE_COUNTS. */
static const struct row counted_rows[] = {
	{"cells allocated", NONE, CELLS(allocs)},
	{"cells freed", NONE, CELLS(frees)},
	{"cells resized", NONE, CELLS(reallocs)},
};

static const struct row cell_rows[] = {
	{"live cells", NONE, CELLS(live)},
	{"live bytes in cells", NONE, CELLS(live_bytes)},
	{"cached cells", NONE, CELLS(cached)},
	{"cached bytes in cells", NONE, CELLS(cached_bytes)},
	{"thread caches", NONE, CELLS(threads)},
	{"slabs", NONE, CELLS(slabs)},
	{"segments", NONE, CELLS(segments)},
	{"dirty bytes in segments", NONE, CELLS(dirty_bytes)},
	{"mmap calls, segments", NONE, CELLS(mmap_calls)},
	{"munmap calls, segments", NONE, CELLS(munmap_calls)},
	{"madvise calls, segments", NONE, CELLS(madvise_calls)},
};

static void add_column(struct text *t, const struct figures *f, size_t offset)
{
	if (offset == NONE)
		text_add(t, " %14s", "-");
	else
		text_add(t, " %14zu", stats_figure(f, offset));
}

static void add_rows(struct text *t, const struct figures *f, const struct row *row, size_t n)
{
	for (; n > 0; n--, row++) {
		text_add(t, "osmem:   %-24s", row->name);
		add_column(t, f, row->course);
		add_column(t, f, row->malloc);
		text_add(t, "\n");
	}
}

static void add_heaps(struct text *t, const struct osmem_stats *s)
{
	struct figures f = {.s = *s,
			    .cached_spans = s->libc.blocks - s->libc.live_blocks,
			    .cached_bytes = s->libc.region_bytes - s->libc.live_bytes};

	text_add(t, "osmem: process %-18u %14s %14s\n", (unsigned int)sys_process(), "os_malloc",
		 "malloc");
	add_rows(t, &f, rows, COUNT_OF(rows));
	if (calls_modes & CALLS_COUNTED)
		add_rows(t, &f, counted_rows, COUNT_OF(counted_rows));
	add_rows(t, &f, cell_rows, COUNT_OF(cell_rows));
}

static const char call_names[TRACE_NAME_END][24] = {
	[TRACE_OS_MALLOC] = "os_malloc",
	[TRACE_OS_CALLOC] = "os_calloc",
	[TRACE_OS_REALLOC] = "os_realloc",
	[TRACE_OS_FREE] = "os_free",
	[TRACE_MALLOC] = "malloc",
	[TRACE_CALLOC] = "calloc",
	[TRACE_REALLOC] = "realloc",
	[TRACE_REALLOCARRAY] = "reallocarray, overflow",
	[TRACE_FREE] = "free",
	[TRACE_FREE_SIZED] = "free_sized",
	[TRACE_FREE_ALIGNED_SIZED] = "free_aligned_sized",
	[TRACE_ALIGNED_ALLOC] = "aligned_alloc",
	[TRACE_MEMALIGN] = "memalign",
	[TRACE_POSIX_MEMALIGN] = "posix_memalign",
	[TRACE_VALLOC] = "valloc",
	[TRACE_PVALLOC] = "pvalloc",
	[TRACE_NEW] = "operator new",
	[TRACE_DELETE] = "operator delete",
	[TRACE_MALLOC_TRIM] = "malloc_trim",
};

const char *stats_call_name(enum trace_name call)
{
	return call_names[call];
}

static void add_call(struct text *t, const char *name, enum trace_name call)
{
	struct call_stats n;

	calls_get(call, &n);
	if (n.calls || call == TRACE_NAME_END)
		text_add(t, "osmem:   %-24s %14zu %14zu %14zu\n", name, n.calls, n.bytes, n.failed);
}

/* Names without calls are left out. */
static void add_calls(struct text *t)
{
	text_add(t, "osmem: calls %34s %14s %14s\n", "calls", "requested", "failed");
	for (unsigned int i = 0; i < TRACE_NAME_END; i++)
		add_call(t, call_names[i], (enum trace_name)i);
	add_call(t, "all calls", TRACE_NAME_END);
}

static unsigned long percent(size_t part, size_t whole)
{
	return whole ? (unsigned long)((double)part * 100 / (double)whole + 0.5) : 0;
}

bool stats_get_class(unsigned int class, struct stats_class *c)
{
	struct slab_class_stats slabs;
	struct tcache_class_stats cached;

	slab_get_class(class, &slabs);
	if (!slabs.slabs)
		return false;
	tcache_get_class(class, &cached);
	*c = (struct stats_class){.size = slabs.cell, .slabs = slabs.slabs, .room = slabs.cells};
	c->cached = cached.with_threads + cached.in_depots;
	c->live = slabs.out > c->cached ? slabs.out - c->cached : 0;
	return true;
}

static void add_classes(struct text *t)
{
	struct stats_class c;

	text_add(t, "osmem: cells of bytes %10s %12s %12s %12s %6s\n", "slabs", "room", "live",
		 "cached", "live");
	for (unsigned int class = 1; class < CLASS_COUNT; class += 1)
		if (stats_get_class(class, &c))
			text_add(t, "osmem:   %12zu %12zu %12zu %12zu %12zu %5lu%%\n", c.size,
				 c.slabs, c.room, c.live, c.cached, percent(c.live, c.room));
}

static void add_threads(struct text *t)
{
	struct tcache_thread_stats threads[SHOWN_THREADS];
	size_t n = tcache_list(threads, SHOWN_THREADS);

	text_add(t, "osmem: thread %18s %14s\n", "cached cells", "cached bytes");
	for (size_t i = 0; i < n && i < SHOWN_THREADS; i++)
		text_add(t, "osmem:   %-10u %12zu %14zu\n", threads[i].id, threads[i].cells,
			 threads[i].bytes);
	if (n > SHOWN_THREADS)
		text_add(t, "osmem:   and %zu more\n", n - SHOWN_THREADS);
}

static void add_figure(struct text *t, const char *name, size_t n)
{
	text_add(t, "osmem:   %-24s %14zu\n", name, n);
}

/* A figure that is unknown if it is 0. */
static void add_known(struct text *t, const char *name, size_t n)
{
	if (n)
		add_figure(t, name, n);
	else
		text_add(t, "osmem:   %-24s %14s\n", name, "-");
}

static void add_process(struct text *t, const struct osmem_stats *s)
{
	struct sys_memory memory;

	sys_get_memory(&memory);
	text_add(t, "osmem: totals\n");
	add_figure(t, "live bytes", s->live_bytes);
	if (calls_modes & CALLS_COUNTED)
		add_figure(t, "peak live bytes, malloc", calls_peak_bytes());
	add_figure(t, "held bytes", s->held_bytes);
	text_add(t, "osmem:   %-24s %13lu%%\n", "fragmentation",
		 100 - percent(s->live_bytes, s->held_bytes));
	add_known(t, "resident bytes", memory.resident);
	add_known(t, "peak resident bytes", memory.peak_resident);
	add_figure(t, "page faults", memory.minor_faults);
	add_figure(t, "page faults from disk", memory.major_faults);
	add_figure(t, "all brk calls", sys_count(SYS_BRK));
	add_figure(t, "all mmap calls", sys_count(SYS_MMAP));
	add_figure(t, "all munmap calls", sys_count(SYS_MUNMAP));
	add_figure(t, "all mremap calls", sys_count(SYS_MREMAP));
	add_figure(t, "all madvise calls", sys_count(SYS_MADVISE));
}

void stats_write_table(struct text *t)
{
	struct osmem_stats s;

	inspect_get_stats(&s);
	add_heaps(t, &s);
	if (calls_modes & CALLS_COUNTED)
		add_calls(t);
	add_classes(t);
	add_threads(t);
	add_process(t, &s);
}
