// SPDX-License-Identifier: BSD-3-Clause

#include "magazine.h"

#include <errno.h>

struct depot magazine_depots[CLASS_COUNT];
_Atomic(size_t) magazine_depot_bytes;

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

/* Under the lock of a class there is no fork under way, and its lock keeps the next one waiting. */
void magazine_free(struct magazine *m)
{
	void *cell = m;

	slab_enter(CLASS_MAGAZINE);
	slab_give_locked(CLASS_MAGAZINE, &cell, 1);
	slab_leave(CLASS_MAGAZINE);
}

struct magazine *depot_take_full_locked(unsigned int class, unsigned int shard)
{
	struct depot *d = &magazine_depots[class];
	struct magazine *m;

	if (!d->full_count)
		return NULL;
	while (!d->full[shard])
		shard = (shard + 1) % SLAB_SHARDS;
	m = d->full[shard];
	d->full[shard] = m->next;
	atomic_fetch_sub_explicit(&magazine_depot_bytes, full_bytes(class), memory_order_relaxed);
	if (--d->full_count < d->low)
		d->low = d->full_count;
	return m;
}

static struct magazine *take_empty(unsigned int class)
{
	struct depot *d = &magazine_depots[class];
	struct magazine *m = d->empty;

	if (!m)
		return magazine_new(class);
	d->empty = m->next;
	d->empty_count--;
	return m;
}

static void take_apart(unsigned int class, struct magazine *m)
{
	slab_give_locked(class, m->cells, m->count);
	m->count = 0;
}

struct magazine *depot_exchange_full_locked(unsigned int class, unsigned int shard,
					    struct magazine *full)
{
	struct depot *d = &magazine_depots[class];
	struct magazine *m = NULL;

	if (d->full_count * full_bytes(class) < DEPOT_BYTES)
		m = take_empty(class);
	if (!m) {
		take_apart(class, full);
		return full;
	}
	full->next = d->full[shard];
	d->full[shard] = full;
	d->full_count++;
	atomic_fetch_add_explicit(&magazine_depot_bytes, full_bytes(class), memory_order_relaxed);
	return m;
}

void depot_put_empty_locked(unsigned int class, struct magazine *empty)
{
	struct depot *d = &magazine_depots[class];

	empty->next = d->empty;
	d->empty = empty;
	d->empty_count++;
}

void depot_shrink_locked(unsigned int class, bool all)
{
	struct depot *d = &magazine_depots[class];
	unsigned int n = all ? d->full_count : d->low;
	struct magazine *m;

	while (n-- && (m = depot_take_full_locked(class, 0))) {
		take_apart(class, m);
		magazine_free(m);
	}
	while (d->empty && (m = take_empty(class)))
		magazine_free(m);
	d->low = d->full_count;
}
