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

#include "hardened.h"
#include "tcache_core.h"
#include "tunables.h"

#include <errno.h>
#include <string.h>

void *const tcache_no_cells[MAGAZINE_SIZE / sizeof(void *)] = {MAGAZINE_END};

const struct tcache tcache_none = {
	.bins = {[0 ... SLAB_BIN_COUNT - 1] = {.top = (void **)(uintptr_t)tcache_no_cells}},
	.spans = &span_cache_none,
};

_Thread_local struct tcache_thread tcache_thread = {
	.fast = (struct tcache *)(uintptr_t)&tcache_none,
	.fast_free = (struct tcache *)(uintptr_t)&tcache_none,
};

/* Single cells: rule 2. */

static void *take_one(unsigned int class, unsigned int shard, bool *fresh)
{
	void *cell;
	unsigned int n;

	slab_enter(class);
	n = slab_take_locked(class, shard, &cell, 1, fresh);
	slab_leave(class);
	return n ? cell : NULL;
}

static void give_one(unsigned int class, void *cell)
{
	slab_enter(class);
	slab_give_locked(class, &cell, 1);
	slab_leave(class);
}

/* Refilling: rule 1. */

static void *pop(struct bin *bin)
{
	void *cell = *bin->top;

	if (cell == MAGAZINE_END)
		return NULL;
	bin->top++;
	return cell;
}

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
		hardened_shuffle(tc, cells, n);
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
		return take_one(class, tc->shard, fresh);
	}
	if (!has_magazine(tc, class))
		return take_one(class, tc->shard, fresh);
	if (load_depot_full(tc, class, tc->shard))
		return pop(bin);
	if (!bin->taken)
		tcache_validate_cached(tc);
	if (!fresh || slab_classes[class].size < ZEROED_MIN)
		n = refill_count(bin, class);
	if (fill(tc, class, n, fresh, true) || load_orphan(tc, class) ||
	    fill(tc, class, n, fresh, false))
		return pop(bin);
	return NULL;
}

/* Batches of one size end here once per magazine. */
static __attribute__((noinline)) void *refill(struct tcache *tc, unsigned int class, bool *fresh)
{
	struct bin *bin = &tc->bins[class];

	tcache_note_cell_visit(tc);
	if (load_spare_full(tc, class) ||
	    (bin_has_magazine(bin) && load_depot_full(tc, class, tc->shard)))
		return pop(bin);
	return refill_other(tc, class, fresh);
}

void *tcache_take_cell(unsigned int class, bool *fresh)
{
	struct tcache *tc = tcache_own();
	void *cell;

	if (!tc)
		return take_one(class, 0, fresh);
	if (tc->polls)
		tcache_poll(tc);
	tc->allocs++;
	cell = pop(&tc->bins[class]);
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
static bool make_room(struct tcache *tc, unsigned int class)
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
	return ++tcache_thread.early_frees > EARLY_FREES ? tcache_own() : NULL;
}

void tcache_put_cell(unsigned int class, void *cell)
{
	struct tcache *tc = tcache_for_free();

	if (tc && tc->polls)
		tcache_poll(tc);
	if (!tc || !make_room(tc, class)) {
		give_one(class, cell);
		return;
	}
	bin_push(&tc->bins[class], cell);
	tc->frees++;
}

/* Validation, and the entry points. */

__attribute__((noinline)) unsigned int tcache_live_class_slow(const char *call, void *p)
{
	struct cell_ref cell = slab_find(p);

	if (cell.state == CELL_NONE)
		return 0;
	if (cell.state != CELL_LIVE ||
	    (*cell_word(p) == CELL_FREED && tcache_is_cached(cell.class, p)))
		tcache_bad_pointer(call, p, &cell);
	return cell.class;
}

/* Validate and unmark cell, taken from a cache or the store, for a user. */
static inline void *hand_out(unsigned int class, void *cell)
{
	if (__builtin_expect(*cell_word(cell) != CELL_FREED, 0))
		tcache_bad_cell(class, cell);
	return cell_unmark(cell);
}

/*
 * A cell of class, else a large object. If both fail, tcache_reclaim has returned everything to the
 * store: there may be a slab for class now.
 */
static __attribute__((noinline)) void *alloc_cell(unsigned int class, size_t size, size_t align)
{
	void *cell, *p;

	tcache_own();
	if (tcache_is_hardened())
		return hardened_alloc(size, align);
	cell = tcache_take_cell(class, NULL);
	if (!cell) {
		p = tcache_alloc_large(size, align, false);
		if (p || !(cell = tcache_take_cell(class, NULL)))
			return p;
	}
	hand_out(class, cell);
	if (tcache_all.perturb)
		memset(cell, (unsigned char)~tcache_all.perturb, slab_classes[class].size);
	return cell;
}

/* The same, with a fast path. */
static inline void *alloc_cell_quickly(unsigned int class, size_t size, size_t align)
{
	void *cell = pop(&tcache_thread.fast_free->bins[class]);

	if (__builtin_expect(!cell, 0))
		return alloc_cell(class, size, align);
	return hand_out(class, cell);
}

