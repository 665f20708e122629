// SPDX-License-Identifier: BSD-3-Clause

/*
 * The slow paths of cells.
 *
 * 1. A bin has a loaded magazine and perhaps a spare, which is empty or full. An empty loaded
 *    magazine is exchanged for a full spare, else for a full magazine from the depot of the
 *    thread's shard, else it is refilled from the store: with a few cells at first, with more as
 *    the bin takes more. A full one is exchanged for an empty spare, else the spare goes to the
 *    depot of the shard that its cells are from.
 * 2. Without a cache (memory is exhausted, or the thread is exiting) cells are taken from and given
 *    to the store one by one.
 * 3. If there is no memory for a segment, a mapping serves instead of a cell: it needs less at a
 *    time.
 */

#include <string.h>

#include "quarantine.h"
#include "tcache_core.h"
#include "tunables.h"

/* Refilling: rule 1. */

static void **empty_top(struct magazine *m, unsigned int class)
{
	return &m->cells[magazine_capacity(class)];
}

static unsigned int first_refill_count(unsigned int class)
{
	unsigned int n = FIRST_REFILL_BYTES / slab_classes[class].size;

	return n < 1 ? 1 : n > FIRST_REFILL_MAX ? FIRST_REFILL_MAX : n;
}

/*
 * The cells to take from the store: a quarter of those taken so far, because the peaks of all
 * classes are not at one time.
 */
static unsigned int refill_count(const struct bin *bin, unsigned int class)
{
	unsigned int capacity = magazine_capacity(class);
	unsigned int n = bin->taken / 4, least = first_refill_count(class);

	return n < least ? least : n > capacity ? capacity : n;
}

/*
 * Fill the loaded magazine, which is empty, with up to n cells from the store; with own, only from
 * slabs of the thread's shard. False if there are none.
 */
static bool fill(struct tcache *tc, unsigned int class, unsigned int n, bool *fresh, bool own)
{
	void *cells[MAGAZINE_CELLS_MAX];
	void **top = tc->bins[class].top;

	slab_enter(class);
	if (own)
		n = slab_take_own_locked(class, tc->shard, cells, n, fresh);
	else
		n = slab_take_locked(class, tc->shard, cells, n, fresh);
	if (tcache_is_hardened())
		quarantine_shuffle(tc, cells, n);
	memcpy(top - n, cells, n * sizeof(*top));
	atomic_signal_fence(memory_order_release);
	tc->bins[class].top = top - n;
	tc->bins[class].taken += n;
	slab_leave(class);
	return n;
}

/* Load the full magazine m, from shard's depot, in place of the empty loaded one. */
static void load_full_locked(struct tcache *tc, unsigned int class, unsigned int shard,
			     struct magazine *m)
{
	struct magazine *empty = magazine_of(tc->bins[class].top);

	tc->bins[class].top = m->cells;
	empty->count = 0;
	if (tc->spares[class])
		depot_put_empty_locked(class, shard, empty);
	else
		tc->spares[class] = empty;
}

static bool load_depot_full(struct tcache *tc, unsigned int class, unsigned int shard)
{
	struct magazine *m;

	if (!depot_full_count(class, shard))
		return false;
	depot_enter(shard);
	m = depot_take_full_locked(class, shard);
	if (m)
		load_full_locked(tc, class, shard, m);
	depot_leave(shard);
	return m;
}

/*
 * Load a magazine from a shard that no thread uses any more. Others keep theirs: threads that share
 * slabs share cache lines, and their cells mix more and more.
 */
static bool load_orphan(struct tcache *tc, unsigned int class)
{
	for (unsigned int shard = 0; shard < SLAB_SHARDS; shard++)
		if (!slab_shard_users[shard] && load_depot_full(tc, class, shard))
			return true;
	return false;
}

/*
 * Make the loaded magazine, which has count cells, the spare. The caller then loads another. A fork
 * in between leaves one magazine in both places: see drop_duplicates.
 */
static void set_spare(struct tcache *tc, unsigned int class, unsigned int count)
{
	struct magazine *loaded = magazine_of(tc->bins[class].top);

	loaded->count = count;
	atomic_signal_fence(memory_order_release);
	tc->spares[class] = loaded;
	atomic_signal_fence(memory_order_release);
}

static bool load_spare_full(struct tcache *tc, unsigned int class)
{
	struct magazine *spare = tc->spares[class];

	if (!spare || !spare->count)
		return false;
	set_spare(tc, class, 0);
	tc->bins[class].top = spare->cells;
	return true;
}

static bool has_magazine(struct tcache *tc, unsigned int class)
{
	struct magazine *m;

	if (bin_has_magazine(&tc->bins[class]))
		return true;
	tcache_open_bin(tc, class);
	m = magazine_new(class);
	if (!m)
		return false;
	tc->bins[class].top = empty_top(m, class);
	return true;
}

/*
 * The first cell of a class needs no magazine: many classes have one object only. Not hardened:
 * there the cell has to be a random one of a refill.
 */
static bool is_first(const struct bin *bin)
{
	return !bin->taken && !bin_has_magazine(bin) && !tcache_is_hardened();
}

