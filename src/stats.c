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
#include "printf.h"

#define EXPORT __attribute__((visibility("default")))
#define TEXT_SIZE 4096

/* A text that grows by formatted pieces and is cut off rather than overrun. */
struct text {
	size_t len;
	char at[TEXT_SIZE];
};

static bool is_asked_for; /* OSMEM_OPTIONS has stats */

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
	size_t offset; /* of the figure in struct heap_stats */
};

#define ROW(text, field)                                                                           \
	{                                                                                          \
		.name = text, .offset = offsetof(struct heap_stats, field)                         \
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

static size_t figure(const struct heap_stats *stats, const struct row *row)
{
	size_t value;

	memcpy(&value, (const char *)stats + row->offset, sizeof(value));
	return value;
}

void stats_print(void)
{
	struct heap_stats course, libc;
	struct text t = {.len = 0};

	heap_get_stats(HEAP_COURSE, &course);
	heap_get_stats(HEAP_LIBC, &libc);
	add(&t, "osmem: process %d %26s %14s\n", (int)getpid(), "os_malloc", "malloc");
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		add(&t, "osmem:   %-24s %14lu %14lu\n", rows[i].name,
		    (unsigned long)figure(&course, &rows[i]),
		    (unsigned long)figure(&libc, &rows[i]));
	sys_print(t.at, t.len);
}

/* The C library's functions: figures of both heaps together. */

static size_t free_bytes(const struct heap_stats *s)
{
	return s->region_bytes - s->live_bytes;
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

static void add_heap(struct text *t, int nr, const struct heap_stats *s)
{
	add(t, "<heap nr=\"%d\" name=\"%s\">\n", nr, nr == HEAP_COURSE ? "os_malloc" : "malloc");
	add(t, "<total type=\"rest\" count=\"%lu\" size=\"%lu\"/>\n",
	    (unsigned long)(s->blocks - s->live_blocks), (unsigned long)free_bytes(s));
	add(t, "<total type=\"live\" count=\"%lu\" size=\"%lu\"/>\n", (unsigned long)s->live_blocks,
	    (unsigned long)s->live_bytes);
	add(t, "<total type=\"mmap\" count=\"%lu\" size=\"%lu\"/>\n",
	    (unsigned long)s->mapped_blocks, (unsigned long)s->mapped_bytes);
	add(t, "<system type=\"current\" size=\"%lu\"/>\n",
	    (unsigned long)(s->region_bytes + s->reserve_bytes + s->mapped_bytes));
	add(t, "<system type=\"max\" size=\"%lu\"/>\n", (unsigned long)s->peak_bytes);
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
	add(&t, "</malloc>\n");
	return fwrite(t.at, 1, t.len, stream) == t.len ? 0 : -1;
}

/* OSMEM_OPTIONS. */

static void set_option(const char *name, size_t len)
{
	char line[256];
	int n;

	if (len == strlen("stats") && memcmp(name, "stats", len) == 0) {
		is_asked_for = true;
		sys_keep_stderr();
		return;
	}
	n = snprintf_(line, sizeof(line),
		      "osmem: OSMEM_OPTIONS: no option \"%.*s\"; the options are: stats\n",
		      (int)(len < 128 ? len : 128), name);
	sys_print(line, (size_t)n);
}

__attribute__((constructor)) static void read_options(void)
{
	const char *at = secure_getenv("OSMEM_OPTIONS");

	while (at && *at) {
		size_t len = strcspn(at, ",");

		if (len)
			set_option(at, len);
		at += len + (at[len] == ',');
	}
}

__attribute__((destructor)) static void print_if_asked(void)
{
	if (is_asked_for)
		stats_print();
}
