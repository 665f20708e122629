// SPDX-License-Identifier: BSD-3-Clause

/*
 * malloc and fork. Nothing is locked and nothing stops while a thread forks: libc waits for its
 * stdio locks between the handlers and the fork, and whoever holds those may be waiting for memory.
 * So the child may find any lock held by a thread that it has not got, and makes whole what that
 * was changing: slab_fork.c, magazine.c, mapping.c, and here the caches.
 *
 * A store that another thread has made is in the child only with all that it has made before: who
 * writes to a page that the kernel has copied waits for the end of the fork. So the order of stores
 * is what counts, and the comments "for a fork" are where it does.
 *
 * The caches of the threads that are gone are given back.
 */

#include <string.h>

#include "large/mapping.h"
#include "tcache_core.h"

/*
 * Caches may be on their way into the list, or out of it: the way by next is whole. None is vacant:
 * the caller takes all others' apart.
 */
static void count_caches(void)
{
	struct tcache *prev = NULL;

	memset(tcache_all.vacant, 0, sizeof(tcache_all.vacant));
	tcache_all.vacant_count = 0;
	tcache_all.count = 0;
	for (unsigned int shard = 0; shard < SLAB_SHARDS; shard++)
		slab_shard_users[shard] = 0;
	for (struct tcache *tc = tcache_all.first; tc; prev = tc, tc = tc->next) {
		tc->prev = prev;
		tcache_all.count++;
		slab_shard_users[tc->shard]++;
	}
}

/*
 * The thread of tc may have been changing two magazines for each other, or handing one to a depot:
 * then that one is in two places.
 */
static void drop_duplicates(struct tcache *tc)
{
	for (unsigned int class = 1; class < CLASS_COUNT; class += 1)
		if (tc->spares[class] && tc->spares[class] == magazine_of(tc->bins[class].top))
			tc->spares[class] = NULL;
}

static void drop_in_depot(struct tcache *tc, unsigned int shard)
{
	for (unsigned int class = 1; class < CLASS_COUNT; class += 1) {
		struct bin *bin = &tc->bins[class];

		if (tc->spares[class] && depot_has_full(class, shard, tc->spares[class]))
			tc->spares[class] = NULL;
		if (depot_has_full(class, shard, magazine_of(bin->top)))
			bin->top = tcache_none.bins[class].top;
	}
}

/* tc is a cache of a thread that is gone. */
static void take_apart(struct tcache *tc)
{
	drop_duplicates(tc);
	for (unsigned int shard = 0; shard < SLAB_SHARDS; shard++)
		if (slab_fork_was_locked(shard))
			drop_in_depot(tc, shard);
	tcache_retire(tc);
}

void tcache_fork_child(void)
{
	struct tcache *tc, *next;

	lock_fork_child();
	lock_reset(&tcache_all.lock);
	slab_fork_child();
	mapping_fork_child();
	count_caches();
	for (unsigned int shard = 0; shard < SLAB_SHARDS; shard++)
		if (slab_fork_was_locked(shard))
			depot_fork_child(shard);
	for (tc = tcache_all.first; tc; tc = tc->next)
		if (tc != tcache_thread.own)
			tc->thread = NULL;
	for (tc = tcache_all.first; tc; tc = next) {
		next = tc->next;
		if (tc != tcache_thread.own)
			take_apart(tc);
		else if (slab_is_child()) /* its cells are of closed slabs: slab_fork.c */
			tcache_request(tc, REQUEST_FLUSH);
		else /* another thread may have been about to */
			tcache_set_fast(tc);
	}
}
