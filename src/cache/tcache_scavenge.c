// SPDX-License-Identifier: BSD-3-Clause

/*
 * Flushing, scavenging, trimming: how cached memory goes back to the store and the kernel.
 *
 * 1. A scavenge first flushes what was not used since the last one: depots, spares, bins, cached
 *    spans. Otherwise one cell would keep a whole slab. Then it purges dirty pages.
 * 2. A thread that stays on the fast path would never scavenge. So when dirty memory has grown, the
 *    thread polls: all its calls take the slow path and check the clock. Polling ends when the
 *    memory is purged, or when visits of the store are so frequent that they suffice. The thread
 *    that leaves much dirty memory may sleep next: then all threads poll.
 * 3. Only its owner may touch a cache. So a scavenge or a trim sets a request in the caches of
 *    others and makes them poll: each owner acts on the request with its next call.
 * 4. All caches together may hold CACHED_ALL. A cache that exceeds its share is flushed when a
 *    magazine is full. So a thread that sleeps after a burst keeps little if threads are many.
 * 5. If trims are frequent, the later ones skip other caches and the pages between cells, unless
 *    these hold much: most of it would be reused at once. With a trim every 5 ms, two busy threads
 *    do 0.83 of the work they do without trims, and 0.57 if every trim is complete.
 */

#include <errno.h>

#include "large/large.h"
#include "quarantine.h"
#include "tcache_core.h"
#include "tunables.h"

/* Scavenging: rule 1. */

/* Validate up to most cells at the top of each bin of tc. */
static void validate_marks(const struct tcache *tc, unsigned int most)
{
	if (tcache_all.modes & TCACHE_HARDENED)
		return;
	for (unsigned int class = 1; class < CLASS_COUNT; class += 1) {
		void *const *top = tc->bins[class].top;

		/* The first cell is validated in full: an invalid free may have put it there. */
		for (unsigned int i = 0; i < most && top[i] != MAGAZINE_END; i++)
			if (!i || *cell_word(top[i]) != CELL_FREED)
				tcache_bad_cell(class, top[i]);
	}
}

/* Not each time: that would be a third of the work of a thread of 100 objects of many sizes. */
void tcache_validate_cached(const struct tcache *tc)
{
	if (tc->events < FIRST_VISITS || tc->events % FIRST_VISITS == 0)
		validate_marks(tc, VALIDATED_FIRST);
}

static void shrink_shard(unsigned int shard, bool all)
{
	struct depot_shard *s = &magazine_shards[shard];

	for (unsigned int class = 1; class < CLASS_COUNT; class += 1) {
		if (!depot_full_count(class, shard) && !s->depots[class].empty)
			continue;
		depot_enter(shard);
		depot_shrink_locked(class, shard, all);
		depot_leave(shard);
	}
}

void tcache_shrink_depots(bool all)
{
	for (unsigned int shard = 0; shard < SLAB_SHARDS; shard++)
		shrink_shard(shard, all);
}

/* Bound what a thread of many sizes keeps. Each bin flushed too soon doubles the bound. */
void tcache_open_bin(struct tcache *tc, unsigned int class)
{
	if (tc->was_flushed[class] && tc->reopened < OPEN_SHIFT_MAX)
		tc->reopened++;
	tc->opened += slab_classes[class].size;
	if (tc->opened <= OPEN_MIN << tc->reopened || tc->quarantine)
		return;
	tc->opened = 0;
	tcache_shrink(tc);
}

/* Twice: the first time the caches only note what they have. */
bool tcache_shrink_idle(const struct tcache *own)
{
	bool is_any = false;

	caches_enter();
	for (struct tcache *tc = tcache_all.first; tc; tc = tc->next) {
		if (tc->events != tc->events_seen)
			tc->idle_scavenges = 0;
		tc->events_seen = tc->events;
		if (tc == own || tc->idle_scavenges == IDLE_SCAVENGES)
			continue;
		tc->idle_scavenges++;
		tcache_request(tc, REQUEST_SHRINK);
		is_any = true;
	}
	caches_leave();
	return is_any;
}

static void scavenge(struct tcache *tc)
{
	validate_marks(tc, VALIDATED_CELLS);
	tcache_retire_vacant(false);
	tcache_shrink(tc);
	tcache_shrink_depots(false);
	slab_end_sweep();
	tcache_all.scavenges++;
	tcache_all.dirty_seen = 0;
	tc->dirty_low = tc->dirty_seen = tcache_near_dirty_bytes(tc);
	if ((tcache_shrink_idle(tc) && tcache_all.count > FEW_CACHES) ||
	    tcache_dirty_bytes() > POLL_MIN)
		tcache_set_polls(tc, POLL_VISITS);
	else if (tcache_dirty_bytes() <= POLL_LEFT)
		tcache_set_polls(tc, 0);
}

/* Whether the process grows although much is dirty. Not hardened: cells stay in quarantine. */
static bool is_growing(const struct tcache *tc)
{
	size_t grown = slab_grown_bytes(), dirty;

	if (grown < GROWN_MIN || tc->quarantine)
		return false;
	dirty = tcache_over_threshold(slab_dirty_bytes() + magazine_depot_bytes());
	return dirty >= GROWN_DIRTY && grown >= dirty / GROWN_SHARE;
}

