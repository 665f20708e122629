// SPDX-License-Identifier: BSD-3-Clause

/* The page cache of freed mappings: rule 1 of mapping.c. */

#include <errno.h>

#include "large_core.h"
#include "tunables.h"

struct mappings mapping_all APART;
bool mapping_is_hardened;
_Atomic(size_t) mapping_cached_total; /* L3 */

/* Evicted mappings, to release without the lock. Large, so only count is initialized. */
struct evicted {
	struct mapping all[CACHED_COUNT];
	unsigned int count;
};

static void remove_cached(struct cached *c)
{
	mapping_cached_total -= c->m.bytes;
	mapping_all.cached_count--;
	atomic_store_explicit(&c->m.payload, 0, memory_order_release);
}

static void evict(struct evicted *evicted, struct cached *c)
{
	mapping_copy(&evicted->all[evicted->count++], &c->m);
	remove_cached(c);
}

/* A slot for m is free. */
static void cache_add(const struct mapping *m, bool is_refused)
{
	struct cached *c = mapping_all.cached;

	while (c->m.payload)
		c++;
	c->is_refused = is_refused;
	c->freed_ms = sys_now_ms();
	c->turn = mapping_all.turn++;
	mapping_copy(&c->m, m);
	mapping_all.cached_count++;
	mapping_cached_total += m->bytes;
}

/* The kernel refused to unmap m: it waits for the next sweep. */
static void cache_refused(const struct mapping *m)
{
	mapping_lock();
	if (mapping_all.cached_count < CACHED_COUNT)
		cache_add(m, true);
	mapping_unlock();
}

/* sys_release stores a link in what it cannot unmap, but m is inaccessible. */
static void release_guarded(const struct mapping *m)
{
	int saved_errno = errno;

	if (m->is_span ? sys_unprotect(m->start, m->bytes)
		       : sys_unmap(mapping_place(m), mapping_place_bytes(m)))
		cache_refused(m);
	else if (m->is_span)
		span_free(m->start);
	errno = saved_errno;
}

void mapping_release(const struct mapping *m)
{
	if (mapping_is_hardened)
		release_guarded(m);
	else
		sys_release(m->start, m->bytes);
}

static void release_evicted(const struct evicted *evicted)
{
	for (unsigned int i = 0; i < evicted->count; i++)
		mapping_release(&evicted->all[i]);
}

static struct cached *oldest_cached(void)
{
	struct cached *oldest = NULL;

	for (struct cached *c = mapping_all.cached; c < mapping_all.cached + CACHED_COUNT; c++)
		if (c->m.payload && (!oldest || c->turn < oldest->turn))
			oldest = c;
	return oldest;
}

/* Hardened, a body above ROOMY_MAX follows a guard directly. */
bool cache_is_fit(size_t has, size_t bytes)
{
	if (mapping_is_hardened && bytes > ROOMY_MAX)
		return has == bytes;
	return has >= bytes && has - bytes <= bytes >> CACHED_OVER_SHIFT;
}

/*
 * Distance of c from bytes; SIZE_MAX: unusable. Mappings to remap rank last. A growing object may
 * get four times its bytes. Hardened, larger mappings are split.
 */
static size_t misfit(const struct cached *c, size_t bytes, bool grows)
{
	size_t difference = c->m.bytes > bytes ? c->m.bytes - bytes : bytes - c->m.bytes;

	if (c->is_refused)
		return SIZE_MAX;
	if (cache_is_fit(c->m.bytes, bytes))
		return difference;
	if (mapping_is_hardened && c->m.bytes > bytes)
		return difference + bytes;
	if (c->m.bytes < bytes / 2 || c->m.bytes > (grows ? 4 : 2) * bytes)
		return SIZE_MAX;
	return difference + (mapping_is_hardened ? PTRDIFF_MAX : bytes);
}

bool cache_take(struct mapping *m, size_t bytes, bool grows)
{
	size_t least = SIZE_MAX, far;
	struct cached *best = NULL;
	unsigned int left;

	if (!large_dirty_bytes())
		return false;
	mapping_lock();
	left = mapping_all.cached_count;
	for (struct cached *c = mapping_all.cached; left; c++) {
		if (!c->m.payload)
			continue;
		left--;
		far = misfit(c, bytes, grows);
		if (far < least) {
			least = far;
			best = c;
		}
	}
	if (best) {
		mapping_copy(m, &best->m);
		remove_cached(best);
	}
	mapping_unlock();
	return best;
}

