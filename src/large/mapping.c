// SPDX-License-Identifier: BSD-3-Clause

/*
 * Mappings of single objects.
 *
 * 1. A freed mapping is cached for the next object of its size or up to a quarter less. One of half
 *    to twice the size is remapped: its pages cost no fault. Live and cached bytes never exceed the
 *    peak of live bytes. Sweeps unmap mappings that were cached for a period.
 * 2. Growing remaps without a copy. The mapping gets an eighth more than needed, which costs
 *    address space only. Shrinking cuts the mapping; beyond CROWD mappings the object is copied to
 *    a span if it fits, because the kernel allows 65,530 only.
 * 3. Hardened, objects have guards, and freed ones are inaccessible: mapping_guard.c.
 */

#include <errno.h>

#include "block/block.h"
#include "large_core.h"
#include "tunables.h"

/*
 * The last positive answer of mapping_keeps in this thread: p may stay for least to least + more
 * bytes until any mapping is freed or resized.
 */
static _Thread_local struct {
	uintptr_t not_p; /* ~p: a search for leaks finds no pointer here */
	size_t least, more;
	size_t changes;
} recent;

static _Atomic(size_t) changes; /* number of mappings freed or resized */

/* Bad pointers. */

/* The mapping whose place contains a pointer. */
struct found {
	const struct mapping *m; /* or NULL */
	bool is_free;
};

static bool has_place(const struct mapping *m, const void *p)
{
	return m->payload && (uintptr_t)p - (uintptr_t)mapping_place(m) < mapping_place_bytes(m);
}

/* The caller holds the lock. */
static struct found find_around(const void *p)
{
	const struct mapping *m;
	size_t i = 0;

	while ((m = mapping_table_next(&mapping_all.table, &i)))
		if (has_place(m, p))
			return (struct found){m, false};
	for (m = mapping_all.graves; m < mapping_all.graves + GRAVES; m++)
		if (has_place(m, p))
			return (struct found){m, true};
	for (struct cached *c = mapping_all.cached; c < mapping_all.cached + CACHED_COUNT; c++)
		if (has_place(&c->m, p))
			return (struct found){&c->m, true};
	return (struct found){.m = NULL};
}

static __attribute__((cold)) void bad_beside(const char *call, void *p, struct mapping m,
					     bool is_free)
{
	size_t offset = (uintptr_t)p - m.payload;
	const char *where = "inside";

	if (is_free && !offset) {
		sys_misuse(call, p, "this block is already free");
		return;
	}
	if ((uintptr_t)p < m.payload)
		where = "before";
	else if (offset >= m.size)
		where = "behind";
	sys_misuse(call, p, "not the start of a block, but %s %s of %lu bytes at 0x%lx", where,
		   is_free ? "a free one" : "one", (unsigned long)m.size, (unsigned long)m.payload);
}

/* Releases the lock. */
static __attribute__((cold)) void bad_pointer(const char *call, void *p)
{
	struct found found = find_around(p);
	struct mapping m = {0};

	if (found.m)
		mapping_copy(&m, found.m);
	mapping_unlock();
	if (found.m)
		bad_beside(call, p, m, found.is_free);
	else if (block_is_ours(p))
		sys_misuse(call, p, "a block of os_malloc, not of malloc");
	else if (span_is_freed(p))
		sys_misuse(call, p, "this memory is already free");
	else if ((uintptr_t)p % CELL_ALIGN)
		sys_misuse(call, p, "not a block: not aligned to %lu bytes", CELL_ALIGN);
	else
		sys_misuse(call, p, "not a block of this allocator");
}

/*
 * Take the lock and return the entry of p. NULL if p was reported; then the lock is not held.
 */
static struct mapping *lock_live(const char *call, void *p)
{
	struct mapping *m;

	mapping_lock();
	m = mapping_table_find(&mapping_all.table, p);
	if (!m)
		bad_pointer(call, p);
	return m;
}

