// SPDX-License-Identifier: BSD-3-Clause

/*
 * Mappings of single objects.
 *
 * 1. A freed mapping is kept, for the next object of its size or up to a quarter less. One from
 *    half to twice the size is remapped: the pages that it has need no page fault. Live and kept
 *    ones together are never more than were live at one time. Sweeps unmap what was kept for a
 *    period.
 * 2. Growing remaps, without a copy. A mapping that grows gets an eighth more than it needs, which
 *    costs addresses only. One that shrinks keeps its mapping, unless there are many: the process
 *    has 65,530.
 * 3. Hardened, an object ends at an inaccessible page, as near as its alignment lets it, and the
 *    bytes around it in its first and last page are looked at when it is freed. Up to
 *    SPAN_GUARDED_MAX its pages are a span's, for fewer page faults. What is freed becomes
 *    inaccessible, and is used again late. The number of guards is bounded, for each costs two of
 *    the process's mappings.
 */

#include "mapping.h"

#include <errno.h>

#include "block.h"
#include "mapping_core.h"
#include "span.h"
#include "zero.h"

#define GROWTH_SHIFT 3
#define CROWD 4096 /* live ones, beyond which those that shrink become spans */
#define GUARDED_MAX 5000 /* of 65,530 mappings, a quarter is the library's */

struct mappings mapping_all;
_Thread_local struct mapping_recent mapping_recent;
_Atomic(size_t) mapping_changes;

/* Bad pointers. */

/* What p is in, perhaps not in its payload. */
struct found {
	bool is_any, is_free;
	uintptr_t payload;
	size_t size;
};

/* The table is locked. */
static struct found find_around(const void *p)
{
	struct mapping *m;
	size_t i = 0;

	while ((m = mapping_table_next(&mapping_all.table, &i)))
		if ((uintptr_t)p - (uintptr_t)m->start < m->bytes)
			return (struct found){true, false, m->payload, m->size};
	for (struct kept *k = mapping_all.kept; k < mapping_all.kept + KEPT_COUNT; k++)
		if (k->start && (uintptr_t)p - (uintptr_t)k->start < k->bytes)
			return (struct found){true, true, k->payload, k->size};
	return (struct found){.is_any = false};
}

static __attribute__((noreturn, cold)) void bad_beside(const char *call, void *p,
						       const struct found *f)
{
	size_t offset = (uintptr_t)p - f->payload;
	const char *where = "inside";

	if (f->is_free && !offset)
		sys_fatal(call, p, "this block is already free");
	if ((uintptr_t)p < f->payload)
		where = "before";
	else if (offset >= f->size)
		where = "behind";
	sys_fatal(call, p, "not the start of a block, but %s %s of %lu bytes at 0x%lx", where,
		  f->is_free ? "a free one" : "one", (unsigned long)f->size,
		  (unsigned long)f->payload);
}

static __attribute__((noreturn, cold)) void bad_pointer(const char *call, void *p)
{
	struct found found = find_around(p);

	mapping_unlock();
	if (found.is_any)
		bad_beside(call, p, &found);
	if (block_is_ours(p))
		sys_fatal(call, p, "a block of os_malloc, not of malloc");
	if (span_is_freed(p))
		sys_fatal(call, p, "this memory is already free");
	if ((uintptr_t)p % CELL_ALIGN)
		sys_fatal(call, p, "not a block: not aligned to %lu bytes", CELL_ALIGN);
	sys_fatal(call, p, "not a block of this allocator");
}

/* The entry of p, with the table locked. */
static struct mapping *live(const char *call, void *p)
{
	struct mapping *m = mapping_table_find(&mapping_all.table, p);

	if (!m)
		bad_pointer(call, p);
	return m;
}

/* Out of the table, with an entry reserved: nobody else can free it meanwhile. */
static struct mapping take_out(const char *call, void *p)
{
	struct mapping m = {0}, *entry = live(call, p);

	mapping_copy(&m, entry);
	atomic_fetch_add_explicit(&mapping_changes, 1, memory_order_relaxed);
	mapping_table_remove(&mapping_all.table, entry);
	return m;
}

/* Making one. */

static void release_edge(char *from, char *to)
{
	if (from < to)
		sys_release(from, (size_t)(to - from));
}

/* Pages that begin where align says; NULL with errno ENOMEM. */
static char *map_aligned(size_t bytes, size_t align)
{
	size_t total;
	char *p, *start;

	if (align <= sys_page_size())
		return sys_map(bytes);
	if (__builtin_add_overflow(bytes, align, &total) || total > PTRDIFF_MAX) {
		errno = ENOMEM;
		return NULL;
	}
	p = sys_map(total);
	if (!p)
		return NULL;
	start = (char *)mapping_round_up((uintptr_t)p, align);
	release_edge(p, start);
	release_edge(start + bytes, p + total);
	return start;
}

