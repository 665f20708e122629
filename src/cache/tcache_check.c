// SPDX-License-Identifier: BSD-3-Clause

/* The checker. Other threads must not allocate or free meanwhile. */

#include "canary.h"
#include "large/large.h"
#include "quarantine.h"
#include "tcache_core.h"

/*
 * No cell is in two places (M3): the second word of a cached cell is unused. A first pass stores in
 * it where the cell was found, a second one compares.
 */
static const char *check_cells(void *const *top, unsigned int class, bool is_second)
{
	for (void *const *at = top; *at != MAGAZINE_END; at++) {
		struct cell_ref cell = slab_find(*at);
		const void **mark = (const void **)*at + 1;

		if (cell.state != CELL_LIVE || cell.class != class)
			return "M3: a cell in a magazine is not one, or in the store";
		if (!tcache_is_hardened() && *cell_word(*at) != CELL_FREED)
			return "M4: a cell in a magazine is not marked";
		if (!is_second)
			*mark = at;
		else if (*mark != at)
			return "M3: a cell is in two magazines";
		else
			*mark = NULL; /* hardened.c needs zero */
	}
	return NULL;
}

static const char *check_full(const struct magazine *m, unsigned int class, bool is_second)
{
	unsigned int capacity = magazine_capacity(class);

	if (m->cells[capacity] != MAGAZINE_END)
		return "M1: a magazine has no end behind its cells";
	if (m->count != capacity)
		return "M2: a magazine that should be full is not";
	for (unsigned int i = 0; i < capacity; i++)
		if (m->cells[i] == MAGAZINE_END)
			return "M2: a magazine that should be full is not";
	return check_cells(m->cells, class, is_second);
}

static const char *check_depot(unsigned int class, unsigned int shard, bool is_second)
{
	const struct depot *d = &magazine_shards[shard].depots[class];
	size_t full = 0, empty = 0;
	const char *fault;

	for (const struct magazine *m = d->full; m; m = m->next, full++) {
		fault = check_full(m, class, is_second);
		if (fault)
			return fault;
	}
	for (const struct magazine *m = d->empty; m; m = m->next)
		empty++;
	if (full != d->full_count || empty != d->empty_count || d->low > d->full_count)
		return "M2: a depot's counts are wrong";
	return NULL;
}

static const char *check_depots(unsigned int shard, bool is_second)
{
	const char *fault = NULL;
	size_t bytes = 0;

	for (unsigned int class = 1; class < CLASS_COUNT && !fault; class += 1) {
		fault = check_depot(class, shard, is_second);
		bytes += (size_t)magazine_shards[shard].depots[class].full_count *
			 magazine_capacity(class) * slab_classes[class].size;
	}
	if (!fault && bytes != magazine_sizes[shard].bytes)
		fault = "M2: a depot's counts are wrong";
	return fault;
}

static const char *check_bin(const struct tcache *tc, unsigned int class, bool is_second)
{
	const struct bin *bin = &tc->bins[class];
	const struct magazine *spare = tc->spares[class], *loaded = magazine_of(bin->top);
	const char *fault = NULL;

	if (bin->magic != slab_classes[class].magic)
		return "C1: a bin's magic is not its class's";
	if (bin_has_magazine(bin)) {
		if (bin->top > &loaded->cells[magazine_capacity(class)])
			return "C1: a bin's top is outside its magazine";
		if (loaded->cells[magazine_capacity(class)] != MAGAZINE_END)
			return "M1: a magazine has no end behind its cells";
		fault = check_cells(bin->top, class, is_second);
	}
	if (fault || !spare)
		return fault;
	if (spare == loaded || (spare->count && spare->count != magazine_capacity(class)))
		return "C2: a spare is neither empty nor full";
	return spare->count ? check_full(spare, class, is_second) : NULL;
}

static const char *check_all(bool is_second)
{
	const char *fault = NULL;
	size_t caches = 0;

	for (unsigned int shard = 0; shard < SLAB_SHARDS && !fault; shard++)
		fault = check_depots(shard, is_second);
	for (const struct tcache *tc = tcache_all.first; tc && !fault; tc = tc->next, caches++) {
		if (tc->next && tc->next->prev != tc)
			return "C3: the list of caches does not lead back";
		for (unsigned int class = 1; class < CLASS_COUNT && !fault; class += 1)
			fault = check_bin(tc, class, is_second);
	}
	if (!fault && caches != tcache_all.count)
		fault = "C3: a cache is not in the list";
	return fault;
}

bool tcache_is_live(const void *cell)
{
	struct cell_ref ref = slab_find(cell);

	if (ref.state != CELL_LIVE)
		return false;
	if (tcache_is_hardened())
		return load_canary(ref.start, slab_classes[ref.class].size);
	return *cell_word(ref.start) != CELL_FREED;
}

size_t tcache_live_size(const void *cell)
{
	struct cell_ref ref = slab_find(cell);
	size_t room = slab_classes[ref.class].size, padding;

	if (!tcache_is_hardened())
		return room;
	padding = padding_of(load_canary(ref.start, room));
	return padding <= room - CANARY ? room - CANARY - padding : room;
}

void tcache_each_lock(void (*visit)(struct lock *l, void *arg), void *arg)
{
	visit(&tcache_all.lock, arg);
	slab_each_lock(visit, arg);
	large_each_lock(visit, arg);
}

const char *tcache_check(void)
{
	const char *fault;

	fault = slab_check();
	if (fault)
		return fault;
	lock_acquire(&tcache_all.lock);
	fault = check_all(false);
	if (!fault)
		fault = check_all(true);
	for (const struct tcache *tc = tcache_all.first; tc && !fault; tc = tc->next)
		if (!(fault = span_cache_check(tc->spans)))
			fault = quarantine_check(tc);
	lock_release(&tcache_all.lock);
	return fault ? fault : large_check();
}
