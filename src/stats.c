// SPDX-License-Identifier: BSD-3-Clause

#include "stats.h"

#include <string.h>

#include "calls.h"
#include "helpers.h"
#include "inspect.h"
#include "slab.h"
#include "tcache.h"
#include "text.h"

#define LINE_ROOM 128
#define SHOWN_THREADS 32
#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* Who has a figure. */
enum column {
	BOTH,
	COURSE_ONLY,
	MALLOC_ONLY,
};

struct row {
	const char *name;
	size_t offset; /* of the figure in struct osmem_heap_stats, or osmem_cell_stats */
	enum column column;
};

#define ROW(text, field, who)                                                                      \
	{                                                                                          \
		.name = text, .offset = offsetof(struct osmem_heap_stats, field), .column = who    \
	}

#define CELL_ROW(text, field)                                                                      \
	{                                                                                          \
		.name = text, .offset = offsetof(struct osmem_cell_stats, field),                  \
		.column = MALLOC_ONLY                                                              \
	}

static const struct row rows[] = {
	ROW("blocks allocated", allocs, BOTH),
	ROW("blocks freed", frees, BOTH),
	ROW("blocks resized", reallocs, BOTH),
	ROW("searches", searches, COURSE_ONLY),
	ROW("splits", splits, COURSE_ONLY),
	ROW("coalesces", coalesces, COURSE_ONLY),
	ROW("brk calls", brk_calls, COURSE_ONLY),
	ROW("mmap calls", mmap_calls, BOTH),
	ROW("munmap calls", munmap_calls, BOTH),
	ROW("mremap calls", mremap_calls, MALLOC_ONLY),
	ROW("regions", regions, COURSE_ONLY),
	ROW("region bytes", region_bytes, COURSE_ONLY),
	ROW("bytes ahead of need", ahead_bytes, COURSE_ONLY),
	ROW("blocks in regions", blocks, COURSE_ONLY),
	ROW("live blocks", live_blocks, BOTH),
	ROW("live bytes, headers too", live_bytes, BOTH),
	ROW("mapped blocks", mapped_blocks, BOTH),
	ROW("mapped bytes", mapped_bytes, BOTH),
	ROW("peak bytes", peak_bytes, BOTH),
	ROW("spans", blocks, MALLOC_ONLY),
	ROW("bytes in spans", region_bytes, MALLOC_ONLY),
	ROW("bytes of kept mappings", ahead_bytes, MALLOC_ONLY),
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
	CELL_ROW("mmap calls, segments", mmap_calls),
	CELL_ROW("munmap calls, segments", munmap_calls),
	CELL_ROW("madvise calls, segments", madvise_calls),
};

static unsigned long figure(const void *stats, const struct row *row)
{
	size_t value;

	memcpy(&value, (const char *)stats + row->offset, sizeof(value));
	return value;
}

static void add_figure(struct text *t, const void *stats, const struct row *row, bool is_there)
{
	if (is_there)
		text_add(t, " %14lu", figure(stats, row));
	else
		text_add(t, " %14s", "-");
}

/* Rows of os_malloc and malloc; of cells, the latter's. */
static void add_rows(struct text *t, const void *course, const void *malloc, const struct row *row,
		     size_t n)
{
	for (; n > 0; n--, row++) {
		text_add(t, "osmem:   %-24s", row->name);
		add_figure(t, course, row, row->column != MALLOC_ONLY);
		add_figure(t, malloc, row, row->column != COURSE_ONLY);
		text_add(t, "\n");
	}
}

/* What threads keep: of spans, that is what is not live. */
static void add_kept_rows(struct text *t, const struct osmem_heap_stats *libc)
{
	text_add(t, "osmem:   %-24s %14s %14lu\n", "spans kept by threads", "-",
		 (unsigned long)(libc->blocks - libc->live_blocks));
	text_add(t, "osmem:   %-24s %14s %14lu\n", "bytes of kept spans", "-",
		 (unsigned long)(libc->region_bytes - libc->live_bytes));
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
	text_add(t, "osmem: process %u %26s %14s\n", (unsigned int)sys_process(), "os_malloc",
		 "malloc");
	add_rows(t, &s->course, &s->libc, rows, COUNT_OF(rows));
	add_kept_rows(t, &s->libc);
	if (calls_modes & CALLS_COUNTED)
		add_rows(t, NULL, &s->cells, counted_rows, COUNT_OF(counted_rows));
	add_rows(t, NULL, &s->cells, cell_rows, COUNT_OF(cell_rows));
	print(t);
}

