// SPDX-License-Identifier: BSD-3-Clause

/*
 * Thread caches: creation, thread exit, modes, figures.
 *
 * A thread gets a cache with its first visit of the slow path. A destructor of thread-specific data
 * leaves the cache to the next thread if little is in it, else flushes and frees it. Destructors
 * that run later, and threads that libc does not know, allocate without a cache.
 */

#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "block/block.h"
#include "fork.h"
#include "hardened.h"
#include "large/large.h"
#include "tcache_core.h"
#include "tunables.h"

struct caches tcache_all;

static pthread_key_t exit_key;
static bool has_exit_key; /* guarded by tcache_all.lock */

/* Locking. */

void caches_enter(void)
{
	fork_check();
	lock_acquire(&tcache_all.lock);
}

void caches_leave(void)
{
	lock_release(&tcache_all.lock);
}

/* Creation. */

static void on_thread_exit(void *arg);
static void detach_cache(struct tcache *tc, struct tcache *own);

static void reset_bins(struct tcache *tc)
{
	*tc = tcache_none;
	for (unsigned int class = 1; class < CLASS_COUNT; class += 1)
		tc->bins[class].magic = slab_classes[class].magic;
}

/* The shard with the fewest caches. So threads that run one after another share one. */
static unsigned int least_shard(void)
{
	unsigned int least = 0;

	for (unsigned int i = 1; i < SLAB_SHARDS; i++)
		if (slab_shard_users[i] < slab_shard_users[least])
			least = i;
	return least;
}

/*
 * Whether another copy of libc created this thread. It would not run our destructor, so a cache
 * would leak, and others would write to the stale tcache_thread. libc gives a character type table
 * to each thread that it creates; foreign threads have none.
 */
static bool is_foreign_thread(void)
{
	return lock_has_strangers() && !*__ctype_b_loc();
}

/*
 * Take a vacant cache with its cells, or return NULL. A new one would be filled class by class, and
 * flushed at the end: for a thread of 100 objects, nearly all of its time.
 */
static struct tcache *take_vacant_locked(unsigned int shard)
{
	for (unsigned int i = 0; i < VACANT_MAX; i++) {
		struct tcache *tc = tcache_all.vacant[shard][i];

		if (!tc)
			continue;
		tcache_all.vacant[shard][i] = NULL;
		tcache_all.vacant_count--;
		slab_shard_users[shard]++;
		return tc;
	}
	return NULL;
}

/* The list of caches is locked. */
static struct tcache *add_cache(unsigned int shard)
{
	struct tcache *tc;
	void *cell = NULL;

	slab_enter(CLASS_CACHE);
	slab_take_locked(CLASS_CACHE, 0, &cell, 1, NULL);
	slab_leave(CLASS_CACHE);
	tc = cell;
	if (!tc)
		return NULL;
	reset_bins(tc);
	if (tcache_all.modes & TCACHE_HARDENED)
		tc->quarantine = hardened_new_quarantine();
	tc->next = tcache_all.first;
	if (tc->next)
		tc->next->prev = tc;
	atomic_thread_fence(memory_order_release); /* a fork may happen here */
	tcache_all.first = tc;
	tcache_all.count++;
	tc->shard = shard;
	slab_shard_users[shard]++;
	return tc;
}

/* The list of caches is locked. */
static void make_exit_key(void)
{
	if (!has_exit_key)
		has_exit_key = pthread_key_create(&exit_key, on_thread_exit) == 0;
}

/* The list of caches is locked. */
static struct tcache *create_cache(void)
{
	unsigned int shard = least_shard();
	struct tcache *tc;

	if (!tcache_all.is_decided) {
		tcache_all.is_decided = true;
		if (hardened_start())
			tcache_all.modes |= TCACHE_HARDENED;
	}
	if (is_foreign_thread()) {
		tcache_thread.own = TCACHE_ENDED;
		return NULL;
	}
	tc = take_vacant_locked(shard);
	if (!tc)
		tc = add_cache(shard);
	if (!tc)
		return NULL;
	tc->polls = 0;
	tc->request = 0;
	tc->idle_scavenges = 0;
	tc->dirty_low = 0;
	tc->thread = &tcache_thread;
	tc->id = sys_thread();
	make_exit_key();
	return tc;
}

