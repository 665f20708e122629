// SPDX-License-Identifier: BSD-3-Clause

/*
 * Thread caches come and go: creation, the end of a thread, and what idle caches hold.
 *
 * 1. A thread gets its cache with its first visit of the slow path, and gives everything back in a
 *    destructor of thread-specific data. Destructors that run later allocate without a cache, and
 *    so do threads that libc does not know.
 * 2. Now and then the store is swept. What waits in depots, in spares and in bins that were not
 *    used since the last sweep is taken apart first: one cell would keep a whole slab.
 * 3. A thread that only takes the short way would never sweep. So when what could go to the kernel
 *    has grown, all its calls take the slow path and look at the clock, until everything has gone
 *    or the store is visited so often that the visits will do (tcache_tick).
 */

#include <errno.h>
#include <resolv.h>
#include <string.h>

#include "block.h"
#include "fork.h"
#include "hardened.h"
#include "large.h"
#include "tcache_core.h"

#define AUDITED_CELLS 16 /* of each bin, by a sweep */
#define TICKS 16 /* visits of the store between two looks at the clock */
#define WATCH_MIN (4 * MIB) /* what the kernel could get back that is worth a watch */
#define WATCH_LEFT (2 * SLAB_SIZE) /* what may be left: slabs that the calls themselves use */
#define WATCH_VISITS 256 /* visits of the store, without growth, that end a watch */

struct caches tcache_all;

static pthread_key_t end_key;
static bool has_end_key; /* guarded by tcache_all.lock */

/* Locking. */

static void caches_enter(void)
{
	fork_check();
	lock_acquire(&tcache_all.lock);
}

static void caches_leave(void)
{
	lock_release(&tcache_all.lock);
}

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
	flush_magazine_locked(class, top);
}

static bool is_bin_empty(const struct tcache *tc, unsigned int class)
{
	return !tc->spares[class] && !bin_has_magazine(&tc->bins[class]);
}

/* Everything in tc goes to the store. */
static void flush(struct tcache *tc)
{
	span_cache_shrink(tc->spans, true);
	for (unsigned int class = 1; class < CLASS_COUNT; class += 1) {
		hardened_flush(tc, class);
		if (is_bin_empty(tc, class))
			continue;
		slab_enter(class);
		flush_bin_locked(tc, class);
		slab_leave(class);
	}
}

/* Creation. */

static void end_thread(void *arg);
static void part_with(struct tcache *tc, struct tcache *own);

static void reset_bins(struct tcache *tc)
{
	*tc = tcache_none;
	for (unsigned int class = 1; class < CLASS_COUNT; class += 1)
		tc->bins[class].magic = slab_classes[class].magic;
}

/* The shard that fewest caches have, so that threads one after another all have the same. */
static unsigned int least_shard(void)
{
	unsigned int least = 0;

	for (unsigned int i = 1; i < SLAB_SHARDS; i++)
		if (slab_shard_users[i] < slab_shard_users[least])
			least = i;
	return least;
}

static const void *first_resolver;

/*
 * Another copy of libc has made this thread, and knows nothing of our destructor: nobody would give
 * a cache back, and others would write to what was the thread's tcache_thread. libc gives every
 * thread that it makes a state of the resolver, and all others have the first thread's.
 */
static bool is_stranger(void)
{
	return lock_has_strangers() && __res_state() == first_resolver;
}

/* With the list of caches entered. */
static struct tcache *make_cache(void)
{
	struct tcache *tc;
	void *cell = NULL;