static const char *const call_names[TRACE_NAME_END] = {
	[TRACE_OS_MALLOC] = "os_malloc",
	[TRACE_OS_CALLOC] = "os_calloc",
	[TRACE_OS_REALLOC] = "os_realloc",
	[TRACE_OS_FREE] = "os_free",
	[TRACE_MALLOC] = "malloc",
	[TRACE_CALLOC] = "calloc",
	[TRACE_REALLOC] = "realloc",
	[TRACE_REALLOCARRAY] = "reallocarray, too much",
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

static void add_calls(struct text *t, const char *name, const struct call_stats *calls)
{
	text_add(t, "osmem:   %-24s %14zu %14zu %14zu\n", name, calls->calls, calls->bytes,
		 calls->failed);
}

/* Only those that there were. */
static void print_calls(struct text *t)
{
	struct call_stats calls;

	text_add(t, "osmem: calls %34s %14s %14s\n", "calls", "bytes wanted", "failed");
	for (size_t i = 0; i < TRACE_NAME_END; i++) {
		calls_get((enum trace_name)i, &calls);
		if (calls.calls)
			add_calls(t, call_names[i], &calls);
	}
	calls_get(TRACE_NAME_END, &calls);
	add_calls(t, "all calls", &calls);
	print(t);
}

static void print_classes(struct text *t)
{
	struct slab_class_stats slabs;
	struct tcache_class_stats cached;
	size_t live;

	text_add(t, "osmem: cells of bytes %10s %12s %12s %12s %6s\n", "slabs", "room", "live",
		 "cached", "live");
	for (unsigned int class = 1; class < CLASS_COUNT; class += 1) {
		slab_get_class(class, &slabs);
		if (!slabs.slabs)
			continue;
		tcache_get_class(class, &cached);
		live = cached.with_threads + cached.in_depots;
		live = slabs.out > live ? slabs.out - live : 0; /* of two moments */
		text_add(t, "osmem:   %12zu %12zu %12zu %12zu %12zu %5lu%%\n", slabs.cell,
			 slabs.slabs, slabs.cells, live, cached.with_threads + cached.in_depots,
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

	text_add(t, "osmem: thread %18s %14s\n", "cached cells", "cached bytes");
	for (size_t i = 0; i < n && i < SHOWN_THREADS; i++)
		text_add(t, "osmem:   %-10u %12zu %14zu\n", threads[i].id, threads[i].cells,
			 threads[i].bytes);
	if (n > SHOWN_THREADS)
		text_add(t, "osmem:   and %zu more\n", n - SHOWN_THREADS);
	print(t);
}

static void add_system_calls(struct text *t)
{
	static const char *const names[SYS_EVENTS] = {
		[SYS_BRK] = "all brk calls",	     [SYS_MMAP] = "all mmap calls",
		[SYS_MUNMAP] = "all munmap calls",   [SYS_MREMAP] = "all mremap calls",
		[SYS_MADVISE] = "all madvise calls",
	};

	for (size_t i = 0; i < SYS_EVENTS; i++)
		text_add(t, "osmem:   %-24s %14zu\n", names[i], sys_count((enum sys_event)i));
}

static void print_process(struct text *t, const struct osmem_stats *s)
{
	struct sys_memory memory;
	struct sys_usage usage;

	sys_get_memory(&memory);
	sys_get_usage(&usage);
	text_add(t, "osmem: in all\n");
	text_add(t, "osmem:   %-24s %14zu\n", "live bytes", s->live_bytes);
	if (calls_modes & CALLS_COUNTED)
		text_add(t, "osmem:   %-24s %14zu\n", "peak of malloc's", calls_peak_bytes());
	text_add(t, "osmem:   %-24s %14zu\n", "held bytes", s->held_bytes);
	text_add(t, "osmem:   %-24s %13lu%%\n", "fragmentation",
		 100 - percent(s->live_bytes, s->held_bytes));
	text_add(t, "osmem:   %-24s %14zu\n", "resident bytes", memory.resident);
	text_add(t, "osmem:   %-24s %14zu\n", "peak resident bytes", usage.peak_resident);
	text_add(t, "osmem:   %-24s %14zu\n", "page faults", usage.minor_faults);
	text_add(t, "osmem:   %-24s %14zu\n", "page faults from disk", usage.major_faults);
	add_system_calls(t);
	print(t);
}

void stats_print(void)
{
	struct osmem_stats s;
	struct text t = {.len = 0};

	inspect_get_stats(&s);
	print_heaps(&t, &s);
	if (calls_modes & CALLS_COUNTED)
		print_calls(&t);
	print_classes(&t);
	print_threads(&t);
	print_process(&t, &s);
}
