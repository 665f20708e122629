// SPDX-License-Identifier: BSD-3-Clause

#include "inspect.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#include "block/block.h"
#include "cache/tcache.h"
#include "item_list.h"
#include "large/large.h"
#include "proc.h"
#include "sample/guard.h"
#include "sample/profile.h"
#include "slab/slab.h"
#include "trace/trace.h"
#include "tunables.h"

#define HEADROOM 64 /* for items that other threads add after the count */

_Static_assert((int)OSMEM_COURSE == (int)TRACE_HEAP_COURSE &&
		       (int)OSMEM_LIBC == (int)TRACE_HEAP_LIBC &&
		       (int)OSMEM_CELLS == (int)TRACE_HEAP_CELLS,
	       "heaps have the same numbers everywhere");

/* ---- The copy ---- */

void inspect_drop(struct item_list *copy)
{
	if (copy->items)
		sys_release(copy->items, copy->room * sizeof(*copy->items));
}

static void list_all(struct item_list *list)
{
	list->count = 0;
	block_list(list);
	large_list(list);
	guard_list(list);
	slab_list(list);
}

bool inspect_copy(struct item_list *copy)
{
	*copy = (struct item_list){0};
	list_all(copy);
	for (;;) {
		copy->room = copy->count + copy->count / 8 + HEADROOM;
		copy->items = sys_map(copy->room * sizeof(*copy->items));
		if (!copy->items)
			return false;
		list_all(copy);
		if (copy->count <= copy->room)
			return true;
		inspect_drop(copy); /* other threads have added items */
	}
}

/* ---- Public functions ---- */

EXPORT int osmem_walk(osmem_visit *visit, void *arg)
{
	struct item_list copy;
	int result = 0;

	if (!inspect_copy(&copy))
		return -1;
	for (size_t i = 0; i < copy.count && result == 0; i++)
		result = visit(&copy.items[i], arg);
	inspect_drop(&copy);
	return result;
}

/* Not below 0: other threads may change the figures between the two reads. */
static size_t difference(size_t a, size_t b)
{
	return a > b ? a - b : 0;
}

/* Spans that threads cache are not live. Guarded blocks count as mapped. */
static void get_large_stats(struct osmem_heap_stats *stats, const struct tcache_stats *cached)
{
	struct guard_stats guarded;

	large_get_stats(stats);
	guard_get_stats(&guarded);
	stats->mapped_blocks += guarded.blocks;
	stats->mapped_bytes += guarded.bytes;
	stats->live_blocks = difference(stats->blocks, cached->spans);
	stats->live_bytes = difference(stats->region_bytes, cached->span_bytes);
}

static void get_cell_stats(struct osmem_cell_stats *stats, const struct tcache_stats *cached)
{
	slab_get_stats(stats);
	stats->live = difference(stats->live, cached->cached_cells);
	stats->live_bytes = difference(stats->live_bytes, cached->cached_bytes);
	stats->cached = cached->cached_cells;
	stats->cached_bytes = cached->cached_bytes;
	stats->threads = cached->caches;
	stats->allocs = cached->allocs;
	stats->frees = cached->frees;
	stats->reallocs = cached->reallocs;
}

static size_t held_by(const struct osmem_heap_stats *h)
{
	return h->region_bytes + h->ahead_bytes + h->mapped_bytes;
}

void inspect_get_stats(struct osmem_stats *s)
{
	struct tcache_stats cached;

	tcache_get_stats(&cached);
	block_get_stats(&s->course);
	get_large_stats(&s->libc, &cached);
	get_cell_stats(&s->cells, &cached);
	s->live_bytes = s->course.live_bytes + s->course.mapped_bytes + s->libc.live_bytes +
			s->libc.mapped_bytes + s->cells.live_bytes;
	s->held_bytes = held_by(&s->course) + held_by(&s->libc) + s->cells.live_bytes +
			s->cells.cached_bytes + s->cells.free_bytes + s->cells.own_bytes +
			s->cells.dirty_bytes;
}

