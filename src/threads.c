// SPDX-License-Identifier: BSD-3-Clause

/*
 * Thread caches come and go: creation, the end of a thread, fork, and what idle caches hold.
 *
 * 1. A thread gets its cache with its first visit of the slow path, and gives everything back in a
 *    destructor of thread-specific data. Destructors that run later allocate without a cache.
 * 2. While a fork is under way the store is frozen, as the libc heap is (fork.c): whole, and with
 *    its locks free. Cells that no magazine has room for, and caches of threads that end, wait on
 *    stacks until it is over. The child also takes the caches of the threads that it has not got.
 * 3. Now and then the store is swept. What waits in depots, in spares and in bins that were not
 *    used since the last sweep is taken apart first: one cell would keep a whole slab.
 * 4. A thread that only takes the short way would never sweep. So when what could go to the kernel
 *    has grown, all its calls take the slow path and look at the clock, until everything has gone
 *    or the store is visited so often that the visits will do (tcache_tick).
 */

#include <errno.h>
#include <string.h>
#include <sys/single_threaded.h>

#include "block.h"
#include "hardened.h"
#include "tcache_core.h"

#define TICKS 16 /* visits of the store between two looks at the clock */
#define WATCH_MIN (4 * MIB) /* what the kernel could get back that is worth a watch */
#define WATCH_VISITS 256 /* visits of the store, without growth, that end a watch */

struct caches tcache_all = {.lock = PTHREAD_ADAPTIVE_MUTEX_INITIALIZER_NP};

static pthread_key_t end_key;
static bool has_end_key; /* guarded by tcache_all.lock */

/* Locking. */

/* Lock the list of caches. False: a fork is under way; there is nothing to leave. */
static bool caches_enter(void)
{
	if (__libc_single_threaded)
		return true;
	pthread_mutex_lock(&tcache_all.lock);
	if (slab_is_frozen()) {
		pthread_mutex_unlock(&tcache_all.lock);
		return false;
	}
	tcache_all.is_locked = true;
	return true;
}

static void caches_leave(void)
{
	if (!tcache_all.is_locked)
		return;
	tcache_all.is_locked = false;
	pthread_mutex_unlock(&tcache_all.lock);
}

