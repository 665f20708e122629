// SPDX-License-Identifier: BSD-3-Clause

/* Where a cell is cached, and reports of bad cells and pointers. */

#include "quarantine.h"
#include "tcache_core.h"
#include "tunables.h"

/* The end is computed: that of a magazine of another thread may not be visible yet. */
static bool has_cell(void **top, unsigned int class, const void *cell)
{
	void *const *end = &magazine_of(top)->cells[magazine_capacity(class)];

	for (; top < end; top++)
		if (*top == cell)
			return true;
	return false;
}

static bool is_in_cache(const struct tcache *tc, unsigned int class, const void *cell)
{
	struct magazine *spare = tc->spares[class];

	return has_cell(tc->bins[class].top, class, cell) ||
	       (spare && spare->count && has_cell(spare->cells, class, cell)) ||
	       quarantine_has(tc, class, cell);
}

static bool is_in_depot(unsigned int class, const void *cell)
{
	for (unsigned int shard = 0; shard < SLAB_SHARDS; shard++)
		for (struct magazine *m = magazine_shards[shard].depots[class].full; m; m = m->next)
			if (has_cell(m->cells, class, cell))
				return true;
	return false;
}

static bool find_cached(unsigned int class, const void *cell)
{
	bool is_cached;

	lock_acquire(&tcache_all.lock);
	/* Under these locks magazines enter depots, and are returned to the store. */
	depot_lock_all();
	slab_enter(class);
	is_cached = is_in_depot(class, cell);
	for (const struct tcache *tc = tcache_all.first; tc && !is_cached; tc = tc->next)
		is_cached = is_in_cache(tc, class, cell);
	slab_leave(class);
	depot_unlock_all();
	lock_release(&tcache_all.lock);
	return is_cached;
}

/*
 * Other threads go on meanwhile. Where a processor reorders stores, what a cache's top leads to may
 * be what was there before. The right contents follow within a moment, so cell is looked for twice.
 */
bool tcache_is_cached(unsigned int class, const void *cell)
{
	if (!find_cached(class, cell))
		return false;
	return find_cached(class, cell);
}

/* Reports. */

void tcache_bad_cell(unsigned int class, void *p)
{
	struct cell_ref cell = slab_find(p);

	if (cell.state == CELL_FREE)
		sys_fatal("free", p, "this block is already free");
	if (cell.state != CELL_LIVE || cell.class != class)
		sys_fatal("free", p, "not a block");
	if (*cell_word(p) != CELL_FREED)
		sys_fatal("malloc", p, "this free block was written to, or freed twice");
}

void tcache_bad_pointer(const char *call, void *p, const struct cell_ref *cell)
{
	unsigned long size = slab_classes[cell->class].size;
	bool is_free = cell->state == CELL_FREE;

	if (p == cell->start)
		sys_misuse(call, p, "this block is already free");
	else
		sys_misuse(call, p, "not the start of a block, but inside %s of %lu bytes at 0x%lx",
			   is_free || tcache_is_cached(cell->class, cell->start) ? "a free one"
										 : "one",
			   size, (unsigned long)(uintptr_t)cell->start);
}

__attribute__((noinline)) unsigned int tcache_live_class_slow(const char *call, void *p)
{
	struct cell_ref cell = slab_find(p);

	if (cell.state == CELL_NONE)
		return 0;
	if (cell.state == CELL_LIVE &&
	    !(*cell_word(p) == CELL_FREED && tcache_is_cached(cell.class, p)))
		return cell.class;
	tcache_bad_pointer(call, p, &cell);
	return CLASS_BAD;
}

/*
 * Whether another thread frees cell p, which has a mark, at this moment: wait until the cell is in
 * a cache, or in use again. Otherwise the mark is the user's data.
 */
static bool is_claimed(void *p)
{
	for (unsigned int i = 0; i < CLAIM_WAITS; i++) {
		struct cell_ref cell = slab_find(p);

		if (cell.state != CELL_LIVE || *cell_word(p) != CELL_FREED ||
		    tcache_is_cached(cell.class, p))
			return true;
		sys_sleep(CLAIM_WAIT_NS);
	}
	return false;
}

__attribute__((cold)) unsigned int tcache_claim(const char *call, void *p)
{
	unsigned int class = tcache_live_class_slow(call, p);

	if (!class || class == CLASS_BAD)
		return class;
	if (atomic_exchange((_Atomic(uint64_t) *)(void *)cell_word(p), CELL_FREED) != CELL_FREED ||
	    !is_claimed(p))
		return class;
	sys_misuse(call, p, "this block is already free");
	return CLASS_BAD;
}
