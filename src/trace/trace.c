// SPDX-License-Identifier: BSD-3-Clause

#include "trace.h"

#include <errno.h>
#include <string.h>

#include "helpers.h"
#include "lock.h"
#include "tunables.h"

#define META_SIZE 32 /* of a block's header: block_meta.h is for the heaps */
#define WINDOW_BYTES (WINDOW_RECORDS * sizeof(struct trace_record))

_Static_assert(WINDOW_BYTES % (64 * KIB) == 0, "a window is whole pages of any size");

/*
 * The trace under way. header and windows never change while it is on; a window is NULL until
 * somebody maps it, and stays mapped: some thread may be writing there for as long as it likes.
 */
static struct {
	struct sys_file file;
	struct trace_header *header;
	_Atomic(char *) *windows;
	uint64_t window_count;
	uint64_t records, ordinary; /* how many may be in the file, and how many not full ones */
	uint64_t start;
	_Atomic(uint64_t) next_figures; /* when trace_on_time is due */
	_Atomic(bool) is_stuck; /* the file could not grow: it is not asked to again */
} trace;

bool trace_is_on_now;
void (*trace_on_time)(void);

static _Atomic(uint64_t) *shared(uint64_t *word)
{
	return (_Atomic(uint64_t) *)word;
}

/* Windows. */

/* What has been left behind need not be resident; who still writes there gets it back. */
static void release_older(uint64_t window)
{
	char *p = window >= 2 ? atomic_load(&trace.windows[window - 2]) : NULL;

	if (p)
		sys_file_release(p, WINDOW_BYTES);
}

static char *map_window(uint64_t window)
{
	int saved_errno = errno;
	char *none = NULL;
	char *p = sys_file_map(&trace.file, trace.header->header_size + window * WINDOW_BYTES,
			       WINDOW_BYTES);

	if (!p)
		atomic_store(&trace.is_stuck, true);
	if (p && !atomic_compare_exchange_strong(&trace.windows[window], &none, p)) {
		sys_file_unmap(p, WINDOW_BYTES); /* somebody else was faster */
		p = none;
	}
	if (p)
		release_older(window);
	errno = saved_errno;
	return p;
}

/* The place of the next record, or NULL: there is none, and one is counted as dropped. */
static struct trace_record *take_place(bool full)
{
	struct trace_header *header = trace.header;
	uint64_t limit = full ? trace.records : trace.ordinary, i;
	char *p = NULL;

	if (!trace.is_stuck &&
	    atomic_load_explicit(shared(&header->next), memory_order_relaxed) < limit) {
		i = atomic_fetch_add_explicit(shared(&header->next), 1, memory_order_relaxed);
		if (i < trace.records) {
			p = atomic_load_explicit(&trace.windows[i / WINDOW_RECORDS],
						 memory_order_acquire);
			if (!p)
				p = map_window(i / WINDOW_RECORDS);
		}
	}
	if (p)
		return (struct trace_record *)(void *)p + i % WINDOW_RECORDS;
	atomic_fetch_add_explicit(shared(&header->dropped), 1, memory_order_relaxed);
	return NULL;
}

/* Records. */

/* From thread to flags is one word, which is written last, and at once. */
#define MARK_AT offsetof(struct trace_record, thread)

_Static_assert(MARK_AT == 8 && offsetof(struct trace_record, a) == 16, "the mark is one word");

/* Some thread that has made a call is the one to take the figures. */
static void take_figures(uint64_t now)
{
	uint64_t due = atomic_load_explicit(&trace.next_figures, memory_order_relaxed);

	if (now >= due && trace_on_time &&
	    atomic_compare_exchange_strong(&trace.next_figures, &due, now + FIGURES_PERIOD_NS))
		trace_on_time();
}

void trace_put(enum trace_kind kind, unsigned int what, unsigned int rule, bool failed, uint64_t a,
	       uint64_t b, uint64_t c)
{
	const struct trace_record r = {.thread = sys_thread(),
				       .kind = (uint8_t)kind,
				       .what = (uint8_t)what,
				       .rule = (uint8_t)rule,
				       .flags = failed ? TRACE_FAILED : 0};
	uint64_t now = sys_now_ns() - trace.start, mark;
	struct trace_record *place = take_place(kind >= TRACE_FIGURES);

	if (place) {
		place->time = now;
		place->a = a;
		place->b = b;
		place->c = c;
		memcpy(&mark, (const char *)&r + MARK_AT, sizeof(mark));
		atomic_store_explicit((_Atomic(uint64_t) *)(void *)&place->thread, mark,
				      memory_order_release);
	}
	if (kind == TRACE_CALL)
		take_figures(now);
}

