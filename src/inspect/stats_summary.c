// SPDX-License-Identifier: BSD-3-Clause

/*
 * The summary of ten lines, for people: each figure in human units, and what it means. Held bytes
 * are live, cached, free or metadata: these four add up to them. A dash is an unknown figure.
 */

#include <stddef.h>

#include "inspect.h"
#include "printf.h"
#include "stats.h"
#include "text.h"
#include "trace/calls.h"

/* bytes in the largest unit of which there is one at least, to a tenth: "1.5 MiB". */
static struct text_number in_units(size_t bytes)
{
	static const char units[] = {'K', 'M', 'G', 'T'};
	struct text_number number = {.text = ""};
	size_t tenths = bytes / KIB * 10 + (bytes % KIB * 10 + KIB / 2) / KIB, unit = 0;

	if (bytes < KIB) {
		snprintf_(number.text, sizeof(number.text), "%zu B", bytes);
		return number;
	}
	for (; tenths >= 10 * KIB && unit < COUNT_OF(units) - 1; unit++)
		tenths = (tenths + KIB / 2) / KIB;
	snprintf_(number.text, sizeof(number.text), "%zu.%zu %ciB", tenths / 10, tenths % 10,
		  units[unit]);
	return number;
}

static void add_line(struct text *t, const char *name, const char *figure, const char *meaning)
{
	text_add(t, "osmem:   %-13s %11s  %s\n", name, figure, meaning);
}

static void add_size(struct text *t, const char *name, size_t bytes, const char *meaning)
{
	add_line(t, name, in_units(bytes).text, meaning);
}

static void add_known(struct text *t, const char *name, size_t bytes, bool is_known,
		      const char *meaning)
{
	add_line(t, name, is_known ? in_units(bytes).text : "-", meaning);
}

static void add_calls(struct text *t)
{
	struct call_stats n;

	text_add(t, "osmem: process %u: ", (unsigned int)sys_process());
	if (!(calls_modes & CALLS_COUNTED)) {
		text_add(t, "its calls are not counted\n");
		return;
	}
	calls_get(TRACE_NAME_END, &n);
	text_add(t, "%s call%s requested %s; %s failed\n", text_grouped(n.calls).text,
		 n.calls == 1 ? "" : "s", in_units(n.bytes).text, text_grouped(n.failed).text);
}

static void add_heaps(struct text *t, const struct osmem_stats *s)
{
	size_t objects = s->course.live_blocks + s->course.mapped_blocks + s->libc.live_blocks +
			 s->libc.mapped_blocks + s->cells.live;
	struct inspect_shares shares = inspect_shares(s);
	char meaning[80];

	snprintf_(meaning, sizeof(meaning), "in %s object%s that the program has not freed",
		  text_grouped(objects).text, objects == 1 ? "" : "s");
	add_size(t, "live", shares.live, meaning);
	add_known(t, "peak live", calls_peak_bytes(), calls_modes & CALLS_COUNTED,
		  "the most that was live at a time, of malloc");
	add_size(t, "held", s->held_bytes, "from the kernel: live + cached + free + metadata");
	add_size(t, "cached", shares.cached,
		 "freed, and kept whole for the next objects of their size");
	add_size(t, "free", shares.free,
		 "in slabs and blocks, or in pages that wait for their return");
	add_size(t, "metadata", shares.metadata, "what the library needs for itself");
}

void stats_write_summary(struct text *t)
{
	struct osmem_stats s;
	struct sys_memory memory;
	char meaning[80];

	inspect_get_stats(&s);
	sys_get_memory(&memory);
	add_calls(t);
	add_heaps(t, &s);
	add_known(t, "resident", memory.resident, memory.resident,
		  "in memory, with the program and its libraries");
	add_known(t, "peak resident", memory.peak_resident, memory.peak_resident,
		  "the most that was resident at a time");
	snprintf_(meaning, sizeof(meaning), "pages that the kernel had to provide; %s from a disk",
		  text_grouped(memory.major_faults).text);
	add_line(t, "page faults", text_grouped(memory.minor_faults + memory.major_faults).text,
		 meaning);
}
