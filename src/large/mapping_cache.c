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

static void remove_cached(struct cached *k)
{
	mapping_cached_total -= k->m.bytes;
	mapping_all.cached_count--;
	atomic_store_explicit(&k->m.payload, 0, memory_order_release);
}

static void evict(struct evicted *evicted, struct cached *k)
{
	mapping_copy(&evicted->all[evicted->count++], &k->m);
	remove_cached(k);
}

/* A slot for m is free. */
static void cache_add(const struct mapping *m, bool is_refused)
{
	struct cached *k = mapping_all.cached;

	while (k->m.payload)
		k++;
	k->is_refused = is_refused;
	k->freed_ms = sys_now_ms();
	k->turn = mapping_all.turn++;
	mapping_copy(&k->m, m);
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

	for (struct cached *k = mapping_all.cached; k < mapping_all.cached + CACHED_COUNT; k++)
		if (k->m.payload && (!oldest || k->turn < oldest->turn))
			oldest = k;
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
 * Distance of k from bytes; SIZE_MAX: unusable. Mappings to remap rank last. A growing object may
 * get four times its bytes. Hardened, larger mappings are split.
 */
static size_t misfit(const struct cached *k, size_t bytes, bool grows)
{
	size_t difference = k->m.bytes > bytes ? k->m.bytes - bytes : bytes - k->m.bytes;

	if (k->is_refused)
		return SIZE_MAX;
	if (cache_is_fit(k->m.bytes, bytes))
		return difference;
	if (mapping_is_hardened && k->m.bytes > bytes)
		return difference + bytes;
	if (k->m.bytes < bytes / 2 || k->m.bytes > (grows ? 4 : 2) * bytes)
		return SIZE_MAX;
	return difference + (mapping_is_hardened ? PTRDIFF_MAX : bytes);
}

bool cache_take(struct mapping *m, size_t bytes, bool grows)
{
	size_t least = SIZE_MAX, far;
	struct cached *best = NULL;
	unsigned int left;

	if (!mapping_cached_bytes())
		return false;
	mapping_lock();
	left = mapping_all.cached_count;
	for (struct cached *k = mapping_all.cached; left; k++) {
		if (!k->m.payload)
			continue;
		left--;
		far = misfit(k, bytes, grows);
		if (far < least) {
			least = far;
			best = k;
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
	for (struct cached *k = mapping_all.cached; k < mapping_all.cached + CACHED_COUNT; k++)
		has |= k->m.payload && !k->is_refused && k->m.bytes >= bytes;
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
	return mapping_all.table.bytes + mapping_all.table.spare + mapping_cached_bytes();
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

static bool is_due(const struct cached *k, uint64_t now, uint64_t period_ms)
{
	return k->m.payload && now - k->freed_ms >= period_ms;
}

/* Releases one at a time: a fork loses what other threads hold in local variables. */
bool cache_sweep(uint64_t period_ms)
{
	uint64_t now = sys_now_ms();
	bool is_any = false;

	for (struct cached *k = mapping_all.cached; k < mapping_all.cached + CACHED_COUNT; k++) {
		struct evicted evicted;

		if (!is_due(k, now, period_ms))
			continue;
		evicted.count = 0;
		mapping_lock();
		if (is_due(k, now, period_ms))
			evict(&evicted, k);
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

	for (const struct cached *k = mapping_all.cached; k < mapping_all.cached + CACHED_COUNT;
	     k++) {
		if (!k->m.payload)
			continue;
		count++;
		cached += k->m.bytes;
		refused += k->is_refused ? k->m.bytes : 0;
	}
	if (count != mapping_all.cached_count || cached != mapping_cached_bytes() ||
	    (count && all_bytes() > most_bytes() + refused))
		return "L3: the figures of the page cache are wrong, or it is too large";
	return NULL;
}