/* Pages for m->bytes that read as zero: hardened, all of the page heap do. False: none. */
static bool get_pages(struct mapping *m, size_t align)
{
	bool fresh;

	m->start = m->is_span ? span_alloc(m->bytes, align, &fresh) : NULL;
	if (m->start) {
		m->bytes = span_size(m->start);
		if (!fresh && !is_zero(m->start, m->bytes))
			sys_fatal("malloc", m->start, "this free block was written to");
		return true;
	}
	m->bytes -= guard_bytes(m);
	m->is_span = false;
	m->bytes += guard_bytes(m);
	m->start = map_aligned(m->bytes, align);
	return m->start;
}

/*
 * A mapping that is too small or much too large keeps the pages that it has. What grows will need
 * the rest of one that is too large.
 */
static bool fit(struct mapping *m, size_t bytes, bool grows)
{
	char *moved;

	if (kept_is_fit(m->bytes, bytes) || (grows && m->bytes >= bytes))
		return true;
	moved = sys_remap(m->start, m->bytes, bytes);
	if (!moved) {
		sys_release(m->start, m->bytes);
		return false;
	}
	m->start = moved;
	m->bytes = bytes;
	return true;
}

/* Pages for m->bytes of what is kept, which hardened is inaccessible. */
static bool get_kept(struct mapping *m, bool grows)
{
	size_t bytes = m->bytes;

	if (!kept_take(m, grows))
		return false;
	if (!mapping_all.is_hardened)
		return fit(m, bytes, grows);
	if (sys_unprotect(m->start, m->bytes) == 0)
		return true;
	kept_refused(m);
	return false;
}

/* m for size bytes of room; false with errno ENOMEM. *is_mapped: the kernel has given it now. */
static bool make(struct mapping *m, size_t size, size_t room, size_t align, bool zero,
		 bool *is_mapped)
{
	size_t page = sys_page_size(), bytes = mapping_round_up(room ? room : 1, page);
	bool is_plain = align <= page;

	*m = (struct mapping){.is_guarded = mapping_all.is_hardened && is_plain &&
					    mapping_all.guarded < GUARDED_MAX,
			      .is_span = mapping_all.is_hardened && bytes <= SPAN_GUARDED_MAX &&
					 align <= SPAN_GUARDED_ALIGN};
	if (m->is_span && !(mapping_round_up(room, align) %
			    page)) /* something of its own is before the payload */
		bytes += page;
	m->bytes = bytes + guard_bytes(m);
	if (!is_plain || (zero && !mapping_all.is_hardened) || !get_kept(m, room > size)) {
		m->bytes = bytes + guard_bytes(m);
		if (!get_pages(m, align))
			return false;
		*is_mapped = !m->is_span;
	}
	guard_place(m, size, room, align);
	m->asked = size;
	return true;
}

static bool reserve(void)
{
	bool is_reserved;

	mapping_lock();
	is_reserved = mapping_table_reserve(&mapping_all.table);
	mapping_unlock();
	return is_reserved;
}

static void unreserve(void)
{
	mapping_lock();
	mapping_all.table.used--;
	mapping_unlock();
}

void *mapping_alloc(size_t size, size_t room, size_t align, bool zero)
{
	struct doomed doomed;
	bool is_mapped = false;
	struct mapping m;

	if (room > PTRDIFF_MAX - 4 * sys_page_size()) {
		errno = ENOMEM;
		return NULL;
	}
	if (!reserve())
		return NULL;
	if (!make(&m, size, room, align, zero, &is_mapped)) {
		unreserve();
		return NULL;
	}
	doomed.count = 0;
	mapping_lock();
	mapping_all.guarded += m.is_guarded;
	mapping_all.stats.allocs++;
	mapping_all.stats.map_calls += is_mapped;
	kept_put_in(&m, &doomed);
	mapping_all.stats.unmap_calls += doomed.count;
	mapping_unlock();
	kept_release_doomed(&doomed);
	return mapping_payload(&m);
}

void mapping_free(const char *call, void *p)
{
	struct doomed doomed;
	bool is_sealed = true, is_kept;
	struct mapping m;

	doomed.count = 0;
	mapping_lock();
	m = take_out(call, p);
	mapping_all.guarded -= m.is_guarded;
	mapping_all.stats.frees++;
	if (mapping_all.is_hardened) {
		mapping_unlock();
		guard_require_intact(call, &m);
		is_sealed = guard_seal_off(&m);
		mapping_lock();
	}
	is_kept = is_sealed && kept_put(&m, &doomed);
	mapping_all.table.used--;
	mapping_all.stats.unmap_calls += doomed.count + (!is_kept && !m.is_span);
	mapping_unlock();
	kept_release_doomed(&doomed);
	if (!is_kept)
		kept_release(&m);
}

size_t mapping_usable_size(const char *call, void *p)
{
	size_t size;

	mapping_lock();
	size = live(call, p)->size;
	mapping_unlock();
	return size;
}