/* Remove entry from the table, but reserve it: no other thread can free the mapping meanwhile. */
static struct mapping take_out(struct mapping *entry)
{
	struct mapping m = {0};

	mapping_copy(&m, entry);
	atomic_fetch_add_explicit(&changes, 1, memory_order_relaxed);
	mapping_table_remove(&mapping_all.table, entry);
	return m;
}

/* Allocation. */

/*
 * Remap m to bytes if it is too small or much too large; its pages stay. An object that grows keeps
 * a larger mapping.
 */
static bool fit(struct mapping *m, size_t bytes, bool grows)
{
	char *moved;

	if (cache_is_fit(m->bytes, bytes) || (grows && m->bytes >= bytes))
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

/*
 * The usable size of an object of size bytes in a mapping of bytes, which may be four times as
 * large. Sized frees accept sizes from half of it on.
 */
static size_t told_room(size_t bytes, size_t size)
{
	return bytes / 2 > size ? 2 * size : bytes;
}

/* Make m for size bytes in room; false with errno ENOMEM. *is_mapped: made by mmap. */
static bool make(struct mapping *m, size_t size, size_t room, size_t align, bool zero,
		 bool *is_mapped)
{
	size_t page = sys_page_size(), bytes = round_up(room ? room : 1, page);
	bool grows = room > size;

	*m = (struct mapping){.bytes = bytes};
	if (align > page || zero || !cache_take(m, bytes, grows) || !fit(m, bytes, grows)) {
		m->bytes = bytes;
		m->start = sys_map_aligned(bytes, align);
		*is_mapped = m->start;
	}
	m->size = grows ? told_room(m->bytes, size) : m->bytes;
	m->asked = size;
	m->payload = (uintptr_t)m->start;
	return m->start;
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
	bool is_made, is_mapped = false;
	struct mapping m;

	if (room > PTRDIFF_MAX - 4 * sys_page_size()) {
		errno = ENOMEM;
		return NULL;
	}
	if (!reserve())
		return NULL;
	if (mapping_is_hardened)
		is_made = guard_make(&m, size, room, align, &is_mapped);
	else
		is_made = make(&m, size, room, align, zero, &is_mapped);
	if (!is_made) {
		unreserve();
		return NULL;
	}
	mapping_lock();
	mapping_all.guarded += mapping_is_guarded(&m);
	mapping_all.stats.allocs++;
	mapping_all.stats.map_calls += is_mapped;
	mapping_unlock();
	mapping_insert(&m);
	return mapping_payload(&m);
}

void mapping_free(const char *call, void *p)
{
	struct mapping *entry = lock_live(call, p), m;

	if (!entry)
		return;
	m = take_out(entry);
	mapping_all.guarded -= mapping_is_guarded(&m);
	mapping_all.stats.frees++;
	mapping_unlock();
	if (mapping_is_hardened)
		guard_free(call, &m);
	else
		cache_put(&m);
	unreserve();
}

size_t mapping_usable_size(const char *call, void *p)
{
	const struct mapping *m = lock_live(call, p);
	size_t size;

	if (!m)
		return LARGE_BAD;
	size = m->size;
	mapping_unlock();
	return size;
}

bool mapping_has(const void *p)
{
	bool is_any;

	mapping_lock();
	is_any = find_around(p).m;
	mapping_unlock();
	return is_any;
}

/* Resizing: rule 2. */

bool mapping_keeps(const char *call, void *p, size_t size)
{
	struct mapping *m;
	bool is_fit;

	if (mapping_is_hardened)
		return false;
	m = lock_live(call, p);
	if (!m)
		return false;
	if (size > m->size && size <= m->bytes)
		m->size = told_room(m->bytes, size);
	is_fit = size <= m->size && (size >= m->asked || m->size - size <= large_slack(size));
	if (is_fit)
		m->asked = size;
	if (is_fit && m->size - size <= large_slack(size)) {
		recent.not_p = ~(uintptr_t)p;
		recent.least = size;
		recent.more = m->size - size;
		recent.changes = changes;
	}
	mapping_unlock();
	return is_fit;
}

bool large_stays(const void *p, size_t size)
{
	return ~(uintptr_t)p == recent.not_p && size - recent.least <= recent.more &&
	       recent.changes == atomic_load_explicit(&changes, memory_order_relaxed);
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

static bool resize(struct mapping *m, size_t size)
{
	size_t page = sys_page_size(), bytes = round_up(size, page);
	size_t roomy = round_up(size + (size >> GROWTH_SHIFT), page);

	if (!(bytes > m->bytes && remap(m, roomy)) && !remap(m, bytes))
		return false;
	m->asked = size;
	return true;
}

void *mapping_resize(const char *call, void *p, size_t size)
{
	size_t bytes = round_up(size, sys_page_size());
	struct mapping *entry = lock_live(call, p), m;
	bool is_done;

	if (!entry)
		return NULL;
	if (!mapping_is_hardened && bytes <= SPAN_MAX && bytes < entry->bytes &&
	    mapping_all.table.count > CROWD) {
		mapping_unlock();
		return NULL;
	}
	m = take_out(entry);
	mapping_all.stats.remap_calls++;
	mapping_unlock();
	is_done = mapping_is_hardened ? guard_resize(call, &m, size) : resize(&m, size);
	mapping_insert(&m);
	return is_done ? mapping_payload(&m) : NULL;
}

/* Fork. */

/* Another thread was changing the table or the page cache. */
static void repair(void)
{
	mapping_table_repair(&mapping_all.table);
	cache_repair();
	if (mapping_all.table.bytes + large_dirty_bytes() > mapping_all.stats.peak_bytes)
		mapping_all.stats.peak_bytes = mapping_all.table.bytes + large_dirty_bytes();
}

void large_fork_child(void)
{
	bool is_broken = lock_is_held(&mapping_all.lock);
	const struct mapping *m;
	size_t i = 0;

	lock_reset(&mapping_all.lock);
	if (is_broken)
		repair();
	if (!lock_is_needed()) /* the only thread continues with its reservation */
		return;
	/* Reservations of other threads are void. */
	mapping_all.table.used = mapping_all.table.count;
	mapping_all.guarded = 0;
	while (mapping_is_hardened && (m = mapping_table_next(&mapping_all.table, &i)))
		mapping_all.guarded += mapping_is_guarded(m);
}

/* Statistics. */

void mapping_get_stats(struct mapping_stats *stats)
{
	mapping_lock();
	*stats = mapping_all.stats;
	stats->count = mapping_all.table.count;
	stats->bytes = mapping_all.table.bytes;
	stats->table_bytes = mapping_table_bytes(&mapping_all.table);
	mapping_unlock();
}

void large_list(struct item_list *list)
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
							 .mapping = mapping_place_bytes(m)});
	}
	mapping_unlock();
}

void large_each_range(void (*visit)(const void *start, size_t size, void *arg), void *arg)
{
	const struct mapping *m;
	size_t i = 0;

	mapping_lock();
	visit(&mapping_all, sizeof(mapping_all), arg);
	if (mapping_all.table.room)
		visit(mapping_all.table.room, mapping_table_bytes(&mapping_all.table), arg);
	while ((m = mapping_table_next(&mapping_all.table, &i)))
		visit(m->start, m->bytes, arg);
	for (const struct cached *k = mapping_all.cached; k < mapping_all.cached + CACHED_COUNT;
	     k++)
		if (k->m.payload)
			visit(k->m.start, k->m.bytes, arg);
	mapping_unlock();
}

void large_each_lock(void (*visit)(struct lock *l, void *arg), void *arg)
{
	visit(&mapping_all.lock, arg);
}

const char *large_check(void)
{
	const char *fault;

	mapping_lock();
	fault = mapping_table_check(&mapping_all.table);
	if (!fault)
		fault = cache_check();
	mapping_unlock();
	return fault;
}