__attribute__((noinline)) void *tcache_alloc_slow(size_t size)
{
	void *span = NULL;

	if (size > CELL_MAX) {
		if (size <= SPAN_MAX)
			span = span_cache_take(tcache_thread.fast_free->spans, span_class_of(size), 1);
		return span ? span : tcache_alloc_large(size, CELL_ALIGN, false);
	}
	if (tcache_is_hardened())
		return hardened_malloc(size);
	return alloc_cell(class_of_size(size ? size : 1), size, CELL_ALIGN);
}

void *tcache_alloc_zeroed(size_t size)
{
	unsigned int class;
	bool fresh = false;
	void *cell, *p;

	if (size > CELL_MAX)
		return tcache_alloc_large(size, CELL_ALIGN, true);
	if (size <= CELL_FINE_MAX) {
		cell = tcache_alloc(size);
		return cell ? memset(cell, 0, size) : NULL;
	}
	tcache_own();
	if (tcache_is_hardened())
		return hardened_alloc(size, CELL_ALIGN);
	class = class_of_size(size);
	cell = tcache_take_cell(class, &fresh);
	if (!cell) {
		p = tcache_alloc_large(size, CELL_ALIGN, true);
		if (p || !(cell = tcache_take_cell(class, &fresh)))
			return p;
	}
	hand_out(class, cell);
	return fresh ? cell : memset(cell, 0, size);
}

/* Slabs are aligned to more than any cell: cells have every alignment that divides their size. */
unsigned int tcache_class_of(size_t size, size_t align)
{
	unsigned int class;

	if (size > CELL_MAX || align > CELL_MAX)
		return CLASS_COUNT;
	if (align < CELL_ALIGN)
		align = CELL_ALIGN;
	class = class_of_size(size ? (size + align - 1) & ~(align - 1) : align);
	while (class < CLASS_COUNT && slab_classes[class].size & (align - 1))
		class += 1;
	return class;
}

void *tcache_alloc_aligned(size_t size, size_t align)
{
	unsigned int class;

	if (align <= CELL_ALIGN)
		return tcache_alloc(size);
	class = tcache_class_of(size, align);
	if (class == CLASS_COUNT)
		return tcache_alloc_large(size, align, false);
	return alloc_cell_quickly(class, size, align);
}

/* In a fork's child, return p to the store if its slab is closed. False if p has to be marked. */
static bool give_unwritten(unsigned int class, void *p)
{
	struct tcache *tc;

	if (tcache_all.perturb || !slab_give_unwritten(class, p))
		return false;
	tc = tcache_for_free();
	if (tc) {
		tc->frees++;
		tcache_note_visit(tc);
	}
	return true;
}

static inline bool is_next(unsigned int class, const void *p)
{
	const struct tcache *tc = tcache_thread.own;

	return (uintptr_t)tc > (uintptr_t)TCACHE_ENDED && *tc->bins[class].top == p;
}

static __attribute__((noinline)) void free_slow(const char *call, void *p)
{
	unsigned int class;

	if (!p)
		return;
	class = slab_class_of(p);
	if (!class || tcache_is_closed() || is_next(class, p)) /* worth the read of the cell */
		class = tcache_live_class(call, p);
	if (!class) {
		tcache_free_mapping(call, p);
		return;
	}
	if (give_unwritten(class, p))
		return;
	if (tcache_all.perturb)
		memset(p, tcache_all.perturb, slab_classes[class].size);
	*cell_word(p) = CELL_FREED;
	tcache_put_cell(class, p);
}

/* free while all calls take the slow path, which mostly is for polling. bin is slab_bin(p). */
static __attribute__((noinline)) void free_polled(const char *call, void *p, uint16_t bin)
{
	struct tcache *tc = tcache_thread.own;
	unsigned int class;

	if ((uintptr_t)tc > (uintptr_t)TCACHE_ENDED && !tcache_is_closed()) {
		if (tc->polls)
			tcache_poll(tc);
		class = slab_class_in(p, bin);
		if (class && tcache_push(&tc->bins[class], p))
			return;
	}
	free_slow(call, p);
}

/* free of p, of class or no cell (0), where the bin may be full. */
static __attribute__((noinline)) void free_full(const char *call, void *p, unsigned int class)
{
	struct tcache *tc = tcache_thread.own; /* another thread may have changed fast */
	bool is_cell = class && (uintptr_t)tc > (uintptr_t)TCACHE_ENDED;

	__builtin_prefetch(p, 1); /* written to at the end */
	if (!is_cell || *tc->bins[class].top == p || !make_room(tc, class) ||
	    !tcache_push(&tc->bins[class], p))
		free_slow(call, p);
}

/* Most calls are for spans, for cells that tcache_put does not know, or for full bins. */
__attribute__((noinline)) void tcache_free_slow(const char *call, void *p)
{
	struct tcache *tc = tcache_thread.fast_free;
	uint16_t bin = slab_bin(p);
	unsigned int class;

	if (bin == SLAB_BIN_SPAN) {
		tcache_free_span(call, p);
		return;
	}
	if (tc == &tcache_none) {
		if (tcache_is_hardened())
			hardened_free_in(call, p, bin);
		else
			free_polled(call, p, bin);
		return;
	}
	class = slab_class_in(p, bin);
	if (!class || !tcache_push(&tc->bins[class], p))
		free_full(call, p, class);
}
