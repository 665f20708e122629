// SPDX-License-Identifier: BSD-3-Clause

/*
 * The figures in the text format of Prometheus: for each metric a line of HELP, a line of TYPE and
 * its samples. Counters never decrease while the process lives. What the kernel does not tell is
 * left out.
 */

#include "cache/tcache.h"
#include "endpoints.h"
#include "helpers.h"
#include "inspect/inspect.h"
#include "inspect/stats.h"
#include "inspect/text.h"
#include "slab/slab.h"
#include "trace/calls.h"

/* The source of the samples of the first table. */
struct figures {
	struct osmem_stats s;
	struct sys_memory memory;
};

struct metric {
	char name[32], help[56]; /* no pointers, which would be relocated in every program */
	size_t offset; /* in the struct of the table's figures */
	bool is_counter;
};

#define FIGURE(member) .offset = offsetof(struct figures, member)
#define HEAP(member) .offset = offsetof(struct osmem_heap_stats, member)
#define CLASS(member) .offset = offsetof(struct stats_class, member)

static const struct metric plain[] = {
	{"osmem_live_bytes", "Bytes that the program has allocated.", FIGURE(s.live_bytes)},
	{"osmem_held_bytes", "Bytes that the heaps hold, with free and cached ones.",
	 FIGURE(s.held_bytes)},
	{"osmem_dirty_bytes", "Bytes of free pages that wait for reuse.",
	 FIGURE(s.cells.dirty_bytes)},
	{"osmem_cached_bytes", "Bytes of free cells in thread caches and depots.",
	 FIGURE(s.cells.cached_bytes)},
	{"osmem_cached_mapping_bytes", "Bytes of freed mappings that wait for reuse.",
	 FIGURE(s.libc.ahead_bytes)},
	{"osmem_thread_caches", "Threads with a cache.", FIGURE(s.cells.threads)},
	{"osmem_slabs", "Slabs of cells.", FIGURE(s.cells.slabs)},
	{"osmem_segments", "Segments of up to 4 MiB.", FIGURE(s.cells.segments)},
};

/* Heaps in the order of struct osmem_stats. */
static const struct metric by_heap[] = {
	{"osmem_heap_live_bytes", "Bytes of live blocks, without mapped ones.", HEAP(live_bytes)},
	{"osmem_heap_live_blocks", "Live blocks, without mapped ones.", HEAP(live_blocks)},
	{"osmem_heap_mapped_bytes", "Bytes of blocks with a mapping of their own.",
	 HEAP(mapped_bytes)},
	{"osmem_heap_mapped_blocks", "Blocks with a mapping of their own.", HEAP(mapped_blocks)},
	{"osmem_heap_peak_bytes", "Maximum of live and mapped bytes.", HEAP(peak_bytes)},
	{"osmem_heap_allocations_total", "Allocations that no thread cache served.", HEAP(allocs),
	 .is_counter = true},
	{"osmem_heap_frees_total", "Frees that no thread cache served.", HEAP(frees),
	 .is_counter = true},
};

static const struct metric by_class[] = {
	{"osmem_class_live_cells", "Cells of a size that the program owns.", CLASS(live)},
	{"osmem_class_cached_cells", "Free cells of a size in thread caches and depots.",
	 CLASS(cached)},
	{"osmem_class_room_cells", "Cells of a size that its slabs have room for.", CLASS(room)},
};

static const char kernel_calls[SYS_EVENTS][8] = {
	[SYS_BRK] = "brk",	 [SYS_MMAP] = "mmap",	    [SYS_MUNMAP] = "munmap",
	[SYS_MREMAP] = "mremap", [SYS_MADVISE] = "madvise",
};

static void add_head(struct text *t, const char *name, const char *help, bool is_counter)
{
	text_add(t, "# HELP %s %s\n# TYPE %s %s\n", name, help, name,
		 is_counter ? "counter" : "gauge");
}

static void add_plain(struct text *t, const struct figures *f)
{
	for (size_t i = 0; i < COUNT_OF(plain); i++) {
		add_head(t, plain[i].name, plain[i].help, plain[i].is_counter);
		text_add(t, "%s %zu\n", plain[i].name, stats_figure(f, plain[i].offset));
	}
}

static void add_heaps(struct text *t, const struct osmem_stats *s)
{
	for (size_t i = 0; i < COUNT_OF(by_heap); i++) {
		const struct metric *m = &by_heap[i];

		add_head(t, m->name, m->help, m->is_counter);
		text_add(t, "%s{heap=\"os_malloc\"} %zu\n%s{heap=\"large\"} %zu\n", m->name,
			 stats_figure(&s->course, m->offset), m->name,
			 stats_figure(&s->libc, m->offset));
	}
	add_head(t, "osmem_cell_live_bytes", "Bytes of live objects up to 32 KiB.", false);
	text_add(t, "osmem_cell_live_bytes %zu\n", s->cells.live_bytes);
}

static void add_classes(struct text *t)
{
	struct stats_class c;

	for (size_t i = 0; i < COUNT_OF(by_class); i++) {
		const struct metric *m = &by_class[i];

		add_head(t, m->name, m->help, m->is_counter);
		for (unsigned int class = 1; class < CLASS_COUNT; class += 1)
			if (stats_get_class(class, &c))
				text_add(t, "%s{size=\"%zu\"} %zu\n", m->name, c.size,
					 stats_figure(&c, m->offset));
	}
}

static void add_process(struct text *t, const struct figures *f)
{
	if (f->memory.resident) {
		add_head(t, "osmem_resident_bytes", "Resident bytes of the process.", false);
		text_add(t, "osmem_resident_bytes %zu\n", f->memory.resident);
		add_head(t, "osmem_peak_resident_bytes", "Maximum of these.", false);
		text_add(t, "osmem_peak_resident_bytes %zu\n", f->memory.peak_resident);
	}
	add_head(t, "osmem_page_faults_total", "Page faults; major ones read from a disk.", true);
	text_add(t,
		 "osmem_page_faults_total{kind=\"minor\"} %zu\n"
		 "osmem_page_faults_total{kind=\"major\"} %zu\n",
		 f->memory.minor_faults, f->memory.major_faults);
	add_head(t, "osmem_system_calls_total", "System calls for memory.", true);
	for (unsigned int i = 0; i < SYS_EVENTS; i++)
		text_add(t, "osmem_system_calls_total{call=\"%s\"} %zu\n", kernel_calls[i],
			 sys_count((enum sys_event)i));
}

/* Valid only while calls are counted. */
static void add_calls(struct text *t)
{
	struct call_stats n;

	add_head(t, "osmem_calls_total", "Calls by name.", true);
	for (unsigned int i = 0; i < TRACE_NAME_END; i++) {
		calls_get((enum trace_name)i, &n);
		if (n.calls)
			text_add(t, "osmem_calls_total{name=\"%s\"} %zu\n",
				 stats_call_name((enum trace_name)i), n.calls);
	}
}

void metrics_write(struct text *t)
{
	struct figures f;

	inspect_get_stats(&f.s);
	sys_get_memory(&f.memory);
	add_plain(t, &f);
	add_heaps(t, &f.s);
	add_classes(t);
	add_process(t, &f);
	if (calls_modes & CALLS_COUNTED)
		add_calls(t);
}
