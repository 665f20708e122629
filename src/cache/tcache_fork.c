// SPDX-License-Identifier: BSD-3-Clause

/*
 * malloc and fork. A fork takes no lock of malloc: libc waits for its stdio locks between the fork
 * handlers and the fork, and a thread that holds one may wait for memory. So in the child any lock
 * may belong to a thread that does not exist there. The child repairs what that thread was
 * changing: slab_fork.c, magazine.c, mapping.c, and the caches here. It also flushes and frees the
 * caches of other threads.
 *
 * The child sees the stores of another thread in program order, also on processors that make them
 * visible in another: a thread that writes to a page that the kernel has already copied waits for
 * the end of the fork, and the fork waits until all stores before that are complete, as it
 * invalidates translations on all processors. So what the child sees of a thread ends at one
 * instruction. The order in which the compiler emits stores is what matters; comments "for a fork"
 * say where.
 */

#include <string.h>

#include "block/block.h"
#include "large/large.h"
#include "tcache_core.h"

/*
 * Rebuild the list of caches by next, which is consistent after every store. None stays vacant: the
 * caller frees the caches of all other threads.
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

/* The owner of tc may have been exchanging magazines, so that one is both loaded and spare. */
static void drop_duplicates(struct tcache *tc)
{
	for (unsigned int class = 1; class < CLASS_COUNT; class += 1)
		if (tc->spares[class] && tc->spares[class] == magazine_of(tc->bins[class].top))
			tc->spares[class] = NULL;
}

/* The same where it was handing a magazine to the depot of shard. */
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

/* The owner of tc does not exist in the child. */
static void take_apart(struct tcache *tc)
{
	drop_duplicates(tc);
	for (unsigned int shard = 0; shard < SLAB_SHARDS; shard++)
		if (slab_fork_was_locked(shard))
			drop_in_depot(tc, shard);
	tcache_retire(tc);
}

void (*tcache_on_fork)(void);

void tcache_fork_child(void)
{
	struct tcache *tc, *next;

	lock_fork_child();
	lock_reset(&tcache_all.lock);
	if (tcache_is_course())
		block_fork_child();
	slab_fork_child();
	large_fork_child();
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
		else if (slab_is_child()) /* its cells are of closed slabs */
			tcache_request(tc, REQUEST_FLUSH);
		else /* another thread may have been setting it */
			tcache_set_fast(tc);
	}
	if (tcache_on_fork)
		tcache_on_fork();
}
