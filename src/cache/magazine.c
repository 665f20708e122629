// SPDX-License-Identifier: BSD-3-Clause

#include "magazine.h"

#include <errno.h>

_Atomic(size_t) magazine_depot_size = DEPOT_BYTES;

/* Every program reads it, so it is on a page that relocation has touched anyway. */
const uint64_t magazine_end __attribute__((section(".data.rel.ro")));
struct depot_shard magazine_shards[SLAB_SHARDS] APART;
struct depot_size magazine_sizes[SLAB_SHARDS];

void magazine_init(void)
{
	slab_init();
	for (unsigned int class = 1; class < CLASS_COUNT && !slab_classes[class].magazine;
	     class += 1) {
		size_t n = MAGAZINE_BYTES / slab_classes[class].size;

		n = n < 2 ? 2 : n > MAGAZINE_CELLS_MAX ? MAGAZINE_CELLS_MAX : n;
		slab_classes[class].magazine = (uint16_t)n;
	}
}

void depot_enter(unsigned int shard)
{
	slab_enter(SHARD_LOCK(shard));
}

void depot_leave(unsigned int shard)
{
	slab_leave(SHARD_LOCK(shard));
}

void depot_lock_all(void)
{
	for (unsigned int shard = 0; shard < SLAB_SHARDS; shard++)
		depot_enter(shard);
}

void depot_unlock_all(void)
{
	for (unsigned int shard = 0; shard < SLAB_SHARDS; shard++)
		depot_leave(shard);
}

static size_t full_bytes(unsigned int class)
{
	return (size_t)magazine_capacity(class) * slab_classes[class].size;
}

struct magazine *magazine_new(unsigned int class)
{
	int saved_errno = errno; /* free must preserve it */
	struct magazine *m = slab_take(CLASS_MAGAZINE, 0, NULL);

	errno = saved_errno;
	if (!m)
		return NULL;
	m->cells[magazine_capacity(class)] = MAGAZINE_END;
	m->count = 0;
	return m;
}

void magazine_free(struct magazine *m)
{
	slab_give(CLASS_MAGAZINE, m);
}

static struct depot *depot_of(unsigned int class, unsigned int shard)
{
	return &magazine_shards[shard].depots[class];
}

/* Set the counts of d and shard. Only the lock's holder writes, so no read-modify-write. */
static inline void set_full(struct depot *d, unsigned int n, unsigned int shard, size_t bytes)
{
	atomic_store_explicit(&d->full_count, n, memory_order_relaxed);
	atomic_store_explicit(&magazine_sizes[shard].bytes, bytes, memory_order_relaxed);
}

struct magazine *depot_take_full_locked(unsigned int class, unsigned int shard)
{
	struct depot *d = depot_of(class, shard);
	struct magazine *m = d->full;
	unsigned int n = d->full_count - 1;

	if (!m)
		return NULL;
	atomic_store_explicit(&d->full, m->next, memory_order_release);
	set_full(d, n, shard, magazine_sizes[shard].bytes - full_bytes(class));
	if (n < d->low)
		d->low = n;
	return m;
}

static struct magazine *take_empty(struct depot *d, unsigned int class)
{
	struct magazine *m = d->empty;

	if (!m)
		return magazine_new(class);
	atomic_store_explicit(&d->empty, m->next, memory_order_release);
	d->empty_count--;
	return m;
}

struct magazine *depot_exchange_full_locked(unsigned int class, unsigned int shard,
					    struct magazine *full)
{
	struct depot *d = depot_of(class, shard);
	size_t bytes = magazine_sizes[shard].bytes;
	unsigned int n = d->full_count + 1;
	struct magazine *m;

	/* A multiplication, not a division: every magazine of a batch comes here. */
	if (n * full_bytes(class) > magazine_depot_size || bytes >= SHARD_BYTES)
		return NULL;
	m = take_empty(d, class);
	if (!m)
		return NULL;
	full->next = d->full;
	atomic_store_explicit(&d->full, full, memory_order_release);
	set_full(d, n, shard, bytes + full_bytes(class));
	return m;
}

void depot_put_empty_locked(unsigned int class, unsigned int shard, struct magazine *empty)
{
	struct depot *d = depot_of(class, shard);

	empty->next = d->empty;
	atomic_store_explicit(&d->empty, empty, memory_order_release);
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

static unsigned int count_list(const struct magazine *m)
{
	unsigned int n = 0;

	for (; m; m = m->next)
		n++;
	return n;
}

void depot_fork_child(unsigned int shard)
{
	size_t bytes = 0;

	for (unsigned int class = 1; class < CLASS_COUNT; class += 1) {
		struct depot *d = depot_of(class, shard);

		d->full_count = count_list(d->full);
		d->empty_count = count_list(d->empty);
		if (d->low > d->full_count)
			d->low = d->full_count;
		bytes += d->full_count * full_bytes(class);
	}
	magazine_sizes[shard].bytes = bytes;
}

bool depot_has_full(unsigned int class, unsigned int shard, const struct magazine *m)
{
	const struct magazine *full = depot_of(class, shard)->full;

	while (full && full != m)
		full = full->next;
	return full;
}