struct inspect_shares inspect_shares(const struct osmem_stats *s)
{
	return (struct inspect_shares){
		.live = s->live_bytes,
		.cached = s->cells.cached_bytes +
			  difference(s->libc.region_bytes, s->libc.live_bytes) +
			  s->libc.ahead_bytes,
		.free = s->cells.free_bytes + s->cells.dirty_bytes +
			difference(s->course.region_bytes, s->course.live_bytes) +
			s->course.ahead_bytes,
		.metadata = s->cells.own_bytes,
	};
}

EXPORT void osmem_get_stats(struct osmem_stats *stats, size_t size)
{
	struct osmem_stats s = {.size = sizeof(s)};

	inspect_get_stats(&s);
	if (size < sizeof(s))
		s.size = size;
	memset(stats, 0, size);
	memcpy(stats, &s, s.size);
}

EXPORT const char *osmem_check(void)
{
	const char *fault = block_check();

	if (!fault)
		fault = large_check();
	if (fault)
		return fault;
	if (proc_has_threads())
		return slab_check();
	fault = guard_check();
	return fault ? fault : tcache_check();
}

/* ---- Traces and maps ---- */

/* The destination of records: the current trace, or the memory of a map. */
struct sink {
	struct trace_record *records; /* NULL: the trace */
	uint64_t count;
};

static void put(struct sink *sink, enum trace_kind kind, unsigned int what, uint64_t a, uint64_t b,
		uint64_t c)
{
	if (sink->records)
		sink->records[sink->count] = (struct trace_record){.thread = sys_thread(),
								   .kind = (uint8_t)kind,
								   .what = (uint8_t)what,
								   .a = a,
								   .b = b,
								   .c = c};
	else
		trace_put(kind, what, 0, false, a, b, c);
	sink->count++;
}

static uint64_t dirty_bytes(void)
{
	return slab_dirty_bytes() + large_dirty_bytes() + magazine_depot_bytes();
}

/* Returns the live bytes. */
static size_t put_figures(struct sink *sink)
{
	struct osmem_stats s = {0};
	struct inspect_shares shares;
	struct sys_memory memory;

	inspect_get_stats(&s);
	shares = inspect_shares(&s);
	sys_get_memory(&memory);
	put(sink, TRACE_FIGURES, 0, s.live_bytes, s.held_bytes, dirty_bytes());
	put(sink, TRACE_FIGURES, 1, memory.resident, memory.shared, memory.size);
	put(sink, TRACE_FIGURES, 2, shares.cached, shares.free, shares.metadata);
	return s.live_bytes;
}

static void put_item(struct sink *sink, const struct osmem_item *i)
{
	uint64_t start = (uintptr_t)i->start;

	switch (i->kind) {
	case OSMEM_REGION:
		put(sink, TRACE_SNAP_REGION, i->heap, start, start + i->size,
		    start + i->size + i->ahead);
		break;
	case OSMEM_BLOCK:
		put(sink, TRACE_SNAP_BLOCK, i->heap, start, i->payload, (uint64_t)i->status);
		break;
	case OSMEM_MAPPED:
		put(sink, TRACE_SNAP_MAPPED, i->heap, start, i->payload, i->mapping);
		break;
	case OSMEM_SPAN:
		put(sink, TRACE_SNAP_SPAN, i->heap, start, i->size, (uint64_t)i->status);
		break;
	case OSMEM_SEGMENT:
		put(sink, TRACE_SNAP_SEGMENT, i->heap, start, i->used, i->dirty);
		break;
	case OSMEM_SLAB:
		put(sink, TRACE_SNAP_SLAB, i->heap, start,
		    i->cell | (uint64_t)(i->size / SLAB_SIZE) << 32,
		    i->cells | (uint64_t)i->carved << 16 | (uint64_t)i->out << 32 |
			    (uint64_t)i->is_own << 48);
		break;
	}
}

/* The cells that are cached: a slab does not know which of its cells are. */
static void put_caches(struct sink *sink)
{
	for (unsigned int class = 1; class < CLASS_COUNT; class += 1) {
		struct tcache_class_stats cached;
		struct slab_class_stats cells;

		tcache_get_class(class, &cached);
		slab_get_class(class, &cells);
		if (cached.with_threads + cached.in_depots)
			put(sink, TRACE_SNAP_CACHE, TRACE_HEAP_CELLS, cells.cell,
			    cached.with_threads + cached.in_depots, 0);
	}
}