static void on_system_call(enum sys_event event, uint64_t a, uint64_t b, uint64_t c, bool failed)
{
	trace_put(TRACE_STEP, TRACE_STEP_BRK + event, 0, failed, a, b, c);
}

_Static_assert(TRACE_STEP_BRK + SYS_MMAP == TRACE_STEP_MMAP &&
		       TRACE_STEP_BRK + SYS_MUNMAP == TRACE_STEP_MUNMAP &&
		       TRACE_STEP_BRK + SYS_MREMAP == TRACE_STEP_MREMAP &&
		       TRACE_STEP_BRK + SYS_MADVISE == TRACE_STEP_MADVISE,
	       "events are in the order of steps");

/* Beginning and end. */

void trace_fill_header(struct trace_header *header, uint32_t header_size, uint64_t capacity)
{
	memcpy(header->magic, TRACE_MAGIC, sizeof(header->magic));
	header->version = TRACE_VERSION;
	header->header_size = header_size;
	header->record_size = sizeof(struct trace_record);
	header->pid = sys_process();
	header->page_size = (uint32_t)sys_page_size();
	header->meta_size = META_SIZE;
	header->start_wall = sys_wall_ns();
	header->start_clock = sys_now_ns();
	header->capacity = capacity;
	sys_program(header->program, sizeof(header->program));
}

static void release_windows(void)
{
	sys_release((void *)(uintptr_t)trace.windows, trace.window_count * sizeof(*trace.windows));
}

static bool map_all(uint64_t size, unsigned int parent)
{
	size_t page = sys_page_size();
	uint32_t header_size = (uint32_t)(page > TRACE_HEADER_SIZE ? page : TRACE_HEADER_SIZE);

	trace.records = size > header_size ? (size - header_size) / sizeof(struct trace_record) : 0;
	trace.ordinary = trace.records - (trace.records >> SNAPSHOT_SHIFT);
	trace.window_count = trace.records / WINDOW_RECORDS + 1;
	trace.windows = sys_map(trace.window_count * sizeof(*trace.windows));
	if (!trace.windows)
		return false;
	trace.header = sys_file_map(&trace.file, 0, header_size);
	if (!trace.header) {
		release_windows();
		return false;
	}
	trace_fill_header(trace.header, header_size, trace.records);
	trace.header->parent = parent;
	trace.start = trace.header->start_clock;
	return true;
}

bool trace_start(const char *file, uint64_t size, unsigned int parent)
{
	if (!sys_file_open(&trace.file, file))
		return false;
	if (!map_all(size, parent)) {
		sys_file_close(&trace.file);
		return false;
	}
	trace.next_figures = 0;
	trace.is_stuck = false;
	sys_watch = on_system_call;
	trace_is_on_now = true;
	return true;
}

/* Bytes of the file that records may be in. */
static uint64_t used_bytes(void)
{
	uint64_t count = trace.header->next < trace.records ? trace.header->next : trace.records;
	uint64_t windows = 0;

	while (windows < trace.window_count && trace.windows[windows])
		windows++;
	if (count > windows * WINDOW_RECORDS)
		count = windows * WINDOW_RECORDS;
	return trace.header->header_size + count * sizeof(struct trace_record);
}

void trace_stop(void)
{
	if (!trace_is_on)
		return;
	trace_is_on_now = false;
	sys_watch = NULL;
	trace.header->end_time = sys_now_ns() - trace.start;
	if (!lock_is_needed()) /* nobody is in the middle of a record */
		sys_file_cut(&trace.file, used_bytes());
	sys_file_close(&trace.file);
}

void trace_abandon(void)
{
	trace_is_on_now = false;
	sys_watch = NULL;
	for (uint64_t i = 0; i < trace.window_count; i++)
		if (trace.windows[i])
			sys_file_unmap(trace.windows[i], WINDOW_BYTES);
	sys_file_unmap(trace.header, trace.header->header_size);
	release_windows();
	sys_file_close(&trace.file);
}
