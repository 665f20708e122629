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
#include <string.h>

#include "block.h"
#include "fork.h"
#include "helpers.h"
#include "item_list.h"
#include "lock.h"
#include "mapping_table.h"
#include "span.h"
#include "zero.h"

#define KEPT_COUNT 64
#define KEPT_OVER_SHIFT 2 /* a kept mapping may be a quarter larger than what is asked for */
#define GROWTH_SHIFT 3
#define CROWD 4096 /* live ones, beyond which those that shrink become spans */
#define LATE_REUSE 16 /* hardened, as many younger ones are not used again */
#define GUARDED_MAX 5000 /* of 65,530 mappings, a quarter is the library's */
#define PURGED_MIN (8 * MIB) /* hardened, such a one has no memory while it is kept */
#define SEALED_MAX (64 * MIB) /* that the others have */
#define PATTERN 0xa5 /* behind an object, to its guard */
#define PATTERN_MAX ((size_t)64) /* bytes of it: an overflow meets the first */

/* A freed one. */
struct kept {
	char *_Atomic start; /* NULL: none; written last */
	size_t bytes;
	uintptr_t payload; /* what it was, for the report of a double free */
	size_t size;
	bool is_span;
	bool is_refused; /* the kernel would not take it: not bounded by L3 */
	uint64_t freed_ms;
	uint64_t turn; /* the order of their freeing */
};

static struct {
	struct lock lock; /* guards everything here */
	bool is_hardened;
	struct mapping_table table;
	struct mapping_stats stats;
	size_t guarded;
	uint64_t turn;
	unsigned int kept_count;
	struct kept kept[KEPT_COUNT];
} all;

_Atomic(size_t) mapping_kept_total; /* L3 */

static void lock(void)
{
	fork_check();
	lock_acquire(&all.lock);
}

static void unlock(void)
{
	lock_release(&all.lock);
}

static size_t round_up(size_t n, size_t to)
{
	return (n + to - 1) & ~(to - 1);
}

static char *payload_of(const struct mapping *m)
{
	return (char *)m->payload;
}

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

	while ((m = mapping_table_next(&all.table, &i)))
		if ((uintptr_t)p - (uintptr_t)m->start < m->bytes)
			return (struct found){true, false, m->payload, m->size};
	for (struct kept *k = all.kept; k < all.kept + KEPT_COUNT; k++)
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

	unlock();
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
	struct mapping *m = mapping_table_find(&all.table, p);

	if (!m)
		bad_pointer(call, p);
	return m;
}

/* Out of the table, with an entry reserved: nobody else can free it meanwhile. */
static struct mapping take_out(const char *call, void *p)
{
	struct mapping m = {0}, *entry = live(call, p);

	mapping_copy(&m, entry);
	mapping_table_remove(&all.table, entry);
	return m;
}

/* Freed ones: rule 1. */

/* What goes when the lock is free again. */
struct doomed {
	struct mapping all[KEPT_COUNT];
	unsigned int count;
};

static void drop_kept(struct kept *k)
{
	if (k->is_span)
		span_set_kept(k->start, false);
	mapping_kept_total -= k->bytes;
	all.kept_count--;
	atomic_store_explicit(&k->start, NULL, memory_order_release);
}

static void doom(struct doomed *doomed, struct kept *k)
{
	doomed->all[doomed->count++] = (struct mapping){.payload = k->payload,
							.size = k->size,
							.start = k->start,
							.bytes = k->bytes,
							.is_span = k->is_span};
	drop_kept(k);
}

/* There is a place for m. */
static void add_kept(const struct mapping *m, bool is_refused)
{
	struct kept *k = all.kept;

	while (k->start)
		k++;
	k->bytes = m->bytes;
	k->payload = m->payload;
	k->size = m->size;
	k->is_span = m->is_span;
	k->is_refused = is_refused;
	k->freed_ms = sys_now_ms();
	k->turn = all.turn++;
	if (m->is_span)
		span_set_kept(m->start, true);
	atomic_store_explicit(&k->start, m->start, memory_order_release);
	all.kept_count++;
	mapping_kept_total += m->bytes;
}