	if (!tcache_all.is_decided) {
		tcache_all.is_decided = true;
		if (hardened_start())
			tcache_all.modes |= TCACHE_HARDENED;
	}
	if (is_stranger()) {
		tcache_thread.own = TCACHE_ENDED;
		return NULL;
	}
	slab_enter(CLASS_CACHE);
	slab_take_locked(CLASS_CACHE, 0, &cell, 1, NULL);
	slab_leave(CLASS_CACHE);
	tc = cell;
	if (!tc)
		return NULL;
	reset_bins(tc);
	if (tcache_all.modes & TCACHE_HARDENED)
		tc->quarantine = hardened_new_quarantine();
	tc->thread = &tcache_thread;
	tc->id = sys_thread();
	tc->next = tcache_all.first;
	if (tc->next)
		tc->next->prev = tc;
	atomic_thread_fence(memory_order_release); /* a fork may copy it now */
	tcache_all.first = tc;
	tcache_all.count++;
	tc->shard = least_shard();
	slab_shard_users[tc->shard]++;
	if (!has_end_key)
		has_end_key = pthread_key_create(&end_key, end_thread) == 0;
	return tc;
}

__attribute__((noinline, cold)) struct tcache *tcache_new(void)
{
	int saved_errno = errno;
	struct tcache *tc;

	slab_init();
	fork_guard();
	caches_enter();
	tc = make_cache();
	caches_leave();
	errno = saved_errno;
	if (!tc)
		return NULL;
	tcache_thread.own = tc;
	tcache_set_fast(tc);
	/*
	 * It may allocate, and finds the cache in its place. Without it nobody would give that
	 * back.
	 */
	if (!has_end_key || pthread_setspecific(end_key, tc) != 0) {
		part_with(tc, NULL);
		errno = saved_errno;
		return NULL;
	}
	return tc;
}

void tcache_set_fast(struct tcache *tc)
{
	struct tcache *none = (struct tcache *)(uintptr_t)&tcache_none;

	if (!tc->thread)
		return;
	if (tc->watch) {
		tc->thread->fast = none;
		return;
	}
	tc->thread->fast = tc;
	/* A mode is set first, then everybody's fast. */
	atomic_thread_fence(memory_order_seq_cst);
	if (tcache_all.modes)
		tc->thread->fast = none;
}

/* The end of a thread. */

static void give_own(unsigned int class, void *cell)
{
	slab_enter(class);
	slab_give_locked(class, &cell, 1);
	slab_leave(class);
}

/* Take tc, which is empty, out of the list, and free it. The list is entered. */
static void unmake_cache(struct tcache *tc)
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
	hardened_drop_quarantine(tc->quarantine);
	if (tc->spans != &span_cache_none)
		give_own(CLASS_SPANS, tc->spans);
	give_own(CLASS_CACHE, tc);
}

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

/* The list of caches is entered. Whoever allocates next looks after what this thread leaves. */
static void watch_all(void)
{
	size_t dirty = dirty_bytes();

	if (dirty <= tcache_all.dirty_seen || dirty < WATCH_MIN)
		return;
	tcache_all.dirty_seen = dirty;
	for (struct tcache *tc = tcache_all.first; tc; tc = tc->next) {
		tc->watch = WATCH_VISITS;
		tcache_set_fast(tc);
	}
}

void tcache_retire(struct tcache *tc)
{
	flush(tc);
	caches_enter();
	unmake_cache(tc);
	watch_all();
	caches_leave();
}

/* Give back tc, the calling thread's; own is what the thread has instead. */
static void part_with(struct tcache *tc, struct tcache *own)
{
	caches_enter();
	tc->thread = NULL; /* nobody sets fast any more */
	caches_leave();
	tcache_thread.fast = (struct tcache *)(uintptr_t)&tcache_none;
	tcache_thread.own = own;
	tcache_retire(tc);
}

static void end_thread(void *arg)
{
	part_with(arg, TCACHE_ENDED);
}

/* In a block of malloc, live or free: whoever gives it to os_free has confused the two. */
static bool is_mallocs(const void *p)
{
	return slab_find(p).state != CELL_NONE || large_has(p);
}

__attribute__((constructor(101))) static void start(void)
{
	first_resolver = __res_state();
	block_is_others = is_mallocs;
	fork_guard();
}

/* Sweeps: rules 2 and 3. */

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
		if (is_idle)
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

/* Another thread may have begun a watch of tc in between: so fast is set in any case. */
static void set_watch(struct tcache *tc, unsigned int visits)
{
	tc->watch = visits;
	tcache_set_fast(tc);
}

