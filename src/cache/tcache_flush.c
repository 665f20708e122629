// SPDX-License-Identifier: BSD-3-Clause

/* Flushing of caches to the store and the page heap; caches without an owner. */

#include "quarantine.h"
#include "tcache_core.h"
#include "tunables.h"

/* Return the cells from top on, and their magazine, to the store. */
static void flush_magazine_locked(unsigned int class, void **top)
{
	struct magazine *m = magazine_of(top);

	slab_give_locked(class, top, (unsigned int)(&m->cells[magazine_capacity(class)] - top));
	magazine_free(m);
}

static void flush_spare_locked(struct tcache *tc, unsigned int class)
{
	struct magazine *spare = tc->spares[class];

	if (!spare)
		return;
	tc->spares[class] = NULL;
	flush_magazine_locked(class, spare->count ? spare->cells
						  : &spare->cells[magazine_capacity(class)]);
}

static void flush_bin_locked(struct tcache *tc, unsigned int class)
{
	void **top = tc->bins[class].top;

	flush_spare_locked(tc, class);
	if (!bin_has_magazine(&tc->bins[class]))
		return;
	tc->bins[class].top = tcache_none.bins[class].top;
	tc->was_flushed[class] = true;
	flush_magazine_locked(class, top);
}

static void flush_bin(struct tcache *tc, unsigned int class)
{
	if (tcache_is_bin_empty(tc, class))
		return;
	slab_enter(class);
	flush_bin_locked(tc, class);
	slab_leave(class);
}

void tcache_flush_bins(struct tcache *tc)
{
	for (unsigned int class = 1; class < CLASS_COUNT; class += 1)
		flush_bin(tc, class);
}

size_t tcache_flush_over(struct tcache *tc, size_t most)
{
	size_t sum = 0;

	for (unsigned int class = 1; class < CLASS_COUNT; class += 1) {
		size_t bytes = tcache_bin_bytes(tc, class);

		if (bytes > most)
			flush_bin(tc, class);
		else
			sum += bytes;
	}
	return sum;
}

void tcache_flush(struct tcache *tc)
{
	span_cache_shrink(tc->spans, true);
	for (unsigned int class = 1; tc->quarantine && class < CLASS_COUNT; class += 1)
		quarantine_flush(tc, class);
	tcache_flush_bins(tc);
}

void tcache_shrink(struct tcache *tc)
{
	span_cache_shrink(tc->spans, false);
	for (unsigned int class = 1; class < CLASS_COUNT; class += 1) {
		bool is_idle = tc->bins[class].top == tc->seen[class];

		tc->seen[class] = tc->bins[class].top;
		if (is_idle && tc->quarantine)
			quarantine_flush(tc, class);
		if (tcache_is_bin_empty(tc, class) || (!is_idle && !tc->spares[class]))
			continue;
		slab_enter(class);
		if (is_idle)
			flush_bin_locked(tc, class);
		else
			flush_spare_locked(tc, class);
		slab_leave(class);
	}
}

/* Caches without an owner. */

/* Unlink and free tc, which is empty. The list is locked. */
static void destroy_cache(struct tcache *tc)
{
	if (tc->prev)
		tc->prev->next = tc->next;
	else
		tcache_all.first = tc->next;
	if (tc->next)
		tc->next->prev = tc->prev;
	tcache_all.count--;
	slab_shard_users[tc->shard]--;
	tcache_all.allocs += tc->allocs;
	tcache_all.frees += tc->frees;
	tcache_all.reallocs += tc->reallocs;
	if (tc->quarantine)
		quarantine_drop(tc->quarantine);
	if (tc->spans != &span_cache_none)
		slab_give(CLASS_SPANS, tc->spans);
	slab_give(CLASS_CACHE, tc);
}

void tcache_retire(struct tcache *tc)
{
	tcache_flush(tc);
	caches_enter();
	destroy_cache(tc);
	tcache_poll_dirty_locked();
	caches_leave();
}

bool tcache_vacate(struct tcache *tc)
{
	struct tcache **place = tcache_all.vacant[tc->shard];
	unsigned int i = 0;

	span_cache_shrink(tc->spans, true);
	if (tcache_is_hardened() || tcache_flush_over(tc, VACANT_BIN) > VACANT_BYTES)
		return false;
	caches_enter();
	while (i < VACANT_MAX && place[i])
		i++;
	if (i < VACANT_MAX) {
		tc->vacant_since = tcache_all.scavenges;
		slab_shard_users[tc->shard]--;
		tcache_all.vacant_count++;
		place[i] = tc;
		tcache_poll_dirty_locked();
	}
	caches_leave();
	return i < VACANT_MAX;
}

/* Take a cache that has been vacant since before the last scavenge, or any if all. NULL: none. */
static struct tcache *old_vacant(bool all)
{
	struct tcache *tc = NULL;

	caches_enter();
	for (unsigned int i = 0; i < SLAB_SHARDS * VACANT_MAX && !tc; i++) {
		struct tcache **place = &tcache_all.vacant[i / VACANT_MAX][i % VACANT_MAX];

		if (!*place || (!all && (*place)->vacant_since == tcache_all.scavenges))
			continue;
		tc = *place;
		*place = NULL;
		tcache_all.vacant_count--;
		slab_shard_users[tc->shard]++;
	}
	caches_leave();
	return tc;
}

void tcache_retire_vacant(bool all)
{
	struct tcache *tc;

	while (tcache_all.vacant_count && (tc = old_vacant(all)))
		tcache_retire(tc);
}