bool mapping_has(const void *p)
{
	bool is_any;

	mapping_lock();
	is_any = find_around(p).is_any;
	mapping_unlock();
	return is_any;
}

/* Resizing: rule 2. */

bool mapping_keeps(const char *call, void *p, size_t size)
{
	struct mapping *m;
	bool is_kept;

	if (mapping_all.is_hardened)
		return false;
	mapping_lock();
	m = live(call, p);
	is_kept = size <= m->size && (size >= m->asked || m->size - size <= large_slack(size));
	if (is_kept)
		m->asked = size;
	if (is_kept && m->size - size <= large_slack(size))
		mapping_recent = (struct mapping_recent){p, size, m->size - size, mapping_changes};
	mapping_unlock();
	return is_kept;
}

static bool remap(struct mapping *m, size_t bytes)
{
	char *moved = sys_remap(m->start, m->bytes, bytes);

	if (!moved)
		return false;
	m->start = moved;
	m->payload = (uintptr_t)moved;
	m->bytes = m->size = bytes;
	return true;
}

/* Hardened, an object stays where it has room and is not much too large for that. */
static void *resize_in_place(const char *call, void *p, size_t size)
{
	struct mapping m = {0};
	bool stays;

	mapping_lock();
	mapping_copy(&m, live(call, p));
	mapping_unlock();
	guard_require_intact(call, &m);
	stays = size <= (size_t)(guard_end(&m) - mapping_payload(&m)) && size >= m.size / 2;
	if (!stays)
		return NULL;
	mapping_lock();
	guard_set_size(live(call, p), size);
	mapping_unlock();
	return p;
}

void *mapping_resize(const char *call, void *p, size_t size)
{
	size_t page = sys_page_size(), bytes = mapping_round_up(size, page);
	struct doomed doomed;
	struct mapping m;
	bool is_done;

	if (mapping_all.is_hardened)
		return resize_in_place(call, p, size);
	mapping_lock();
	if (bytes <= SPAN_MAX && bytes < live(call, p)->bytes && mapping_all.table.count > CROWD) {
		mapping_unlock();
		return NULL;
	}
	m = take_out(call, p);
	mapping_all.stats.resizes++;
	mapping_all.stats.remap_calls++;
	mapping_unlock();
	is_done =
		bytes > m.bytes && remap(&m, mapping_round_up(size + (size >> GROWTH_SHIFT), page));
	if (!is_done)
		is_done = remap(&m, bytes);
	mapping_lock();
	m.asked = is_done ? size : m.asked;
	doomed.count = 0;
	kept_put_in(&m, &doomed);
	mapping_unlock();
	kept_release_doomed(&doomed);
	return is_done ? mapping_payload(&m) : NULL;
}

/* Fork. */

/* Another thread was changing the table, or what is kept. */
static void repair(void)
{
	mapping_table_repair(&mapping_all.table);
	kept_repair();
	if (mapping_all.table.bytes + mapping_kept_bytes() > mapping_all.stats.peak_bytes)
		mapping_all.stats.peak_bytes = mapping_all.table.bytes + mapping_kept_bytes();
}

void mapping_fork_child(void)
{
	bool is_broken = lock_is_held(&mapping_all.lock);
	const struct mapping *m;
	size_t i = 0;

	lock_reset(&mapping_all.lock);
	if (is_broken)
		repair();
	if (!lock_is_needed()) /* the only thread goes on with what it was about to insert */
		return;
	/* What other threads were about to insert is not. */
	mapping_all.table.used = mapping_all.table.count;
	mapping_all.guarded = 0;
	while (mapping_all.is_hardened && (m = mapping_table_next(&mapping_all.table, &i)))
		mapping_all.guarded += m->is_guarded;
}

/* Figures. */

void mapping_get_stats(struct mapping_stats *stats)
{
	mapping_lock();
	*stats = mapping_all.stats;
	stats->count = mapping_all.table.count;
	stats->bytes = mapping_all.table.bytes;
	stats->table_bytes = mapping_table_bytes(&mapping_all.table);
	mapping_unlock();
}

void mapping_list(struct item_list *list)
{
	const struct mapping *m;
	size_t i = 0;

	mapping_lock();
	while ((m = mapping_table_next(&mapping_all.table, &i))) {
		if (m->is_span)
			continue;
		item_list_add(list, &(struct osmem_item){.kind = OSMEM_MAPPED,
							 .heap = OSMEM_LIBC,
							 .start = mapping_payload(m),
							 .size = m->size,
							 .status = 2,
							 .payload = m->size,
							 .mapping = m->bytes});
	}
	mapping_unlock();
}

const char *mapping_check(void)
{
	const char *fault;

	mapping_lock();
	fault = mapping_table_check(&mapping_all.table);
	if (!fault)
		fault = kept_check();
	mapping_unlock();
	return fault;
}
