// SPDX-License-Identifier: BSD-3-Clause

#include "trace.h"

#include <errno.h>
#include <string.h>

#include "helpers.h"
#include "proc.h"
#include "tunables.h"

#define META_SIZE 32 /* of a block's header: block_meta.h is for the heaps */
#define WINDOW_BYTES (WINDOW_RECORDS * sizeof(struct trace_record))

_Static_assert(WINDOW_BYTES % (64 * KIB) == 0, "a window is whole pages of any size");

/*
 * The current trace. header and windows are constant while it is on. A window is NULL until a
 * thread maps it. It stays mapped, because a thread may be writing a record there.
 */
static struct {
	struct sys_file file;
	struct trace_header *header;
	_Atomic(char *) *windows;
	uint64_t window_count;
	uint64_t records, ordinary; /* capacity: of the file, and outside of the reserve */
	uint64_t start;
	_Atomic(uint64_t) next_figures; /* when to call trace_on_time */
	_Atomic(bool) is_full; /* the file could not grow; no thread tries again */
} trace;

bool trace_is_on_now;
void (*trace_on_time)(void);

static _Atomic(uint64_t) *shared(uint64_t *word)
{
	return (_Atomic(uint64_t) *)word;
}

/* ---- Windows ---- */

/* Drop an old window from memory. A thread that still writes there reads it again. */
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
		atomic_store(&trace.is_full, true);
	if (p && !atomic_compare_exchange_strong(&trace.windows[window], &none, p)) {
		sys_file_unmap(p, WINDOW_BYTES); /* another thread was faster */
		p = none;
	}
	if (p)
		release_older(window);
	errno = saved_errno;
	return p;
}

/* Claim the next record. If there is no room, count it as dropped and return NULL. */
static struct trace_record *claim_record(bool use_reserve)
{
	struct trace_header *header = trace.header;
	uint64_t limit = use_reserve ? trace.records : trace.ordinary, i;
	char *p = NULL;

	if (!trace.is_full &&
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

/* ---- Records ---- */

/* The commit word, thread to flags, is written last and atomically. */
#define COMMIT_AT offsetof(struct trace_record, thread)

_Static_assert(COMMIT_AT == 8 && offsetof(struct trace_record, a) == 16, "the commit is one word");

/*
 * The first thread that ends a call after the time is due records the figures. The time between two
 * records grows, so that a program that runs for a millisecond has some, too.
 */
static void take_figures(uint64_t now)
{
	uint64_t due = atomic_load_explicit(&trace.next_figures, memory_order_relaxed);
	uint64_t period = now >> FIGURES_SHIFT;

	if (period > FIGURES_PERIOD_NS)
		period = FIGURES_PERIOD_NS;
	if (now >= due && trace_on_time &&
	    atomic_compare_exchange_strong(&trace.next_figures, &due, now + period))
		trace_on_time();
}

uint64_t trace_count(void)
{
	return atomic_load_explicit(shared(&trace.header->next), memory_order_relaxed);
}

uint64_t trace_room(void)
{
	uint64_t count = trace_count();

	return count < trace.ordinary ? trace.ordinary - count : 0;
}

void trace_put(enum trace_kind kind, unsigned int what, unsigned int rule, bool failed, uint64_t a,
	       uint64_t b, uint64_t c)
{
	const struct trace_record r = {.thread = sys_thread(),
				       .kind = (uint8_t)kind,
				       .what = (uint8_t)what,
				       .rule = (uint8_t)rule,
				       .flags = failed ? TRACE_FAILED : 0};
	uint64_t now = sys_now_ns() - trace.start, commit;
	struct trace_record *place = claim_record(kind >= TRACE_FIGURES);

	if (place) {
		place->time = now;
		place->a = a;
		place->b = b;
		place->c = c;
		memcpy(&commit, (const char *)&r + COMMIT_AT, sizeof(commit));
		atomic_store_explicit((_Atomic(uint64_t) *)(void *)&place->thread, commit,
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

/* ---- Start and end ---- */

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
	trace.is_full = false;
	sys_observer = on_system_call;
	trace_is_on_now = true;
	return true;
}

/* The length of the file up to the last mapped record. */
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
	sys_observer = NULL;
	trace.header->end_time = sys_now_ns() - trace.start;
	if (!proc_has_threads()) /* otherwise one may be writing a record */
		sys_file_cut(&trace.file, used_bytes());
	sys_file_close(&trace.file);
}

void trace_abandon(void)
{
	trace_is_on_now = false;
	sys_observer = NULL;
	for (uint64_t i = 0; i < trace.window_count; i++)
		if (trace.windows[i])
			sys_file_unmap(trace.windows[i], WINDOW_BYTES);
	sys_file_unmap(trace.header, trace.header->header_size);
	release_windows();
	sys_file_close(&trace.file);
}
