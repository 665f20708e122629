// SPDX-License-Identifier: BSD-3-Clause

/*
 * A map as an older library wrote it, on standard output: objects of malloc above 32 KiB are blocks
 * in a region, and one with a mapping of its own has a header. There is no record of a span.
 */

#include <stdio.h>
#include <string.h>

#include "trace/trace_format.h"

#define REGION 0x7f0000100000
#define SEGMENT 0x7f0000400000
#define MAPPED 0x7f0000800fe0

static const struct trace_record records[] = {
	{.thread = 1, .kind = TRACE_SNAP_BEGIN, .what = TRACE_ASKED},
	{1, 1, TRACE_SNAP_REGION, TRACE_HEAP_LIBC, 0, 0, REGION, REGION + 0x20000,
	 REGION + 0x40000},
	{1, 1, TRACE_SNAP_BLOCK, TRACE_HEAP_LIBC, 0, 0, REGION, 0x10000 - 32, 1},
	{1, 1, TRACE_SNAP_BLOCK, TRACE_HEAP_LIBC, 0, 0, REGION + 0x10000, 0x10000 - 32, 0},
	{1, 1, TRACE_SNAP_MAPPED, TRACE_HEAP_LIBC, 0, 0, MAPPED, 0x100000, 0x101000},
	{1, 1, TRACE_SNAP_SEGMENT, TRACE_HEAP_CELLS, 0, 0, SEGMENT, 3, 0},
	{1, 1, TRACE_SNAP_SLAB, TRACE_HEAP_CELLS, 0, 0, SEGMENT + 0x10000, 0x100000040,
	 0x1000100400},
	{.thread = 1, .kind = TRACE_SNAP_END, .a = 6},
};

int main(void)
{
	static char header[TRACE_HEADER_SIZE];
	struct trace_header h = {.magic = TRACE_MAGIC,
				 .version = 1,
				 .header_size = TRACE_HEADER_SIZE,
				 .record_size = sizeof(struct trace_record),
				 .pid = 77,
				 .page_size = 4096,
				 .meta_size = 32,
				 .capacity = sizeof(records) / sizeof(records[0]),
				 .next = sizeof(records) / sizeof(records[0]),
				 .program = "older"};

	memcpy(header, &h, sizeof(h));
	return fwrite(header, sizeof(header), 1, stdout) != 1 ||
	       fwrite(records, sizeof(records), 1, stdout) != 1 || fflush(stdout);
}