/* Flush only this thread and its shard: others may have been busy until now. */
static void scavenge_early(struct tcache *tc)
{
	tcache_shrink(tc);
	shrink_shard(tc->shard, false);
	slab_end_sweep();
}

void (*tcache_on_scavenge)(void);

void tcache_scavenge(struct tcache *tc)
{
	if (tcache_on_scavenge)
		tcache_on_scavenge();
	if (tcache_trim_threshold && !tcache_dirty_bytes())
		return;
	large_sweep();
	if (slab_begin_sweep(false))
		scavenge(tc);
	else if (is_growing(tc) && slab_begin_sweep(true))
		scavenge_early(tc);
	else if (tc->polls && tc->polling_since != tcache_all.scavenges &&
		 tcache_dirty_bytes() <= POLL_LEFT)
		tcache_set_polls(tc, 0);
}

void tcache_note_visit(struct tcache *tc)
{
	tcache_update_polls(tc);
	if (++tc->events % SCAVENGE_EVENTS == 0)
		tcache_scavenge(tc);
}

/* Limits: rule 4. */

static bool is_over_share(size_t bytes)
{
	return bytes > CACHED_MIN && bytes * tcache_all.count > CACHED_ALL;
}

/* Flush tc if it exceeds its share. Else check again when it may have grown by half. */
static __attribute__((noinline)) void limit_cached(struct tcache *tc)
{
	size_t bytes = 0;

	for (unsigned int class = 1; class < CLASS_COUNT; class += 1)
		bytes += tcache_bin_bytes(tc, class);
	if (is_over_share(bytes)) {
		tcache_flush_bins(tc);
		bytes = 0;
	}
	tc->filled = bytes / 2;
	tcache_poll_many();
}

void tcache_note_full(struct tcache *tc, unsigned int class)
{
	tcache_note_cell_visit(tc);
	tc->filled += magazine_capacity(class) * slab_classes[class].size;
	if (is_over_share(tc->filled))
		limit_cached(tc);
}

/* Requests: rule 3. Trims: rule 5. */

void tcache_handle_request(struct tcache *tc)
{
	int saved_errno = errno;
	unsigned char request = tc->request;

	tc->request = 0;
	if (request == REQUEST_SHRINK)
		tcache_shrink(tc);
	else
		tcache_flush(tc);
	if (request == REQUEST_TRIM)
		slab_trim();
	if (tc->polls == POLL_REQUEST)
		tcache_set_polls(tc, 0);
	errno = saved_errno;
}

/* Ask other caches to trim, but rarely, so that their owners make progress. */
static void trim_others(const struct tcache *own)
{
	uint64_t now = sys_now_ms();

	caches_enter();
	for (struct tcache *tc = tcache_all.first; tc; tc = tc->next) {
		if (tc == own || now - tc->trim_requested_ms < TRIM_REQUEST_MS)
			continue;
		tc->trim_requested_ms = now;
		tcache_request(tc, REQUEST_TRIM);
	}
	caches_leave();
}

static bool trim_all(void)
{
	bool had_mappings;

	trim_others(tcache_thread.own);
	tcache_retire_vacant(true);
	tcache_shrink_depots(true);
	had_mappings = large_trim();
	return slab_trim() || had_mappings;
}

bool tcache_has_little_idle(void)
{
	size_t out, idle = magazine_depot_bytes() + slab_free_page_bytes(&out);

	return idle <= LEAVE_MIN + out / LEAVE_PART;
}

static bool trim_some(void)
{
	bool had_mappings = large_trim();

	return slab_trim_segments() || had_mappings;
}

static void flush_own(void)
{
	struct tcache *tc = tcache_thread.own;

	if (tc && tc != TCACHE_ENDED)
		tcache_flush(tc);
}

/* Whether trims are frequent and other threads have caches. */
static bool is_frequent(void)
{
	static _Atomic(uint64_t) first_ms;
	static _Atomic(unsigned int) count;
	uint64_t now = sys_now_ms();

	if (now - first_ms >= TRIMS_PERIOD_MS) {
		first_ms = now;
		count = 0;
	}
	return count++ >= COMPLETE_TRIMS && tcache_all.count > 1;
}

bool tcache_trim(void)
{
	flush_own();
	return is_frequent() && tcache_has_little_idle() ? trim_some() : trim_all();
}

static bool has_any(const struct tcache *tc)
{
	if (tc->spans->bytes)
		return true;
	for (unsigned int class = 1; class < CLASS_COUNT; class += 1)
		if (!tcache_is_bin_empty(tc, class) || quarantine_count(tc, class))
			return true;
	return false;
}

/* A program that is refused again and again, and frees nothing, does not search each time. */
bool tcache_reclaim(void)
{
	static _Atomic(size_t) frees_seen = SIZE_MAX;
	const struct tcache *tc = tcache_thread.own;
	bool is_any;

	if (large_frees() + slab_frees() == frees_seen && !magazine_depot_bytes() &&
	    !tcache_all.vacant_count && (!tc || tc == TCACHE_ENDED || !has_any(tc)))
		return false;
	flush_own();
	is_any = trim_all();
	frees_seen = large_frees() + slab_frees();
	return is_any;
}
