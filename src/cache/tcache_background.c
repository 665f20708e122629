// SPDX-License-Identifier: BSD-3-Clause

/*
 * Memory is returned by a thread that has no cache, while the program sleeps.
 *
 * 1. Each period it scavenges what is not a thread's: vacant caches, depots, free pages, mappings.
 *    Idle caches get requests, as in any scavenge.
 * 2. When no thread has visited the store for QUIET_PERIODS, and free memory exceeds a share
 *    of what is in use, it trims, once until the next visit.
 * 3. It cannot touch the caches of sleeping threads. Each holds its share of CACHED_ALL and
 *    SPAN_CACHE_BYTES at most.
 */

#include "large/large.h"
#include "tcache_core.h"
#include "tunables.h"

/* Visits of all caches so far. Only differences matter. */
static unsigned int count_visits(void)
{
	unsigned int visits = 0;

	caches_enter();
	for (const struct tcache *tc = tcache_all.first; tc; tc = tc->next)
		visits += tc->events;
	caches_leave();
	return visits;
}

static void scavenge_shared(void)
{
	large_sweep();
	if (!slab_begin_sweep(false))
		return;
	tcache_retire_vacant(false);
	tcache_shrink_depots(false);
	slab_end_sweep();
	tcache_all.scavenges++;
	tcache_all.dirty_seen = 0;
	tcache_shrink_idle(NULL);
}

static void trim_shared(void)
{
	tcache_retire_vacant(true);
	tcache_shrink_depots(true);
	large_trim();
	slab_trim();
}

/* Whether trim_threshold lets anything return. */
static bool may_return(void)
{
	return !tcache_trim_threshold || tcache_dirty_bytes();
}

unsigned int tcache_background(void)
{
	static unsigned int visits_seen, quiet;
	unsigned int visits = count_visits(), period = (unsigned int)slab_sweep_period_ms;

	if (visits != visits_seen)
		quiet = 0;
	else if (quiet < RESTLESS_PERIODS)
		quiet++;
	visits_seen = visits;
	if (quiet < RESTLESS_PERIODS && may_return()) {
		scavenge_shared();
		if (quiet == QUIET_PERIODS && !tcache_has_little_idle())
			trim_shared();
	}
	if (quiet == RESTLESS_PERIODS)
		return IDLE_CHECK_MS;
	return period > MIN_CHECK_MS ? period : MIN_CHECK_MS;
}