/* Lock the list even while a fork is under way, to read it. False: there was no need to. */
static bool lock_frozen(void)
{
	if (__libc_single_threaded)
		return false;
	pthread_mutex_lock(&tcache_all.lock);
	return true;
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

/* Everything in tc goes to the store. False: a fork began; not everything has. */
static bool flush(struct tcache *tc)
{
	for (unsigned int class = 1; class < CLASS_COUNT; class += 1) {
		if (!hardened_flush(tc, class))
			return false;
		if (is_bin_empty(tc, class))
			continue;
		if (!slab_enter(class))
			return false;
		flush_bin_locked(tc, class);
		slab_leave(class);
	}
	return true;
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
	if (!slab_enter(CLASS_CACHE))
		return NULL;
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
	if (!caches_enter())
		return NULL;
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

/* Take tc, which is empty, out of the list, and free it. The list is entered. */
static void unmake_cache(struct tcache *tc)
{
	void *cell = tc;

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
	slab_enter(CLASS_CACHE);
	slab_give_locked(CLASS_CACHE, &cell, 1);
	slab_leave(CLASS_CACHE);
}

/* What the kernel could get back, or will sometime. */
static size_t dirty_bytes(void)
{
	return slab_dirty_bytes() + heap_dirty_bytes() + magazine_depot_bytes();
}

/* The same without the other shards, which their threads look after: quickly known. */
static size_t near_dirty_bytes(const struct tcache *tc)
{
	return slab_dirty_bytes() + heap_dirty_bytes() +
	       atomic_load_explicit(&magazine_sizes[tc->shard].bytes, memory_order_relaxed);
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

static void take_in(void);

static void push_side_cache(struct tcache *tc)
{
	struct tcache *next = atomic_load(&tcache_all.side_caches);

	do
		tc->side = next;
	while (!atomic_compare_exchange_weak(&tcache_all.side_caches, &next, tc));
	if (!slab_is_frozen())
		take_in();
}

static void retire(struct tcache *tc)
{
	if (flush(tc) && caches_enter()) {
		unmake_cache(tc);
		watch_all();
		caches_leave();
		return;
	}
	push_side_cache(tc);
}

/* Give back tc, the calling thread's; own is what the thread has instead. */
static void part_with(struct tcache *tc, struct tcache *own)
{
	bool is_locked = lock_frozen();

	tc->thread = NULL; /* nobody sets fast any more */
	if (is_locked)
		pthread_mutex_unlock(&tcache_all.lock);
	tcache_thread.fast = (struct tcache *)(uintptr_t)&tcache_none;
	tcache_thread.own = own;
	retire(tc);
}

static void end_thread(void *arg)
{
	part_with(arg, TCACHE_ENDED);
}

/* Fork. */

/* The first word has CELL_FREED; hardened.c wants nothing but that one to be used. */
static void **side_link(void *cell)
{
	return (void **)cell + !(tcache_all.modes & TCACHE_HARDENED);
}

void tcache_side_free(void *cell)
{
	void *next = atomic_load(&tcache_all.side_cells);

	do
		*side_link(cell) = next;
	while (!atomic_compare_exchange_weak(&tcache_all.side_cells, &next, cell));
	if (!slab_is_frozen())
		take_in();
}

/* Take in what was pushed while the store was frozen. It may be frozen again: then push again. */
static void take_in(void)
{
	struct tcache *tc = atomic_exchange(&tcache_all.side_caches, NULL), *next_tc;
	void *cell = atomic_exchange(&tcache_all.side_cells, NULL), *next;

	for (; tc; tc = next_tc) {
		next_tc = tc->side;
		retire(tc);
	}
	for (; cell; cell = next) {
		unsigned int class = slab_find(cell).class;

		next = *side_link(cell);
		*side_link(cell) = NULL;
		if (slab_enter(class)) {
			slab_give_locked(class, &cell, 1);
			slab_leave(class);
		} else {
			tcache_side_free(cell);
		}
	}
}

static void fork_prepare(void)
{
	if (__libc_single_threaded)
		return;
	pthread_mutex_lock(&tcache_all.lock);
	slab_fork_prepare();
	pthread_mutex_unlock(&tcache_all.lock);
}

static void fork_parent(void)
{
	slab_fork_parent();
	if (!slab_is_frozen())
		take_in();
}

/* The threads of other caches are gone, perhaps while they changed two magazines for each other. */
static void drop_twins(struct tcache *tc)
{
	for (unsigned int class = 1; class < CLASS_COUNT; class += 1)
		if (tc->spares[class] && tc->spares[class] == magazine_of(tc->bins[class].top))
			tc->spares[class] = NULL;
}

static void fork_child(void)
{
	struct tcache *tc, *next;

	if (!slab_is_frozen())
		return;
	tcache_all.lock = (pthread_mutex_t)PTHREAD_ADAPTIVE_MUTEX_INITIALIZER_NP;
	tcache_all.is_locked = false;
	slab_fork_child();
	/* They are in the list as all others are. */
	atomic_store(&tcache_all.side_caches, NULL);
	for (tc = tcache_all.first; tc; tc = tc->next)
		if (tc != tcache_thread.own)
			tc->thread = NULL;
	for (tc = tcache_all.first; tc; tc = next) {
		next = tc->next;
		if (tc == tcache_thread.own)
			continue;
		drop_twins(tc);
		retire(tc);
	}
	take_in();
}

static bool is_live_cell(const void *p)
{
	return slab_find(p).state == CELL_LIVE && *(const uint64_t *)p != CELL_FREED;
}

static bool is_malloc_block(const void *p)
{
	return is_live_cell(p) || heap_is_block(p);
}

__attribute__((constructor(101))) static void start(void)
{
	heap_is_others = is_live_cell;
	block_is_others = is_malloc_block;
	pthread_atfork(fork_prepare, fork_parent, fork_child);
}

/* Sweeps: rules 3 and 4. */

/* False: a fork began. */
static bool shrink_shard(unsigned int shard, bool all)
{
	struct depot_shard *s = &magazine_shards[shard];

	for (unsigned int class = 1; class < CLASS_COUNT; class += 1) {
		if (!depot_full_count(class, shard) && !s->depots[class].empty)
			continue;
		if (!depot_enter(shard))
			return false;
		depot_shrink_locked(class, shard, all);
		depot_leave(shard);
	}
	return true;
}

static void shrink_depots(bool all)
{
	for (unsigned int shard = 0; shard < SLAB_SHARDS; shard++)
		if (!shrink_shard(shard, all))
			return;
}

/* Flush the bins of tc that were not used since the last time, and all spares. */
static void shrink_cache(struct tcache *tc)
{
	for (unsigned int class = 1; class < CLASS_COUNT; class += 1) {
		bool is_idle = tc->bins[class].top == tc->seen[class];

		tc->seen[class] = tc->bins[class].top;
		if (is_idle && !hardened_flush(tc, class))
			return;
		if (is_bin_empty(tc, class) || (!is_idle && !tc->spares[class]))
			continue;
		if (!slab_enter(class))
			return;
		if (is_idle)
			flush_bin_locked(tc, class);
		else
			flush_spare_locked(tc, class);
		slab_leave(class);
	}
}

static void set_watch(struct tcache *tc, unsigned int visits)
{
	bool was_on = tc->watch;

	tc->watch = visits;
	if (was_on != !!visits)
		tcache_set_fast(tc);
}

void (*tcache_on_look)(void);

void tcache_look(struct tcache *tc)
{
	size_t dirty;

	if (tcache_on_look)
		tcache_on_look();
	heap_sweep();
	if (!slab_begin_sweep())
		return;
	shrink_cache(tc);
	shrink_depots(false);
	slab_end_sweep();
	tcache_all.dirty_seen = 0;
	dirty = dirty_bytes();
	tc->dirty_low = tc->dirty_seen = near_dirty_bytes(tc);
	if (dirty > WATCH_MIN)
		set_watch(tc, WATCH_VISITS);
	else if (!dirty)
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
	if (flush(tc))
		slab_trim();
	errno = saved_errno;
}

/* What other threads have cached is theirs: each gives it back with its next call. */
static void ask_others(const struct tcache *own)
{
	if (!caches_enter())
		return;
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
	bool had_blocks;

	ask_others(tc);
	if (tc && tc != TCACHE_ENDED)
		flush(tc);
	shrink_depots(true);
	had_blocks = heap_trim();
	return slab_trim() || had_blocks;
}

/* Modes. */

static void set_modes(unsigned int set, unsigned int clear)
{
	bool is_locked = lock_frozen();

	tcache_all.modes = (tcache_all.modes | set) & ~clear;
	atomic_thread_fence(memory_order_seq_cst);
	for (struct tcache *tc = tcache_all.first; tc; tc = tc->next)
		tcache_set_fast(tc);
	if (is_locked)
		pthread_mutex_unlock(&tcache_all.lock);
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

	while (*top++)
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
	bool is_locked = slab_lock_frozen(class);
	struct tcache_class_stats n = {0};

	for (unsigned int shard = 0; shard < SLAB_SHARDS; shard++)
		n.in_depots += (size_t)depot_full_count(class, shard) * magazine_capacity(class);
	for (const struct tcache *tc = tcache_all.first; tc; tc = tc->next)
		n.with_threads += tcache_cached_cells(tc, class);
	if (is_locked)
		slab_unlock_frozen(class);
	return n;
}

/* The list of caches and all depots. */
struct all_locks {
	bool caches, depots;
};

static struct all_locks lock_all(void)
{
	struct all_locks is_locked;

	is_locked.caches = lock_frozen();
	is_locked.depots = depot_lock_frozen();
	return is_locked;
}

static void unlock_all(struct all_locks is_locked)
{
	if (is_locked.depots)
		depot_unlock_frozen();
	if (is_locked.caches)
		pthread_mutex_unlock(&tcache_all.lock);
}

void tcache_get_stats(struct tcache_stats *stats)
{
	struct all_locks is_locked = lock_all();

	*stats = (struct tcache_stats){.caches = tcache_all.count,
				       .allocs = tcache_all.allocs,
				       .frees = tcache_all.frees,
				       .reallocs = tcache_all.reallocs};
	for (const struct tcache *tc = tcache_all.first; tc; tc = tc->next) {
		stats->allocs += tc->allocs;
		stats->frees += tc->frees;
		stats->reallocs += tc->reallocs;
	}
	for (unsigned int class = 1; class < CLASS_COUNT; class += 1) {
		struct tcache_class_stats n = count_class(class);

		stats->cached_cells += n.with_threads + n.in_depots;
		stats->cached_bytes += (n.with_threads + n.in_depots) * slab_classes[class].size;
	}
	unlock_all(is_locked);
}

void tcache_get_class(unsigned int class, struct tcache_class_stats *stats)
{
	struct all_locks is_locked = lock_all();

	*stats = count_class(class);
	unlock_all(is_locked);
}

size_t tcache_list(struct tcache_thread_stats *threads, size_t room)
{
	struct all_locks is_locked = lock_all();
	size_t n = 0;

	for (const struct tcache *tc = tcache_all.first; tc; tc = tc->next, n++) {
		if (n >= room)
			continue;
		threads[n] = (struct tcache_thread_stats){.id = tc->id};
		for (unsigned int class = 1; class < CLASS_COUNT; class += 1) {
			bool is_class_locked = slab_lock_frozen(class);
			size_t cells = tcache_cached_cells(tc, class);

			if (is_class_locked)
				slab_unlock_frozen(class);
			threads[n].cells += cells;
			threads[n].bytes += cells * slab_classes[class].size;
		}
	}
	unlock_all(is_locked);
	return n;
}
