// SPDX-License-Identifier: BSD-3-Clause

#include "magazine.h"

#include <errno.h>

_Atomic(size_t) magazine_depot_size = DEPOT_BYTES;

struct depot_shard magazine_shards[SLAB_SHARDS];
struct depot_size magazine_sizes[SLAB_SHARDS];

bool depot_enter(unsigned int shard)
{
	return slab_enter(SHARD_LOCK(shard));
}

void depot_leave(unsigned int shard)
{
	slab_leave(SHARD_LOCK(shard));
}

bool depot_lock_frozen(void)
{
	bool is_locked = false;

	for (unsigned int shard = 0; shard < SLAB_SHARDS; shard++)
		is_locked = slab_lock_frozen(SHARD_LOCK(shard));
	return is_locked;
}

void depot_unlock_frozen(void)
{
	for (unsigned int shard = 0; shard < SLAB_SHARDS; shard++)
		slab_unlock_frozen(SHARD_LOCK(shard));
}

static size_t full_bytes(unsigned int class)
{
	return (size_t)magazine_capacity(class) * slab_classes[class].size;
}

struct magazine *magazine_new(unsigned int class)
{
	int saved_errno = errno; /* free may need one */
	struct magazine *m = NULL;
	void *cell;

	if (!slab_enter(CLASS_MAGAZINE))
		return NULL;
	if (slab_take_locked(CLASS_MAGAZINE, 0, &cell, 1, NULL))
		m = cell;
	slab_leave(CLASS_MAGAZINE);
	errno = saved_errno;
	if (!m)
		return NULL;
	m->cells[magazine_capacity(class)] = NULL;
	m->count = 0;
	return m;
}

/* With a shard or a class entered, there is no fork under way, and none begins. */
void magazine_free(struct magazine *m)
{
	void *cell = m;

	slab_enter(CLASS_MAGAZINE);
	slab_give_locked(CLASS_MAGAZINE, &cell, 1);
	slab_leave(CLASS_MAGAZINE);
}

static struct depot *depot_of(unsigned int class, unsigned int shard)
{
	return &magazine_shards[shard].depots[class];
}

/* n magazines more, or less, are full. Only the holder of the lock writes. */
static void count_full(unsigned int class, unsigned int shard, int n)
{
	struct depot *d = depot_of(class, shard);
	_Atomic(size_t) *bytes = &magazine_sizes[shard].bytes;

	atomic_store_explicit(&d->full_count, d->full_count + (unsigned int)n,
			      memory_order_relaxed);
	atomic_store_explicit(bytes, *bytes + (size_t)n * full_bytes(class), memory_order_relaxed);
}

struct magazine *depot_take_full_locked(unsigned int class, unsigned int shard)
{
	struct depot *d = depot_of(class, shard);
	struct magazine *m = d->full;

	if (!m)
		return NULL;
	d->full = m->next;
	count_full(class, shard, -1);
	if (d->full_count < d->low)
		d->low = d->full_count;
	return m;
}

static struct magazine *take_empty(struct depot *d, unsigned int class)
{
	struct magazine *m = d->empty;

	if (!m)
		return magazine_new(class);
	d->empty = m->next;
	d->empty_count--;
	return m;
}

struct magazine *depot_exchange_full_locked(unsigned int class, unsigned int shard,
					    struct magazine *full)
{
	struct depot *d = depot_of(class, shard);
	struct magazine *m;

	if (d->full_count >= depot_capacity(class) || magazine_sizes[shard].bytes >= SHARD_BYTES)
		return NULL;
	m = take_empty(d, class);
	if (!m)
		return NULL;
	full->next = d->full;
	d->full = full;
	count_full(class, shard, 1);
	return m;
}

void depot_put_empty_locked(unsigned int class, unsigned int shard, struct magazine *empty)
{
	struct depot *d = depot_of(class, shard);

	empty->next = d->empty;
	d->empty = empty;
	d->empty_count++;
}

void depot_shrink_locked(unsigned int class, unsigned int shard, bool all)
{
	struct depot *d = depot_of(class, shard);
	unsigned int n = all ? d->full_count : d->low;
	struct magazine *m;

	slab_enter(class);
	while (n-- && (m = depot_take_full_locked(class, shard))) {
		slab_give_locked(class, m->cells, m->count);
		magazine_free(m);
	}
	slab_leave(class);
	while (d->empty)
		magazine_free(take_empty(d, class));
	d->low = d->full_count;
}

size_t magazine_depot_bytes(void)
{
	size_t bytes = 0;

	for (unsigned int shard = 0; shard < SLAB_SHARDS; shard++)
		bytes += atomic_load_explicit(&magazine_sizes[shard].bytes, memory_order_relaxed);
	return bytes;
}