/* The kernel has no room to change what it notes of m: so m waits for the next sweep. */
static void keep_refused(const struct mapping *m)
{
	lock();
	if (all.kept_count < KEPT_COUNT)
		add_kept(m, true);
	unlock();
}

/* Hardened, m is inaccessible: nothing can be noted in it, as sys_release does. */
static void release_guarded(const struct mapping *m)
{
	int saved_errno = errno;

	if ((m->is_span ? sys_unprotect : sys_unmap)(m->start, m->bytes) < 0)
		keep_refused(m);
	else if (m->is_span)
		span_free(m->start);
	errno = saved_errno;
}

/* The pages of m go back to where they came from. */
static void release(const struct mapping *m)
{
	if (all.is_hardened)
		release_guarded(m);
	else
		sys_release(m->start, m->bytes);
}

static void release_doomed(const struct doomed *doomed)
{
	for (unsigned int i = 0; i < doomed->count; i++)
		release(&doomed->all[i]);
}

static struct kept *oldest_kept(void)
{
	struct kept *oldest = NULL;

	for (struct kept *k = all.kept; k < all.kept + KEPT_COUNT; k++)
		if (k->start && (!oldest || k->turn < oldest->turn))
			oldest = k;
	return oldest;
}

/* Whether a mapping of has bytes may be used for bytes as it is. */
static bool is_fit(size_t has, size_t bytes)
{
	return has >= bytes && has - bytes <= bytes >> KEPT_OVER_SHIFT;
}

/*
 * How far k is from what is wanted, by size; SIZE_MAX: too far. What has to be remapped is last.
 * What grows may have four times as much, for it will need more.
 */
static size_t misfit(const struct kept *k, size_t bytes, bool is_span, bool grows)
{
	size_t difference = k->bytes > bytes ? k->bytes - bytes : bytes - k->bytes;

	if (!k->start || k->is_span != is_span)
		return SIZE_MAX;
	if (is_fit(k->bytes, bytes))
		return all.is_hardened && k->turn + LATE_REUSE > all.turn ? SIZE_MAX : difference;
	if (all.is_hardened || k->bytes < bytes / 2 || k->bytes > (grows ? 4 : 2) * bytes)
		return SIZE_MAX;
	return difference + bytes;
}

/* A kept one, of about m->bytes. False: none is near that. */
static bool take_kept(struct mapping *m, bool grows)
{
	size_t least = SIZE_MAX;
	struct kept *best = NULL;

	if (!mapping_kept_bytes())
		return false;
	lock();
	for (struct kept *k = all.kept; k < all.kept + KEPT_COUNT; k++) {
		size_t far = misfit(k, m->bytes, m->is_span, grows);

		if (far < least) {
			least = far;
			best = k;
		}
	}
	if (best) {
		m->start = best->start;
		m->bytes = best->bytes;
		m->payload = best->payload; /* should it be kept again */
		m->size = best->size;
		drop_kept(best);
	}
	unlock();
	return best;
}

/* Hardened, the memory of kept ones may be much more than what is live. */
static bool is_too_much(void)
{
	size_t bytes = 0;

	for (const struct kept *k = all.kept; k < all.kept + KEPT_COUNT && all.is_hardened; k++)
		if (k->start && k->bytes < PURGED_MIN)
			bytes += k->bytes;
	return bytes > SEALED_MAX;
}

/* Rule 1, with bytes more to be live or kept. The table is locked. */
static void make_room(size_t bytes, struct doomed *doomed)
{
	while (all.kept_count &&
	       (all.table.bytes + mapping_kept_bytes() + bytes > all.stats.peak_bytes ||
		is_too_much()))
		doom(doomed, oldest_kept());
}

/* m, for which an entry is reserved, is live. The table is locked. */
static void put_in(const struct mapping *m, struct doomed *doomed)
{
	mapping_table_insert(&all.table, m);
	if (all.table.bytes > all.stats.peak_bytes)
		all.stats.peak_bytes = all.table.bytes;
	make_room(0, doomed);
}

