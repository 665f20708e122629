// SPDX-License-Identifier: BSD-3-Clause

/*
 * Thread caches: creation and thread exit.
 *
 * A thread gets a cache with its first visit of the slow path. A destructor of thread-specific data
 * leaves the cache to the next thread if little is in it, else flushes and frees it. Destructors
 * that run later, and threads that libc does not know, allocate without a cache.
 */

#include <errno.h>
#include <string.h>

#include "block/block.h"
#include "course.h"
#include "fork.h"
#include "large/large.h"
#include "quarantine.h"
#include "tcache_core.h"
#include "tunables.h"

static pthread_key_t exit_key;
static bool has_exit_key; /* guarded by tcache_all.lock */

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
 * would leak, and others would write to the stale tcache_thread.
 */
static bool is_foreign_thread(void)
{
	return lock_has_foreign_threads() && compat_is_foreign_thread();
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
	struct tcache *tc = slab_take(CLASS_CACHE, 0, NULL);

	if (!tc)
		return NULL;
	reset_bins(tc);
	if (tcache_all.modes & TCACHE_HARDENED)
		tc->quarantine = quarantine_new();
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

/* By the first call of the process. The list of caches is locked. */
static void decide_modes(void)
{
	if (tcache_all.is_decided)
		return;
	tcache_all.is_decided = true;
	if (!sys_options())
		return; /* what follows is in pages that few programs touch */
	if (course_start())
		tcache_all.modes |= TCACHE_COURSE;
	else if (hardened_start())
		tcache_all.modes |= TCACHE_HARDENED;
}

/* The list of caches is locked. */
static struct tcache *create_cache(void)
{
	unsigned int shard = least_shard();
	struct tcache *tc;

	decide_modes();
	if (tcache_is_course() || is_foreign_thread()) {
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

bool tcache_serves_course(void)
{
	tcache_own();
	return tcache_is_course();
}

/* Thread exit. */

/* Release tc, the calling thread's cache; own replaces it. */
static void detach_cache(struct tcache *tc, struct tcache *own)
{
	caches_enter();
	tc->thread = NULL; /* so no other thread sets fast */
	caches_leave();
	tcache_thread.fast = tcache_thread.fast_free = (struct tcache *)(uintptr_t)&tcache_none;
	tcache_thread.own = own;
	if (!tcache_vacate(tc))
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