void (*tcache_on_look)(void);

void tcache_look(struct tcache *tc)
{
	size_t dirty;

	if (tcache_on_look)
		tcache_on_look();
	if (trim_threshold && !dirty_bytes())
		return;
	large_sweep();
	if (!slab_begin_sweep())
		return;
	tcache_audit(tc, AUDITED_CELLS);
	shrink_cache(tc);
	shrink_depots(false);
	slab_end_sweep();
	tcache_all.dirty_seen = 0;
	dirty = dirty_bytes();
	tc->dirty_low = tc->dirty_seen = near_dirty_bytes(tc);
	if (dirty > WATCH_MIN)
		set_watch(tc, WATCH_VISITS);
	else if (dirty <= WATCH_LEFT)
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
	} else if (tc->watch) {
		tc->dirty_low = dirty;
		set_watch(tc, tc->watch - 1);
	}
}

void tcache_tick(struct tcache *tc)
{
	note_dirt(tc);
	if (++tc->ticks % TICKS == 0)
		tcache_look(tc);
}

void tcache_serve_trim(struct tcache *tc)
{
	int saved_errno = errno;

	tc->is_trim_asked = false;
	flush(tc);
	slab_trim();
	errno = saved_errno;
}

/* What other threads have cached is theirs: each gives it back with its next call. */
static void ask_others(const struct tcache *own)
{
	caches_enter();
	for (struct tcache *tc = tcache_all.first; tc; tc = tc->next) {
		if (tc == own)
			continue;
		tc->is_trim_asked = true;
		tc->watch = WATCH_VISITS;
		tcache_set_fast(tc);
	}
	caches_leave();
}

bool tcache_trim(void)
{
	struct tcache *tc = tcache_thread.own;
	bool had_mappings;

	ask_others(tc);
	if (tc && tc != TCACHE_ENDED)
		flush(tc);
	shrink_depots(true);
	had_mappings = large_trim();
	return slab_trim() || had_mappings;
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
	    (!tc || tc == TCACHE_ENDED || !has_any(tc)))
		return false;
	is_any = tcache_trim();
	frees_seen = large_frees() + slab_frees();
	return is_any;
}

/* Modes. */

static void set_modes(unsigned int set, unsigned int clear)
{
	caches_enter();
	tcache_all.modes = (tcache_all.modes | set) & ~clear;
	atomic_thread_fence(memory_order_seq_cst);
	for (struct tcache *tc = tcache_all.first; tc; tc = tc->next)
		tcache_set_fast(tc);
	caches_leave();
}

void tcache_set_mode(enum tcache_mode mode, bool is_on)
{
	set_modes(is_on ? mode : 0, is_on ? 0 : mode);
}

void tcache_set_perturb(unsigned char value)
{
	tcache_all.perturb = value;
	tcache_set_mode(TCACHE_PERTURBS, value);
}

/* Figures. */

static size_t count_cells(void *const *top)
{
	size_t n = 0;

	while (*top++ != MAGAZINE_END)
		n++;
	return n;
}

size_t tcache_cached_cells(const struct tcache *tc, unsigned int class)
{
	const struct magazine *spare = tc->spares[class];

	return count_cells(tc->bins[class].top) + (spare ? spare->count : 0) +
	       hardened_quarantined(tc, class);
}

/* With all shards locked, so that no magazine goes away. */
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

/* The list of caches and all depots. */
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
	*stats = (struct tcache_stats){.caches = tcache_all.count,
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
	for (const struct tcache *tc = tcache_all.first; tc; tc = tc->next, n++) {
		if (n >= room)
			continue;
		threads[n] = (struct tcache_thread_stats){.id = tc->id};
		for (unsigned int class = 1; class < CLASS_COUNT; class += 1) {
			size_t cells;

			slab_enter(class);
			cells = tcache_cached_cells(tc, class);
			slab_leave(class);
			threads[n].cells += cells;
			threads[n].bytes += cells * slab_classes[class].size;
		}
	}
	unlock_all();
	return n;
}
