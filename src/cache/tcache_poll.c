// SPDX-License-Identifier: BSD-3-Clause

/* Polling, and requests to other threads: rules 2 and 3 of tcache_scavenge.c. */

#include "large/large.h"
#include "tcache_core.h"
#include "tunables.h"

_Atomic(size_t) tcache_trim_threshold;

void tcache_set_trim_threshold(size_t size)
{
	tcache_trim_threshold = size;
}

size_t tcache_dirty_bytes(void)
{
	return tcache_over_threshold(slab_dirty_bytes() + large_dirty_bytes() +
				     magazine_depot_bytes());
}

size_t tcache_near_dirty_bytes(const struct tcache *tc)
{
	return tcache_over_threshold(
		slab_dirty_bytes() + large_dirty_bytes() + tc->spans->bytes +
		atomic_load_explicit(&magazine_sizes[tc->shard].bytes, memory_order_relaxed));
}

/* Sets fast in any case: another thread may be setting tc->polls as well. */
void tcache_set_polls(struct tcache *tc, unsigned int visits)
{
	if (!tc->polls)
		tc->polling_since = tcache_all.scavenges;
	/* Not an exchange: it would wait for pending stores to recently freed cells. */
	atomic_store_explicit(&tc->polls, visits, memory_order_release);
	tcache_set_fast(tc);
}

/* The list of caches is entered. */
static void poll_all_locked(void)
{
	for (struct tcache *tc = tcache_all.first; tc; tc = tc->next) {
		tc->polls = POLL_VISITS;
		tc->polling_since = tcache_all.scavenges;
		tcache_set_fast(tc);
	}
}

void tcache_poll_dirty_locked(void)
{
	size_t dirty = tcache_dirty_bytes();

	if (dirty <= tcache_all.dirty_seen || dirty < POLL_MIN)
		return;
	tcache_all.dirty_seen = dirty;
	poll_all_locked();
}

void tcache_poll_many(void)
{
	if (tcache_all.count <= FEW_CACHES || tcache_all.polled_at == tcache_all.scavenges + 1)
		return;
	caches_enter();
	tcache_all.polled_at = tcache_all.scavenges + 1;
	poll_all_locked();
	caches_leave();
}

void tcache_request(struct tcache *tc, unsigned char what)
{
	if (tc->request < what)
		tc->request = what;
	if (!tc->polls)
		tc->polls = POLL_REQUEST;
	tcache_set_fast(tc);
}

void tcache_update_polls(struct tcache *tc)
{
	size_t dirty = tcache_near_dirty_bytes(tc);

	if (dirty < tc->dirty_low)
		tc->dirty_low = dirty;
	if (tc->polls ? dirty > tc->dirty_seen : dirty > tc->dirty_low + POLL_MIN) {
		tc->dirty_seen = dirty;
		tcache_set_polls(tc, POLL_VISITS);
		if (tcache_all.count > 1 && dirty > tcache_all.dirty_seen + POLL_OTHERS) {
			caches_enter();
			tcache_poll_dirty_locked();
			caches_leave();
		}
	} else if (tc->polls) {
		tc->dirty_low = dirty;
		tcache_set_polls(tc, tc->polls - 1);
	}
}