__attribute__((noinline, cold)) struct tcache *tcache_new(void)
{
	int saved_errno = errno;
	struct tcache *tc;

	magazine_init();
	fork_guard(tcache_fork_child);
	caches_enter();
	tc = create_cache();
	caches_leave();
	errno = saved_errno;
	if (!tc)
		return NULL;
	tcache_thread.own = tc;
	tcache_set_fast(tc);
	/*
	 * It may allocate, and finds the cache in place. If it fails nobody would release the
	 * cache.
	 */
	if (!has_exit_key || pthread_setspecific(exit_key, tc) != 0) {
		detach_cache(tc, NULL);
		errno = saved_errno;
		return NULL;
	}
	return tc;
}

/* Let one fast path of tc's owner use tc, unless polling or one of modes needs every call. */
static void set_path(struct tcache **fast, struct tcache *tc, unsigned int modes)
{
	struct tcache *none = (struct tcache *)(uintptr_t)&tcache_none;

	/* Never set fast to tc, even briefly: the owner may run, and must clear hardened cells. */
	if (tc->polls || tcache_all.modes & modes) {
		*fast = none;
		return;
	}
	*fast = tc;
	/* Others set a mode, or polls, and then fast. */
	atomic_thread_fence(memory_order_seq_cst);
	if (tcache_all.modes & modes || tc->polls)
		*fast = none;
}

void tcache_set_fast(struct tcache *tc)
{
	if (!tc->thread)
		return;
	set_path(&tc->thread->fast, tc, ~0U);
	set_path(&tc->thread->fast_free, tc, ~(unsigned int)TCACHE_SAMPLES);
}

/* Thread exit. */

static void give_own(unsigned int class, void *cell)
{
	slab_enter(class);
	slab_give_locked(class, &cell, 1);
	slab_leave(class);
}

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
		hardened_drop_quarantine(tc->quarantine);
	if (tc->spans != &span_cache_none)
		give_own(CLASS_SPANS, tc->spans);
	give_own(CLASS_CACHE, tc);
}

void tcache_retire(struct tcache *tc)
{
	tcache_flush(tc);
	caches_enter();
	destroy_cache(tc);
	tcache_poll_dirty_locked();
	caches_leave();
}

/* Leave tc to the next thread in its shard. False if it holds too much, or enough caches wait. */
static bool vacate(struct tcache *tc)
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

/* Release tc, the calling thread's cache; own replaces it. */
static void detach_cache(struct tcache *tc, struct tcache *own)
{
	caches_enter();
	tc->thread = NULL; /* so no other thread sets fast */
	caches_leave();
	tcache_thread.fast = tcache_thread.fast_free = (struct tcache *)(uintptr_t)&tcache_none;
	tcache_thread.own = own;
	if (!vacate(tc))
		tcache_retire(tc);
}

static void on_thread_exit(void *arg)
{
	detach_cache(arg, TCACHE_ENDED);
}

/* Whether p is in a block of malloc, live or free: for reports by os_free. */
static bool is_mallocs(const void *p)
{
	return slab_find(p).state != CELL_NONE || large_has(p);
}

__attribute__((constructor(SYS_BEGIN_CACHE))) static void start(void)
{
	magazine_init();
	block_is_others = is_mallocs;
	fork_guard(tcache_fork_child);
	/*
	 * Create one of the first 32 keys. For values of later keys libc allocates memory with the
	 * first value, and would lose a value that this very malloc sets: the cache would leak.
	 */
	caches_enter();
	make_exit_key();
	caches_leave();
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

size_t tcache_cached_cells(const struct tcache *tc, unsigned int class)
{
	return tcache_magazine_cells(tc, class) + hardened_quarantined(tc, class);
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