static __attribute__((noinline)) void *refill_other(struct tcache *tc, unsigned int class,
						    bool *fresh)
{
	struct bin *bin = &tc->bins[class];
	unsigned int n = 1;

	if (is_first(bin)) {
		tcache_validate_cached(tc);
		bin->taken = 1;
		return slab_take(class, tc->shard, fresh);
	}
	if (!has_magazine(tc, class))
		return slab_take(class, tc->shard, fresh);
	if (load_depot_full(tc, class, tc->shard))
		return bin_pop(bin);
	if (!bin->taken)
		tcache_validate_cached(tc);
	if (!fresh || slab_classes[class].size < ZEROED_MIN)
		n = refill_count(bin, class);
	if (fill(tc, class, n, fresh, true) || load_orphan(tc, class) ||
	    fill(tc, class, n, fresh, false))
		return bin_pop(bin);
	return NULL;
}

/* Batches of one size end here once per magazine. */
static __attribute__((noinline)) void *refill(struct tcache *tc, unsigned int class, bool *fresh)
{
	struct bin *bin = &tc->bins[class];

	tcache_note_cell_visit(tc);
	if (load_spare_full(tc, class) ||
	    (bin_has_magazine(bin) && load_depot_full(tc, class, tc->shard)))
		return bin_pop(bin);
	return refill_other(tc, class, fresh);
}

void *tcache_take_cell(unsigned int class, bool *fresh)
{
	struct tcache *tc = tcache_own();
	void *cell;

	if (!tc)
		return slab_take(class, 0, fresh);
	if (tc->polls)
		tcache_poll(tc);
	tc->allocs++;
	cell = bin_pop(&tc->bins[class]);
	return cell ? cell : refill(tc, class, fresh);
}

/* Putting. */

static bool load_spare_empty(struct tcache *tc, unsigned int class)
{
	struct magazine *spare = tc->spares[class];

	if (spare && spare->count)
		return false;
	if (!spare)
		spare = magazine_new(class);
	if (!spare)
		return false;
	set_spare(tc, class, magazine_capacity(class));
	tc->bins[class].top = empty_top(spare, class);
	return true;
}

/*
 * Exchange the full spare for an empty magazine. Its cells go to the depot of their shard, or to
 * the store. A fork may lose the cells, but must not find them in two places; for the depot see
 * drop_in_depot.
 */
static struct magazine *exchange_spare(struct tcache *tc, unsigned int class)
{
	struct magazine *spare = tc->spares[class], *empty;
	unsigned int shard = slab_shard_of(spare->cells[0]);

	depot_enter(shard);
	empty = depot_exchange_full_locked(class, shard, spare);
	if (empty)
		set_spare(tc, class, magazine_capacity(class));
	depot_leave(shard);
	if (empty)
		return empty;
	set_spare(tc, class, magazine_capacity(class));
	slab_enter(class);
	slab_give_locked(class, spare->cells, spare->count);
	slab_leave(class);
	return spare;
}

/*
 * Exchange the loaded magazine, which is full, for an empty one from the depot of its cells' shard.
 * False if the depot is full or memory is exhausted.
 */
static bool push_to_depot(struct tcache *tc, unsigned int class)
{
	struct bin *bin = &tc->bins[class];
	struct magazine *full = magazine_of(bin->top), *empty;
	unsigned int shard = slab_shard_of(full->cells[0]);

	depot_enter(shard);
	full->count = magazine_capacity(class);
	empty = depot_exchange_full_locked(class, shard, full);
	if (empty)
		bin->top = empty_top(empty, class);
	depot_leave(shard);
	return empty;
}

/*
 * Make room for a cell in the loaded magazine. False if memory is exhausted. Only threads that also
 * take cells need a spare: one that only frees cells of others has none.
 */
bool tcache_make_room(struct tcache *tc, unsigned int class)
{
	struct bin *bin = &tc->bins[class];
	struct magazine *empty;

	if ((uintptr_t)bin->top % MAGAZINE_SIZE)
		return true;
	tcache_note_full(tc, class);
	if (!bin_has_magazine(bin))
		return has_magazine(tc, class);
	if (!bin->taken && !tc->spares[class] && push_to_depot(tc, class))
		return true;
	if (load_spare_empty(tc, class))
		return true;
	empty = tc->spares[class] ? exchange_spare(tc, class) : NULL;
	if (!empty)
		return false;
	bin->top = empty_top(empty, class);
	return true;
}

/*
 * libc frees a few blocks after the destructors of a thread: a cache created then would never be
 * released. So frees alone create a cache only if there are many.
 */
struct tcache *tcache_for_free(void)
{
	struct tcache *tc = tcache_thread.own;

	if (tc)
		return tc == TCACHE_ENDED ? NULL : tc;
	return ++tcache_early_frees > EARLY_FREES ? tcache_own() : NULL;
}

void tcache_put_cell(unsigned int class, void *cell)
{
	struct tcache *tc = tcache_for_free();

	if (tc && tc->polls)
		tcache_poll(tc);
	if (!tc || !tcache_make_room(tc, class)) {
		slab_give(class, cell);
		return;
	}
	bin_push(&tc->bins[class], cell);
	tc->frees++;
}