static void put_snapshot(struct sink *sink, const struct item_list *copy, enum trace_reason reason)
{
	uint64_t first;

	put(sink, TRACE_SNAP_BEGIN, reason, 0, 0, 0);
	first = sink->count;
	for (size_t i = 0; i < copy->count; i++)
		put_item(sink, &copy->items[i]);
	put_caches(sink);
	put(sink, TRACE_SNAP_END, reason, sink->count - first, 0, 0);
}

/* The last snapshot of the trace. Only one thread takes snapshots at a time. */
static struct {
	atomic_flag is_busy;
	_Atomic(uint64_t) end; /* records up to its end */
	_Atomic(uint64_t) size; /* its records */
	_Atomic(size_t) peak; /* the most live bytes that any snapshot has shown */
} last;

void inspect_trace_snapshot(enum trace_reason reason)
{
	struct item_list copy;
	struct sink sink = {0};
	int saved_errno = errno;

	if (inspect_copy(&copy)) {
		put_snapshot(&sink, &copy, reason);
		inspect_drop(&copy);
	}
	if (reason == TRACE_AT_START) { /* also of a forked child */
		last.peak = 0;
		atomic_flag_clear(&last.is_busy);
	}
	last.end = trace_count();
	last.size = sink.count;
	errno = saved_errno;
}

/*
 * A snapshot is due when the live bytes are an eighth above those of all snapshots before, or the
 * trace has grown by an eighth, so that the number of snapshots grows with the logarithm of its
 * length. At most a fifth of the trace is snapshots, and they leave the reserve to the last one.
 */
static bool is_snapshot_due(size_t live)
{
	uint64_t count = trace_count(), since = count - last.end;

	if (since < SNAPSHOT_COST * last.size || trace_room() < 2 * last.size)
		return false;
	return live > last.peak + last.peak / SNAPSHOT_GROWTH || since > count / SNAPSHOT_GROWTH;
}

void inspect_trace_figures(void)
{
	struct sink sink = {0};
	int saved_errno = errno;
	size_t live = put_figures(&sink);

	if (!atomic_flag_test_and_set(&last.is_busy)) {
		if (is_snapshot_due(live)) {
			inspect_trace_snapshot(TRACE_MEANWHILE);
			last.peak = live > last.peak ? live : last.peak;
		}
		atomic_flag_clear(&last.is_busy);
	}
	errno = saved_errno;
}

/* Write the map of copy to memory that is large enough. Returns its bytes. */
static size_t fill_map(const struct item_list *copy, char *map)
{
	struct trace_header *header = (struct trace_header *)(void *)map;
	struct sink sink = {.records = (struct trace_record *)(void *)(map + TRACE_HEADER_SIZE)};

	put_figures(&sink);
	put_snapshot(&sink, copy, TRACE_ASKED);
	trace_fill_header(header, TRACE_HEADER_SIZE, sink.count);
	header->next = sink.count;
	return TRACE_HEADER_SIZE + sink.count * sizeof(struct trace_record);
}

bool inspect_make_map(struct inspect_map *map)
{
	struct item_list copy;

	if (!inspect_copy(&copy))
		return false;
	map->room = TRACE_HEADER_SIZE +
		    (copy.count + CLASS_COUNT + HEADROOM) * sizeof(struct trace_record);
	map->at = sys_map(map->room);
	if (map->at)
		map->len = fill_map(&copy, map->at);
	inspect_drop(&copy);
	return map->at;
}

bool inspect_write_map(struct sys_file *f)
{
	struct inspect_map map;
	bool is_written;

	if (!inspect_make_map(&map))
		return false;
	is_written = sys_file_append(f, map.at, map.len);
	sys_release(map.at, map.room);
	return is_written;
}

EXPORT int osmem_write_map(const char *file)
{
	struct sys_file *f = sys_map(sizeof(*f)); /* a path may be too long for the stack */
	int status = -1;

	if (!f)
		return -1;
	if (sys_file_open(f, file)) {
		status = inspect_write_map(f) ? 0 : -1;
		sys_file_close(f);
	}
	sys_release(f, sizeof(*f));
	return status;
}

EXPORT int osmem_write_profile(const char *file)
{
	return profile_write(file) ? 0 : -1;
}
