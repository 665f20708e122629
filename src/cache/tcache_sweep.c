// SPDX-License-Identifier: BSD-3-Clause

/*
 * What is cached goes back: flushes, sweeps and when they are, trims.
 *
 * 1. Now and then the store is swept. What waits in depots, in spares and in bins that were not
 *    used since the last sweep is taken apart first: one cell would keep a whole slab.
 * 2. A thread that only takes the short way would never sweep. So when what could go to the kernel
 *    has grown, all its calls take the slow path and look at the clock, until everything has gone
 *    or the store is visited so often that the visits will do (tcache_tick). Whoever leaves much
 *    may sleep next: then the calls of all threads do.
 * 3. Only its thread may touch a cache. So a sweep or a trim asks the others: a flag, and a watch,
 *    and each does with its next call what it was asked for.
 * 4. All caches together have CACHED_ALL. One that has more than its share is flushed when a
 *    magazine is full. So a thread that sleeps after a burst keeps little where threads are many.
 * 5. Of many trims in a second, the later ones leave the caches of others and the pages between
 *    cells if that is little. Most would be used again at once: with a trim every 5 ms beside two
 *    threads at work, these do 0.83 of what they do without trims, and 0.57 if all trims do all.
 */

#include <errno.h>

#include "hardened.h"
#include "large/large.h"
#include "tcache_core.h"
#include "tunables.h"

#define ASK_WATCH 1 /* a watch that ends when what was asked for is done */

/* Flushing. */

/* The cells that m, in a bin of class or a spare, has from top on go to the store, and m too. */
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

static bool is_bin_empty(const struct tcache *tc, unsigned int class)
{
	return !tc->spares[class] && !bin_has_magazine(&tc->bins[class]);
}

static void flush_bin(struct tcache *tc, unsigned int class)
{
	if (is_bin_empty(tc, class))
		return;
	slab_enter(class);
	flush_bin_locked(tc, class);
	slab_leave(class);
}

static void flush_bins(struct tcache *tc)
{
	for (unsigned int class = 1; class < CLASS_COUNT; class += 1)
		flush_bin(tc, class);
}

static size_t bin_bytes(const struct tcache *tc, unsigned int class)
{
	return tcache_magazine_cells(tc, class) * slab_classes[class].size;
}

