// SPDX-License-Identifier: BSD-3-Clause

/* Figures of the thread caches. */

#include "quarantine.h"
#include "tcache_core.h"

size_t tcache_cached_cells(const struct tcache *tc, unsigned int class)
{
	return tcache_magazine_cells(tc, class) + quarantine_count(tc, class);
}

/* With all shards locked, so that no magazine is freed. */
static struct tcache_class_stats count_class(unsigned int class)
{
	struct tcache_class_stats n = {0};

	slab_enter(class);
	for (unsigned int shard = 0; shard < SLAB_SHARDS; shard++)
		n.in_depots += (size_t)depot_full_count(class, shard) * magazine_capacity(class);
	for (const struct tcache *tc = tcache_all.first; tc; tc = tc->next)
		n.with_threads += tcache_cached_cells(tc, class);
	slab_leave(class);
	return n;
}

static void lock_all(void)
{
	caches_enter();
	depot_lock_all();
}

static void unlock_all(void)
{
	depot_unlock_all();
	caches_leave();
}

void tcache_get_stats(struct tcache_stats *stats)
{
	lock_all();
	*stats = (struct tcache_stats){.caches = tcache_all.count - tcache_all.vacant_count,
				       .allocs = tcache_all.allocs,
				       .frees = tcache_all.frees,
				       .reallocs = tcache_all.reallocs};
	for (const struct tcache *tc = tcache_all.first; tc; tc = tc->next) {
		stats->allocs += tc->allocs;
		stats->frees += tc->frees;
		stats->reallocs += tc->reallocs;
		stats->spans += span_cache_count(tc->spans);
		stats->span_bytes += tc->spans->bytes;
	}
	for (unsigned int class = 1; class < CLASS_COUNT; class += 1) {
		struct tcache_class_stats n = count_class(class);

		stats->cached_cells += n.with_threads + n.in_depots;
		stats->cached_bytes += (n.with_threads + n.in_depots) * slab_classes[class].size;
	}
	unlock_all();
}

void tcache_get_class(unsigned int class, struct tcache_class_stats *stats)
{
	lock_all();
	*stats = count_class(class);
	unlock_all();
}

size_t tcache_list(struct tcache_thread_stats *threads, size_t room)
{
	size_t n = 0;

	lock_all();
	for (const struct tcache *tc = tcache_all.first; tc; tc = tc->next) {
		if (!tc->thread || n++ >= room)
			continue;
		threads[n - 1] = (struct tcache_thread_stats){.id = tc->id};
		for (unsigned int class = 1; class < CLASS_COUNT; class += 1) {
			size_t cells;

			slab_enter(class);
			cells = tcache_cached_cells(tc, class);
			slab_leave(class);
			threads[n - 1].cells += cells;
			threads[n - 1].bytes += cells * slab_classes[class].size;
		}
	}
	unlock_all();
	return n;
}
