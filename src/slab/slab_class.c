// SPDX-License-Identifier: BSD-3-Clause

/*
 * The classes: constants, locks, and the lists of partial slabs by shard and fullness group. A
 * shard may adopt a slab of another.
 */

#include "fork.h"
#include "slab_core.h"

struct class_info slab_classes[CLASS_END];
_Atomic(unsigned int) slab_shard_users[SLAB_SHARDS];

struct slab_class slab_class_states[CLASS_END] APART;
struct slab_lists slab_shard_lists[SLAB_SHARDS][CLASS_END] APART;
struct slab_lock slab_locks[CLASS_END + SLAB_SHARDS] APART;

static size_t size_of(unsigned int class)
{
	if (class == CLASS_OWN_512)
		return 512;
	if (class == CLASS_OWN_4096)
		return 4096;
	return class == CLASS_OWN_2048 ? 2048 : class_size(class);
}

void slab_init(void)
{
	for (unsigned int class = 1; class < CLASS_END && !slab_classes[class].size; class += 1) {
		size_t size = size_of(class), slots = size > SLAB_CELL_MAX ? QUAD : 1;

		slab_classes[class] = (struct class_info){
			.size = (uint32_t)size,
			.magic = (uint32_t)((((uint64_t)1 << 32) - 1) / size + 1),
			.reciprocal = ((uint64_t)1 << RECIPROCAL_SHIFT) / size + 1,
			.capacity = (uint16_t)(slots * SLAB_SIZE / size),
			.slots = (uint16_t)slots,
		};
	}
}

/* Locking. Nothing is locked while the process has a single thread. */

void slab_enter(unsigned int class)
{
	fork_check();
	lock_acquire(&slab_locks[class].lock);
}

void slab_leave(unsigned int class)
{
	lock_release(&slab_locks[class].lock);
}

/* Checksums: S9. */

void slab_damaged(const struct slab_class *c, const struct slab *s)
{
	slab_leave((unsigned int)(c - slab_class_states));
	sys_fatal("heap", s, "the header of a slab is overwritten");
}

void slab_validate(const struct slab_class *c, const struct slab *s)
{
	if (!slab_is_valid(s))
		slab_damaged(c, s);
}

/* Fullness groups: S2. */

/* Add n slots, or remove -n, if s is in a sparse group. */
static void count_sparse(const struct slab *s, int n)
{
	if ((s->group != GROUP_TOUCHED && s->group != GROUP_IDLE) || s->is_locked)
		return;
	atomic_fetch_add_explicit(&slab_store.sparse_slots, (size_t)n, memory_order_relaxed);
	if (s->group == GROUP_IDLE)
		atomic_fetch_add_explicit(&slab_store.idle_slots, (size_t)n, memory_order_relaxed);
}

static void set_links(const struct slab_class *c, struct slab *s, struct slab *next,
		      struct slab *prev)
{
	slab_validate(c, s);
	s->next = next;
	s->prev = prev;
	slab_set_checksum(s);
}

void slab_unlink(struct slab_class *c, struct slab *s)
{
	if (s->prev)
		set_links(c, s->prev, s->next, s->prev->prev);
	else
		slab_lists(c, s->shard)->partial[s->group] = s->next;
	if (s->next)
		set_links(c, s->next, s->next->next, s->prev);
	c->partial_count--;
	count_sparse(s, -slab_classes[s->class].slots);
}

static void link_in(struct slab_class *c, struct slab *s, uint8_t group)
{
	struct slab **head = &slab_lists(c, s->shard)->partial[group];

	s->group = group;
	c->partial_count++;
	s->prev = NULL;
	s->next = *head;
	if (s->next)
		set_links(c, s->next, s->next->next, s);
	slab_set_checksum(s);
	*head = s;
	count_sparse(s, slab_classes[s->class].slots);
}

void slab_link(struct slab_class *c, struct slab *s)
{
	link_in(c, s, slab_group(s));
}

void slab_move(struct slab_class *c, struct slab *s, uint8_t group)
{
	slab_unlink(c, s);
	link_in(c, s, group);
}

static void change_shard(struct slab_class *c, struct slab *s, unsigned int shard)
{
	unsigned int from = s->shard;

	slab_validate(c, s);
	if (s->free)
		slab_unlink(c, s);
	if (slab_lists(c, from)->carving == s) {
		slab_lists(c, from)->carving = NULL;
		slab_lists(c, shard)->carving = s;
	}
	atomic_store_explicit(&s->shard, (uint8_t)shard, memory_order_relaxed);
	if (s->free)
		slab_link(c, s);
	else
		slab_set_checksum(s);
}

struct slab *slab_adopt(struct slab_class *c, unsigned int shard, bool is_any)
{
	const uint8_t order[GROUPS] = {GROUP_IDLE, GROUP_TOUCHED, GROUP_PURGED, 2, 1, 0};
	struct slab *s;

	for (unsigned int nr = 0; c->partial_count && nr < GROUPS; nr++) {
		unsigned int group = order[nr];

		for (unsigned int i = 0; i < SLAB_SHARDS; i++) {
			s = slab_lists(c, i)->partial[group];
			if (!s || (slab_shard_users[i] && group < GROUP_TOUCHED && !is_any))
				continue;
			change_shard(c, s, shard);
			return s;
		}
	}
	return NULL;
}

struct slab *slab_adopt_any(struct slab_class *c, unsigned int shard)
{
	struct slab *s = slab_adopt(c, shard, true);

	for (unsigned int i = 0; !s && i < SLAB_SHARDS; i++) {
		s = slab_lists(c, i)->carving;
		if (s)
			change_shard(c, s, shard);
	}
	return s;
}