/* Keep m, perhaps at the cost of older ones; whether it is kept. The table is locked. */
static bool keep(const struct mapping *m, struct doomed *doomed)
{
	if (m->bytes + all.table.bytes > all.stats.peak_bytes)
		return false;
	make_room(m->bytes, doomed);
	if (all.kept_count == KEPT_COUNT)
		doom(doomed, oldest_kept());
	add_kept(m, false);
	return true;
}

/* One after the other: what a thread has in its hands is lost in the child of a fork. */
static bool give_back(uint64_t older_ms)
{
	uint64_t now = sys_now_ms();
	bool is_any = false;

	for (struct kept *k = all.kept; k < all.kept + KEPT_COUNT; k++) {
		struct doomed doomed = {.count = 0};

		lock();
		if (k->start && now - k->freed_ms >= older_ms)
			doom(&doomed, k);
		all.stats.unmap_calls += doomed.count;
		unlock();
		release_doomed(&doomed);
		is_any |= doomed.count;
	}
	return is_any;
}

bool mapping_sweep(uint64_t period_ms)
{
	return mapping_kept_bytes() && give_back(period_ms);
}

bool mapping_trim(void)
{
	return mapping_kept_bytes() && give_back(0);
}

/* Guards: rule 3. */

void mapping_harden(void)
{
	all.is_hardened = true;
}

static size_t guard_bytes(const struct mapping *m)
{
	if (!m->is_guarded)
		return 0;
	return m->is_span ? sys_page_size() : 2 * sys_page_size();
}

/* The end of what is accessible of m. */
static char *end_of(const struct mapping *m)
{
	return m->start + m->bytes - (m->is_guarded ? sys_page_size() : 0);
}

/* What is accessible before the payload of m starts here. */
static char *start_of(const struct mapping *m)
{
	return m->start + (m->is_guarded && !m->is_span ? sys_page_size() : 0);
}

/* Hardened, m has size bytes: what is behind them is not the user's. */
static void set_size(struct mapping *m, size_t size)
{
	size_t behind = (size_t)(end_of(m) - payload_of(m)) - size;

	m->size = size;
	memset(payload_of(m) + size, PATTERN, behind < PATTERN_MAX ? behind : PATTERN_MAX);
}

/* m is for size bytes, of room: put these at its end, and guards around. */
static void set_payload(struct mapping *m, size_t size, size_t room, size_t align)
{
	size_t page = sys_page_size();

	m->size = m->bytes;
	m->payload = (uintptr_t)m->start;
	if (!all.is_hardened)
		return;
	if (m->is_guarded) {
		sys_protect(end_of(m), page);
		if (!m->is_span)
			sys_protect(m->start, page);
	}
	if (align <= page)
		m->payload = ((uintptr_t)end_of(m) - room) & ~(uintptr_t)(align - 1);
	set_size(m, size);
}

static bool is_filled(const char *from, const char *to, unsigned char with)
{
	while (from < to)
		if ((unsigned char)*from++ != with)
			return false;
	return true;
}

/* Of what is before the payload, its own page is looked at. */
static void require_intact(const char *call, const struct mapping *m)
{
	const char *start = start_of(m), *end = payload_of(m) + m->size, *to = end_of(m);
	size_t page = sys_page_size();

	if (!all.is_hardened)
		return;
	if ((size_t)(to - end) > PATTERN_MAX)
		to = end + PATTERN_MAX;
	if ((size_t)(payload_of(m) - start) > page)
		start = payload_of(m) - page;
	if (!is_filled(start, payload_of(m), 0))
		sys_fatal(call, payload_of(m), "memory before this block is overwritten");
	if (!is_filled(end, to, PATTERN))
		sys_fatal(call, payload_of(m),
			  "memory behind this block of %lu bytes is overwritten",
			  (unsigned long)m->size);
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
	start = (char *)round_up((uintptr_t)p, align);
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

	if (is_fit(m->bytes, bytes) || (grows && m->bytes >= bytes))
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

	if (!take_kept(m, grows))
		return false;
	if (!all.is_hardened)
		return fit(m, bytes, grows);
	if (sys_unprotect(m->start, m->bytes) == 0)
		return true;
	keep_refused(m);
	return false;
}

