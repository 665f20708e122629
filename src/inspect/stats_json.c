// SPDX-License-Identifier: BSD-3-Clause

/*
 * The statistics as one JSON object. Members are never left out: one that is unknown, or is not
 * counted, is null. The members of course, libc and cells are those of osmem_inspect.h.
 */

#include <stddef.h>

#include "cache/tcache.h"
#include "inspect.h"
#include "slab/slab.h"
#include "stats.h"
#include "text.h"
#include "trace/calls.h"

#define SPARE_THREADS 16 /* for threads that begin after the count */

struct member {
	char name[16]; /* no pointer, which would be relocated in every program */
	size_t offset;
	bool is_counted; /* unknown unless calls are counted */
};

#define HEAP(member) .name = #member, .offset = offsetof(struct osmem_heap_stats, member)
#define CELLS(member) .name = #member, .offset = offsetof(struct osmem_cell_stats, member)

static const struct member heap_members[] = {
	{HEAP(allocs)},	      {HEAP(frees)},	     {HEAP(reallocs)},	    {HEAP(searches)},
	{HEAP(splits)},	      {HEAP(coalesces)},     {HEAP(brk_calls)},	    {HEAP(mmap_calls)},
	{HEAP(munmap_calls)}, {HEAP(mremap_calls)},  {HEAP(madvise_calls)}, {HEAP(regions)},
	{HEAP(region_bytes)}, {HEAP(ahead_bytes)},   {HEAP(blocks)},	    {HEAP(live_blocks)},
	{HEAP(live_bytes)},   {HEAP(mapped_blocks)}, {HEAP(mapped_bytes)},  {HEAP(peak_bytes)},
};

static const struct member cell_members[] = {
	{CELLS(segments)},
	{CELLS(slabs)},
	{CELLS(live)},
	{CELLS(live_bytes)},
	{CELLS(cached)},
	{CELLS(cached_bytes)},
	{CELLS(free)},
	{CELLS(free_bytes)},
	{CELLS(own_bytes)},
	{CELLS(dirty_bytes)},
	{CELLS(mmap_calls)},
	{CELLS(munmap_calls)},
	{CELLS(madvise_calls)},
	{CELLS(threads)},
	{CELLS(allocs), .is_counted = true},
	{CELLS(frees), .is_counted = true},
	{CELLS(reallocs), .is_counted = true},
};

_Static_assert(sizeof(struct osmem_heap_stats) == COUNT_OF(heap_members) * sizeof(size_t),
	       "every member is in the table");
_Static_assert(sizeof(struct osmem_cell_stats) == COUNT_OF(cell_members) * sizeof(size_t),
	       "every member is in the table");

static bool is_counted(void)
{
	return calls_modes & CALLS_COUNTED;
}

/* Append "name": value, followed by end. */
static void add_number(struct text *t, const char *name, size_t value, bool is_known,
		       const char *end)
{
	if (is_known)
		text_add(t, "\"%s\":%zu%s", name, value, end);
	else
		text_add(t, "\"%s\":null%s", name, end);
}

static void add_members(struct text *t, const char *name, const void *of,
			const struct member *member, size_t n)
{
	text_add(t, "\"%s\":{", name);
	for (; n > 0; n--, member++)
		add_number(t, member->name, stats_figure(of, member->offset),
			   !member->is_counted || is_counted(), n > 1 ? "," : "},\n");
}

static void add_process(struct text *t)
{
	struct sys_memory memory;

	sys_get_memory(&memory);
	add_number(t, "resident_bytes", memory.resident, memory.resident, ",\n");
	add_number(t, "peak_resident_bytes", memory.peak_resident, memory.peak_resident, ",\n");
	add_number(t, "minor_faults", memory.minor_faults, true, ",\n");
	add_number(t, "major_faults", memory.major_faults, true, ",\n\"system_calls\":{");
	add_number(t, "brk", sys_count(SYS_BRK), true, ",");
	add_number(t, "mmap", sys_count(SYS_MMAP), true, ",");
	add_number(t, "munmap", sys_count(SYS_MUNMAP), true, ",");
	add_number(t, "mremap", sys_count(SYS_MREMAP), true, ",");
	add_number(t, "madvise", sys_count(SYS_MADVISE), true, "},\n");
}

static void add_classes(struct text *t)
{
	const char *before = "\"classes\":[\n";
	struct stats_class c;

	for (unsigned int class = 1; class < CLASS_COUNT; class += 1) {
		if (!stats_get_class(class, &c))
			continue;
		text_add(t,
			 "%s{\"size\":%zu,\"slabs\":%zu,\"room\":%zu,\"live\":%zu,\"cached\":%zu}",
			 before, c.size, c.slabs, c.room, c.live, c.cached);
		before = ",\n";
	}
	text_add(t, "%s],\n", *before == ',' ? "" : before);
}

/* All threads with a cache, or null if there is no memory for their list. */
static void add_threads(struct text *t)
{
	size_t room = tcache_list(NULL, 0) + SPARE_THREADS, n;
	struct tcache_thread_stats *threads = sys_map(room * sizeof(*threads));

	if (!threads) {
		text_add(t, "\"threads\":null,\n");
		return;
	}
	n = tcache_list(threads, room);
	text_add(t, "\"threads\":[");
	for (size_t i = 0; i < n && i < room; i++)
		text_add(t, "%s{\"id\":%u,\"cells\":%zu,\"bytes\":%zu}", i ? ",\n" : "\n",
			 threads[i].id, threads[i].cells, threads[i].bytes);
	text_add(t, "],\n");
	sys_release(threads, room * sizeof(*threads));
}

/* Names without calls are left out. */
static void add_calls(struct text *t)
{
	const char *before = "\"calls\":{\n";
	struct call_stats n;

	if (!is_counted()) {
		text_add(t, "\"calls\":null\n");
		return;
	}
	for (unsigned int i = 0; i < TRACE_NAME_END; i++) {
		calls_get((enum trace_name)i, &n);
		if (!n.calls)
			continue;
		text_add(t, "%s\"%s\":{\"calls\":%zu,\"bytes\":%zu,\"failed\":%zu}", before,
			 stats_call_name((enum trace_name)i), n.calls, n.bytes, n.failed);
		before = ",\n";
	}
	text_add(t, "%s}\n", *before == ',' ? "" : before);
}

void stats_write_json(struct text *t)
{
	struct osmem_stats s;

	inspect_get_stats(&s);
	text_add(t, "{\"process\":%u,\n\"time_ms\":%zu,\n", (unsigned int)sys_process(),
		 (size_t)(sys_wall_ns() / 1000000));
	add_members(t, "course", &s.course, heap_members, COUNT_OF(heap_members));
	add_members(t, "libc", &s.libc, heap_members, COUNT_OF(heap_members));
	add_members(t, "cells", &s.cells, cell_members, COUNT_OF(cell_members));
	add_number(t, "live_bytes", s.live_bytes, true, ",\n");
	add_number(t, "peak_live_bytes", calls_peak_bytes(), is_counted(), ",\n");
	add_number(t, "held_bytes", s.held_bytes, true, ",\n");
	add_process(t);
	add_classes(t);
	add_threads(t);
	add_calls(t);
	text_add(t, "}\n");
}