bool cache_has(size_t bytes)
{
	bool has = false;

	mapping_lock();
	for (struct cached *c = mapping_all.cached; c < mapping_all.cached + CACHED_COUNT; c++)
		has |= c->m.payload && !c->is_refused && c->m.bytes >= bytes;
	mapping_unlock();
	return has;
}

/*
 * Bound of live and cached bytes: L3. Hardened, an eighth more: freed bodies are reused at once, so
 * the cache would seldom hold any for other sizes.
 */
static size_t most_bytes(void)
{
	size_t peak = mapping_all.stats.peak_bytes;

	return peak + (mapping_is_hardened ? peak / 8 : 0);
}

/* Live, spare and cached bytes. */
static size_t all_bytes(void)
{
	return mapping_all.table.bytes + mapping_all.table.spare + large_dirty_bytes();
}

/* Evict until bytes more obey L3. The caller holds the lock. */
static void make_room(size_t bytes, struct evicted *evicted)
{
	while (mapping_all.cached_count && all_bytes() + bytes > most_bytes())
		evict(evicted, oldest_cached());
}

void mapping_insert(const struct mapping *m)
{
	struct evicted evicted;

	evicted.count = 0;
	mapping_lock();
	mapping_table_insert(&mapping_all.table, m);
	if (mapping_all.table.bytes > mapping_all.stats.peak_bytes)
		mapping_all.stats.peak_bytes = mapping_all.table.bytes;
	make_room(0, &evicted);
	mapping_all.stats.unmap_calls += evicted.count;
	mapping_unlock();
	release_evicted(&evicted);
}

/* Cache m, unless m and the live mappings alone exceed L3. The caller holds the lock. */
static bool put(const struct mapping *m, struct evicted *evicted)
{
	if (m->bytes + mapping_all.table.bytes + mapping_all.table.spare > most_bytes())
		return false;
	make_room(m->bytes, evicted);
	if (mapping_all.cached_count == CACHED_COUNT)
		evict(evicted, oldest_cached());
	cache_add(m, false);
	return true;
}

void cache_put(const struct mapping *m)
{
	struct evicted evicted;
	bool is_cached;

	evicted.count = 0;
	mapping_lock();
	is_cached = put(m, &evicted);
	mapping_all.stats.unmap_calls += evicted.count + (!is_cached && !m->is_span);
	mapping_unlock();
	release_evicted(&evicted);
	if (!is_cached)
		mapping_release(m);
}

static bool is_due(const struct cached *c, uint64_t now, uint64_t period_ms)
{
	return c->m.payload && now - c->freed_ms >= period_ms;
}

/* Releases one at a time: a fork loses what other threads hold in local variables. */
bool cache_sweep(uint64_t period_ms)
{
	uint64_t now = sys_now_ms();
	bool is_any = false;

	for (struct cached *c = mapping_all.cached; c < mapping_all.cached + CACHED_COUNT; c++) {
		struct evicted evicted;

		if (!is_due(c, now, period_ms))
			continue;
		evicted.count = 0;
		mapping_lock();
		if (is_due(c, now, period_ms))
			evict(&evicted, c);
		mapping_all.stats.unmap_calls += evicted.count;
		mapping_unlock();
		release_evicted(&evicted);
		is_any |= evicted.count;
	}
	return is_any;
}

void cache_repair(void)
{
	mapping_all.cached_count = 0;
	mapping_cached_total = 0;
	for (unsigned int i = 0; i < CACHED_COUNT; i++) {
		mapping_all.cached_count += mapping_all.cached[i].m.payload != 0;
		mapping_cached_total +=
			mapping_all.cached[i].m.payload ? mapping_all.cached[i].m.bytes : 0;
	}
}

const char *cache_check(void)
{
	size_t cached = 0, refused = 0, count = 0;

	for (const struct cached *c = mapping_all.cached; c < mapping_all.cached + CACHED_COUNT;
	     c++) {
		if (!c->m.payload)
			continue;
		count++;
		cached += c->m.bytes;
		refused += c->is_refused ? c->m.bytes : 0;
	}
	if (count != mapping_all.cached_count || cached != large_dirty_bytes() ||
	    (count && all_bytes() > most_bytes() + refused))
		return "L3: the figures of the page cache are wrong, or it is too large";
	return NULL;
}