/* m for size bytes of room; false with errno ENOMEM. *is_mapped: the kernel has given it now. */
static bool make(struct mapping *m, size_t size, size_t room, size_t align, bool zero,
		 bool *is_mapped)
{
	size_t page = sys_page_size(), bytes = round_up(room ? room : 1, page);
	bool is_plain = align <= page;

	*m = (struct mapping){.is_guarded =
				      all.is_hardened && is_plain && all.guarded < GUARDED_MAX,
			      .is_span = all.is_hardened && bytes <= SPAN_GUARDED_MAX &&
					 align <= SPAN_GUARDED_ALIGN};
	if (m->is_span &&
	    !(round_up(room, align) % page)) /* something of its own is before the payload */
		bytes += page;
	m->bytes = bytes + guard_bytes(m);
	if (!is_plain || (zero && !all.is_hardened) || !get_kept(m, room > size)) {
		m->bytes = bytes + guard_bytes(m);
		if (!get_pages(m, align))
			return false;
		*is_mapped = !m->is_span;
	}
	set_payload(m, size, room, align);
	m->asked = size;
	return true;
}

static bool reserve(void)
{
	bool is_reserved;

	lock();
	is_reserved = mapping_table_reserve(&all.table);
	unlock();
	return is_reserved;
}

static void unreserve(void)
{
	lock();
	all.table.used--;
	unlock();
}

void *mapping_alloc(size_t size, size_t room, size_t align, bool zero)
{
	struct doomed doomed = {.count = 0};
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
	lock();
	all.guarded += m.is_guarded;
	all.stats.allocs++;
	all.stats.map_calls += is_mapped;
	put_in(&m, &doomed);
	all.stats.unmap_calls += doomed.count;
	unlock();
	release_doomed(&doomed);
	return payload_of(&m);
}

/* What was never written to gets no memory by it. */
static void clear(char *p, size_t bytes)
{
	size_t page = sys_page_size();

	for (size_t at = 0; at < bytes; at += page)
		if (!is_zero(p + at, page))
			memset(p + at, 0, page);
}

/*
 * Hardened, what is freed is zero and inaccessible before anybody sees it again. False: the kernel
 * has no room to note it. A large one is purged: that is quicker than zeroing.
 */
static bool seal_off(const struct mapping *m)
{
	char *start = start_of(m);
	size_t bytes = (size_t)(end_of(m) - start);

	if (bytes < PURGED_MIN || m->is_span || sys_purge(start, bytes) < 0)
		clear(start, bytes);
	return sys_protect(m->start, m->bytes) == 0;
}

void mapping_free(const char *call, void *p)
{
	struct doomed doomed = {.count = 0};
	bool is_kept = false;
	struct mapping m;

	lock();
	m = take_out(call, p);
	all.guarded -= m.is_guarded;
	all.stats.frees++;
	unlock();
	require_intact(call, &m);
	if (!all.is_hardened || seal_off(&m)) {
		lock();
		is_kept = keep(&m, &doomed);
		unlock();
	}
	lock();
	all.table.used--;
	all.stats.unmap_calls += doomed.count + (!is_kept && !m.is_span);
	unlock();
	release_doomed(&doomed);
	if (!is_kept)
		release(&m);
}

size_t mapping_usable_size(const char *call, void *p)
{
	size_t size;

	lock();
	size = live(call, p)->size;
	unlock();
	return size;
}

bool mapping_has(const void *p)
{
	bool is_any;

	lock();
	is_any = find_around(p).is_any;
	unlock();
	return is_any;
}

/* Resizing: rule 2. */