size_t tcache_flush_over(struct tcache *tc, size_t most)
{
	size_t sum = 0;

	for (unsigned int class = 1; class < CLASS_COUNT; class += 1) {
		size_t bytes = bin_bytes(tc, class);

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
		hardened_flush(tc, class);
	flush_bins(tc);
}

/* Watches: rule 2. */

/* Where no more than this could go to the kernel, nothing does by itself. */
static _Atomic(size_t) trim_threshold;

void tcache_set_trim_threshold(size_t size)
{
	trim_threshold = size;
}

static size_t over_threshold(size_t dirty)
{
	return dirty > trim_threshold ? dirty : 0;
}

/* What the kernel could get back, or will sometime. */
static size_t dirty_bytes(void)
{
	return over_threshold(slab_dirty_bytes() + large_dirty_bytes() + magazine_depot_bytes());
}

/* The same without the other shards, which their threads look after: quickly known. */
static size_t near_dirty_bytes(const struct tcache *tc)
{
	return over_threshold(
		slab_dirty_bytes() + large_dirty_bytes() + tc->spans->bytes +
		atomic_load_explicit(&magazine_sizes[tc->shard].bytes, memory_order_relaxed));
}

/* Another thread may have begun a watch of tc in between: so fast is set in any case. */
static void set_watch(struct tcache *tc, unsigned int visits)
{
	if (!tc->watch)
		tc->watched_from = tcache_all.sweeps;
	/* Not an exchange, which would wait for the stores to all cells that were freed lately. */
	atomic_store_explicit(&tc->watch, visits, memory_order_release);
	tcache_set_fast(tc);
}

/* The list of caches is entered. */
static void watch_all_locked(void)
{
	for (struct tcache *tc = tcache_all.first; tc; tc = tc->next) {
		tc->watch = WATCH_VISITS;
		tc->watched_from = tcache_all.sweeps;
		tcache_set_fast(tc);
	}
}

void tcache_watch_dirt_locked(void)
{
	size_t dirty = dirty_bytes();

	if (dirty <= tcache_all.dirty_seen || dirty < WATCH_MIN)
		return;
	tcache_all.dirty_seen = dirty;
	watch_all_locked();
}

static void watch_dirt(void)
{
	caches_enter();
	tcache_watch_dirt_locked();
	caches_leave();
}

/* What many caches hold is much. Once for each sweep. */
static void watch_caches(void)
{
	if (tcache_all.count <= FEW_CACHES || tcache_all.watched_at == tcache_all.sweeps + 1)
		return;
	caches_enter();
	tcache_all.watched_at = tcache_all.sweeps + 1;
	watch_all_locked();
	caches_leave();
}

void tcache_ask(struct tcache *tc, unsigned char what)
{
	if (tc->asked < what)
		tc->asked = what;
	if (!tc->watch)
		tc->watch = ASK_WATCH;
	tcache_set_fast(tc);
}

/* Sweeps: rule 1. */

/* The cells that tc would hand out soon, most of each bin at most; tcache_audit_first. */
static void audit(const struct tcache *tc, unsigned int most)
{
	if (tcache_all.modes & TCACHE_HARDENED)
		return;
	for (unsigned int class = 1; class < CLASS_COUNT; class += 1) {
		void *const *top = tc->bins[class].top;

		/* The first one may have come by a free of what is no cell. */
		for (unsigned int i = 0; i < most && top[i] != MAGAZINE_END; i++)
			if (!i || *cell_word(top[i]) != CELL_FREED)
				tcache_bad_cell(class, top[i]);
	}
}

/*
 * Where all classes come into use one after another, a look at all that are in use for each would
 * be a third of what a thread that lives for 100 objects does.
 */
void tcache_audit_first(const struct tcache *tc)
{
	if (tc->ticks < FIRST_TICKS || tc->ticks % FIRST_TICKS == 0)
		audit(tc, FIRST_AUDITED);
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

static void shrink_depots(bool all)
{
	for (unsigned int shard = 0; shard < SLAB_SHARDS; shard++)
		shrink_shard(shard, all);
}

/* Flush the bins of tc that were not used since the last time, and all spares. */
static void shrink_cache(struct tcache *tc)
{
	span_cache_shrink(tc->spans, false);
	for (unsigned int class = 1; class < CLASS_COUNT; class += 1) {
		bool is_idle = tc->bins[class].top == tc->seen[class];

		tc->seen[class] = tc->bins[class].top;
		if (is_idle && tc->quarantine)
			hardened_flush(tc, class);
		if (is_bin_empty(tc, class) || (!is_idle && !tc->spares[class]))
			continue;
		slab_enter(class);
		if (is_idle)
			flush_bin_locked(tc, class);
		else
			flush_spare_locked(tc, class);
		slab_leave(class);
	}
}

/*
 * A thread that has used many sizes once would keep a cell of each. What was opened too often
 * doubles what may be opened until the next look.
 */
void tcache_open_bin(struct tcache *tc, unsigned int class)
{
	if (tc->was_flushed[class] && tc->reopened < OPEN_SHIFT_MAX)
		tc->reopened++;
	tc->opened += slab_classes[class].size;
	if (tc->opened <= OPEN_MIN << tc->reopened || tc->quarantine)
		return;
	tc->opened = 0;
	shrink_cache(tc);
}

/*
 * Others shrink their caches with their next call if they have not visited the store since the
 * sweep before. Twice: the first time they see what they have.
 */
static bool ask_idle(const struct tcache *own)
{
	bool is_any = false;

	caches_enter();
	for (struct tcache *tc = tcache_all.first; tc; tc = tc->next) {
		if (tc->ticks != tc->ticks_seen)
			tc->idle_sweeps = 0;
		tc->ticks_seen = tc->ticks;
		if (tc == own || tc->idle_sweeps == ASK_SWEEPS)
			continue;
		tc->idle_sweeps++;
		tcache_ask(tc, ASKED_TO_SHRINK);
		is_any = true;
	}
	caches_leave();
	return is_any;
}

static void sweep(struct tcache *tc)
{
	audit(tc, AUDITED_CELLS);
	tcache_retire_vacant(false);
	shrink_cache(tc);
	shrink_depots(false);
	slab_end_sweep();
	tcache_all.sweeps++;
	tcache_all.dirty_seen = 0;
	tc->dirty_low = tc->dirty_seen = near_dirty_bytes(tc);
	if ((ask_idle(tc) && tcache_all.count > FEW_CACHES) || dirty_bytes() > WATCH_MIN)
		set_watch(tc, WATCH_VISITS);
	else if (dirty_bytes() <= WATCH_LEFT)
		set_watch(tc, 0);
}

/*
 * Whether the process gets memory from the kernel although much could go back. Not while cells are
 * quarantined, which are to stay there for long.
 */
static bool is_growing(const struct tcache *tc)
{
	size_t grown = slab_grown_bytes(), dirty;

	if (grown < GROWN_MIN || tc->quarantine)
		return false;
	dirty = over_threshold(slab_dirty_bytes() + magazine_depot_bytes());
	return dirty >= GROWN_DIRTY && grown >= dirty / GROWN_SHARE;
}

/* Of that, what this thread and its shard hold: others may be idle only since a moment ago. */
static void sweep_early(struct tcache *tc)
{
	shrink_cache(tc);
	shrink_shard(tc->shard, false);
	slab_end_sweep();
}

void (*tcache_on_look)(void);

void tcache_look(struct tcache *tc)
{
	if (tcache_on_look)
		tcache_on_look();
	if (trim_threshold && !dirty_bytes())
		return;
	large_sweep();
	if (slab_begin_sweep())
		sweep(tc);
	else if (is_growing(tc) && slab_begin_early_sweep())
		sweep_early(tc);
	else if (tc->watch && tc->watched_from != tcache_all.sweeps && dirty_bytes() <= WATCH_LEFT)
		set_watch(tc, 0);
}

/* Growth from the least that was seen begins a watch, any growth prolongs it. */
static void note_dirt(struct tcache *tc)
{
	size_t dirty = near_dirty_bytes(tc);

	if (dirty < tc->dirty_low)
		tc->dirty_low = dirty;
	if (tc->watch ? dirty > tc->dirty_seen : dirty > tc->dirty_low + WATCH_MIN) {
		tc->dirty_seen = dirty;
		set_watch(tc, WATCH_VISITS);
		if (tcache_all.count > 1 && dirty > tcache_all.dirty_seen + WATCH_OTHERS)
			watch_dirt();
	} else if (tc->watch) {
		tc->dirty_low = dirty;
		set_watch(tc, tc->watch - 1);
	}
}

void tcache_tick(struct tcache *tc)
{
	note_dirt(tc);
	if (++tc->ticks % STORE_TICKS == 0)
		tcache_look(tc);
}

/* Rule 4. */

/* Whether bytes is more than the share of a cache. */
static bool is_over_share(size_t bytes)
{
	return bytes > CACHED_MIN && bytes * tcache_all.count > CACHED_ALL;
}

/* Flush tc if it has more than its share. Else look again when half of that may have been added. */
static __attribute__((noinline)) void limit_cached(struct tcache *tc)
{
	size_t bytes = 0;

	for (unsigned int class = 1; class < CLASS_COUNT; class += 1)
		bytes += bin_bytes(tc, class);
	if (is_over_share(bytes)) {
		flush_bins(tc);
		bytes = 0;
	}
	tc->filled = bytes / 2;
	watch_caches();
}

void tcache_tick_full(struct tcache *tc, unsigned int class)
{
	tcache_tick_cell(tc);
	tc->filled += magazine_capacity(class) * slab_classes[class].size;
	if (is_over_share(tc->filled))
		limit_cached(tc);
}

/* What others ask for: rule 3. */

void tcache_serve(struct tcache *tc)
{
	int saved_errno = errno;
	unsigned char asked = tc->asked;

	tc->asked = 0;
	if (asked == ASKED_TO_SHRINK)
		shrink_cache(tc);
	else
		tcache_flush(tc);
	if (asked == ASKED_TO_TRIM)
		slab_trim();
	if (tc->watch == ASK_WATCH)
		set_watch(tc, 0);
	errno = saved_errno;
}

/*
 * What other threads have cached is theirs: each gives it back with its next call. Not so often
 * that they could not work.
 */
static void ask_others(const struct tcache *own)
{
	uint64_t now = sys_now_ms();

	caches_enter();
	for (struct tcache *tc = tcache_all.first; tc; tc = tc->next) {
		if (tc == own || now - tc->trim_asked_ms < ASK_PERIOD_MS)
			continue;
		tc->trim_asked_ms = now;
		tcache_ask(tc, ASKED_TO_TRIM);
	}
	caches_leave();
}

static bool trim_all(void)
{
	bool had_mappings;

	ask_others(tcache_thread.own);
	tcache_retire_vacant(true);
	shrink_depots(true);
	had_mappings = large_trim();
	return slab_trim() || had_mappings;
}

/* Rule 5: whether a trim would find no more than may stay. */
static bool has_little_idle(void)
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

/* Rule 5: whether this is one of many trims in a second, and others have caches. */
static bool is_frequent(void)
{
	static _Atomic(uint64_t) first_ms;
	static _Atomic(unsigned int) count;
	uint64_t now = sys_now_ms();

	if (now - first_ms >= TRIMS_PERIOD_MS) {
		first_ms = now;
		count = 0;
	}
	return count++ >= TRIMS_OF_ALL && tcache_all.count > 1;
}

bool tcache_trim(void)
{
	flush_own();
	return is_frequent() && has_little_idle() ? trim_some() : trim_all();
}

static bool has_any(const struct tcache *tc)
{
	if (tc->spans->bytes)
		return true;
	for (unsigned int class = 1; class < CLASS_COUNT; class += 1)
		if (!is_bin_empty(tc, class) || hardened_quarantined(tc, class))
			return true;
	return false;
}

/* Whoever is refused again and again, and frees nothing, does not search everything each time. */
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