bool mapping_keeps(const char *call, void *p, size_t size)
{
	struct mapping *m;
	bool is_kept;

	if (all.is_hardened)
		return false;
	lock();
	m = live(call, p);
	is_kept = size <= m->size && (size >= m->asked || m->size - size <= large_slack(size));
	if (is_kept)
		m->asked = size;
	unlock();
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
	bool is_fit;

	lock();
	mapping_copy(&m, live(call, p));
	unlock();
	require_intact(call, &m);
	is_fit = size <= (size_t)(end_of(&m) - payload_of(&m)) && size >= m.size / 2;
	if (!is_fit)
		return NULL;
	lock();
	set_size(live(call, p), size);
	unlock();
	return p;
}

void *mapping_resize(const char *call, void *p, size_t size)
{
	size_t page = sys_page_size(), bytes = round_up(size, page);
	struct doomed doomed = {.count = 0};
	struct mapping m;
	bool is_done;

	if (all.is_hardened)
		return resize_in_place(call, p, size);
	lock();
	if (bytes <= SPAN_MAX && bytes < live(call, p)->bytes && all.table.count > CROWD) {
		unlock();
		return NULL;
	}
	m = take_out(call, p);
	all.stats.resizes++;
	all.stats.remap_calls++;
	unlock();
	is_done = bytes > m.bytes && remap(&m, round_up(size + (size >> GROWTH_SHIFT), page));
	if (!is_done)
		is_done = remap(&m, bytes);
	lock();
	m.asked = is_done ? size : m.asked;
	put_in(&m, &doomed);
	unlock();
	release_doomed(&doomed);
	return is_done ? payload_of(&m) : NULL;
}

/* Fork. */

/* Another thread was changing the table, or what is kept. */
static void repair(void)
{
	mapping_table_repair(&all.table);
	all.kept_count = 0;
	mapping_kept_total = 0;
	for (unsigned int i = 0; i < KEPT_COUNT; i++) {
		all.kept_count += all.kept[i].start != NULL;
		mapping_kept_total += all.kept[i].start ? all.kept[i].bytes : 0;
	}
	if (all.table.bytes + mapping_kept_bytes() > all.stats.peak_bytes)
		all.stats.peak_bytes = all.table.bytes + mapping_kept_bytes();
}

void mapping_fork_child(void)
{
	bool is_broken = lock_is_held(&all.lock);
	const struct mapping *m;
	size_t i = 0;

	lock_reset(&all.lock);
	if (is_broken)
		repair();
	/* What other threads were about to insert is not. */
	all.table.used = all.table.count;
	all.guarded = 0;
	while (all.is_hardened && (m = mapping_table_next(&all.table, &i)))
		all.guarded += m->is_guarded;
}

/* Figures. */

void mapping_get_stats(struct mapping_stats *stats)
{
	lock();
	*stats = all.stats;
	stats->count = all.table.count;
	stats->bytes = all.table.bytes;
	stats->table_bytes = mapping_table_bytes(&all.table);
	unlock();
}

size_t mapping_list(struct osmem_item *items, size_t room)
{
	struct item_list list = {.items = items, .room = room};
	const struct mapping *m;
	size_t i = 0;

	lock();
	while ((m = mapping_table_next(&all.table, &i))) {
		if (m->is_span)
			continue;
		item_list_add(&list, &(struct osmem_item){.kind = OSMEM_MAPPED,
							  .heap = OSMEM_LIBC,
							  .start = payload_of(m),
							  .size = m->size,
							  .status = 2,
							  .payload = m->size,
							  .mapping = m->bytes});
	}
	unlock();
	return list.count;
}

static const char *check_kept(void)
{
	size_t kept = 0, refused = 0, count = 0;

	for (const struct kept *k = all.kept; k < all.kept + KEPT_COUNT; k++) {
		if (!k->start)
			continue;
		count++;
		kept += k->bytes;
		refused += k->is_refused ? k->bytes : 0;
	}
	if (count != all.kept_count || kept != mapping_kept_bytes() ||
	    all.table.bytes + kept > all.stats.peak_bytes + refused)
		return "L3: the figures of what is kept are wrong, or it is too much";
	return NULL;
}

const char *mapping_check(void)
{
	const char *fault;

	lock();
	fault = mapping_table_check(&all.table);
	if (!fault)
		fault = check_kept();
	unlock();
	return fault;
}
