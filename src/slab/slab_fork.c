// SPDX-License-Identifier: BSD-3-Clause

/*
 * The store in a forked child. Other threads are copied in the middle of their work and then
 * absent, so changes under held locks may be incomplete. Authoritative data is consistent after
 * every single store: which slots are slabs, the bits of cells, the words of spans, and whether a
 * page may be dirty. All else is rebuilt for the locks that were held. Cells that other threads had
 * in local variables are lost.
 *
 * The child shares pages with its parent until one of them writes. To mark each cell that the child
 * frees would copy page after page. So in a large heap the fork closes all slabs, and cells freed
 * in a closed slab return to the store unwritten. A slab opens when the child takes cells from it,
 * since these will be written to anyway. Writes to cells freed this way are not detected. Hardened
 * mode clears freed cells anyway, so it closes nothing.
 */

#include "slab_core.h"
#include "tunables.h"

/* The store. */

static void take_slots(struct segment *g, uint64_t *taken)
{
	for (uint64_t slots = g->fixed | g->cells; slots; slots &= slots - 1)
		map_set(taken, slot_pages((unsigned int)__builtin_ctzll(slots), 1));
}

static void take_spans(struct segment *g, uint64_t *taken)
{
	uint16_t *map = segment_page_map(g);

	for (size_t page = 0; page < MAP_PAGES; page++) {
		size_t pages = g->spans[page] & SPAN_PAGES;

		if (!pages)
			continue;
		map_set(taken, (struct page_run){page, page + pages});
		slab_store.span_pages += pages;
		for (size_t slot = page / SLOT_PAGES; slot * SLOT_PAGES < page + pages; slot++)
			map[slot] = SLAB_BIN_SPAN;
	}
}

/*
 * Pages that were being taken or freed become free and dirty. Slabs are closed; those without
 * unmarked pages open when cells are taken from them.
 */
static void rebuild_segment(struct segment *g)
{
	uint64_t taken[MAP_WORDS] = {0};
	struct segment_maps *maps = &g->maps;

	for (unsigned int slot = 0; slot < SEGMENT_SLOTS; slot++)
		if (!(g->cells >> slot & 1) && g->slabs[slot].class)
			slab_clear_bits(&g->slabs[slot]);
	memset(segment_page_map(g), 0, SEGMENT_SLOTS * sizeof(uint16_t));
	take_slots(g, taken);
	take_spans(g, taken);
	for (size_t i = 0; i < MAP_WORDS; i++) {
		maps->dirty[i] = (maps->dirty[i] | maps->taken[i]) & ~taken[i];
		maps->stuck[i] &= ~(taken[i] | maps->dirty[i]);
		maps->taken[i] = taken[i];
	}
	slab_store.dirty_pages += map_count(maps->dirty, (struct page_run){0, MAP_PAGES});
	g->runs[RUN_FREE] = g->runs[RUN_DIRTY] = 0; /* no set holds g */
}

/* Empty all sets but SET_LIVE. Groups without a live segment are empty, and are not written. */
static void clear_sets(struct window *w)
{
	memset(w->summaries, 0, sizeof(w->summaries));
	for (size_t i = 0; i < window_groups(w); i++) {
		uint64_t live = w->bits[i].words[SET_LIVE];

		if (!live)
			continue;
		w->bits[i] = (struct segment_bits){.words[SET_LIVE] = live};
		w->summaries[SET_LIVE][i / 64] |= (uint64_t)1 << i % 64;
	}
}

/*
 * A segment that is being created is in no set, and is lost. One that is being unmapped is still in
 * SET_LIVE and stays, or is in no set.
 */
static void rebuild_store(void)
{
	slab_store.segments = 0;
	slab_store.dirty_pages = 0;
	slab_store.span_pages = 0;
	memset(slab_store.run_classes, 0, sizeof(slab_store.run_classes));
	memset(slab_store.run_segments, 0, sizeof(slab_store.run_segments));
	for (struct window *w = window_first(); w; w = w->next)
		clear_sets(w);
	for (struct segment *g = NULL; (g = segment_next(SET_LIVE, g));) {
		slab_store.segments++;
		rebuild_segment(g);
		segment_update(g);
	}
}

/* A class. */

static void count_bits(struct slab *s)
{
	s->free = 0;
	s->summary = 0;
	for (size_t i = 0; i < slab_words(s->class); i++) {
		uint64_t bits = *slab_bits(s, i);

		s->free = (uint16_t)(s->free + __builtin_popcountll(bits));
		s->summary |= (uint64_t)(bits != 0) << i;
	}
}

/* Make s the carving slab of a shard that has none. False if there is none. */
static bool set_carving(struct slab_class *c, struct slab *s)
{
	for (unsigned int i = 0; i < SLAB_SHARDS; i++) {
		unsigned int shard = (s->shard + i) % SLAB_SHARDS;

		if (slab_lists(c, shard)->carving)
			continue;
		s->shard = (uint8_t)shard;
		slab_lists(c, shard)->carving = s;
		return true;
	}
	return false;
}

/* Turn the rest of s into free cells. */
static void carve_all(struct slab *s)
{
	size_t capacity = slab_classes[s->class].capacity, size = slab_classes[s->class].size;

	for (; s->carved < capacity; s->carved++) {
		*slab_bits(s, s->carved / 64) |= (uint64_t)1 << s->carved % 64;
		if (!slab_store.is_hardened)
			*cell_word(slab_start(s) + s->carved * size) = CELL_FREED;
	}
	s->is_fresh = false;
	count_bits(s);
}

static void rebuild_slab(struct slab_class *c, struct slab *s)
{
	s->shard = s->shard % SLAB_SHARDS;
	count_bits(s);
	if (s->free == s->carved) { /* S3 */
		segment_give(s);
		return;
	}
	if (s->carved < slab_classes[s->class].capacity && !set_carving(c, s))
		carve_all(s);
	segment_set_page_map(s, 0); /* closed, like all slabs of rebuilt classes */
	c->slabs++;
	c->out += (size_t)(s->carved - s->free);
	if (s->free)
		slab_link(c, s);
	else
		slab_set_checksum(s);
}

static void for_each_slab(void (*visit)(struct slab *))
{
	for (struct segment *g = NULL; (g = segment_next(SET_LIVE, g));)
		for (unsigned int slot = 1; slot < SEGMENT_SLOTS; slot++)
			if (g->cells >> slot & 1 && g->first[slot] == slot)
				visit(&g->slabs[slot]);
}

static bool is_broken[CLASS_END + SLAB_SHARDS]; /* the locks that were held at the fork */

static void visit_broken(struct slab *s)
{
	if (is_broken[s->class])
		rebuild_slab(&slab_class_states[s->class], s);
}

/* Set all checksums first: building the lists validates those of neighbors. */
static void checksum_broken(struct slab *s)
{
	if (is_broken[s->class]) {
		s->next = s->prev = NULL;
		slab_set_checksum(s);
	}
}

static void count_sparse(void)
{
	size_t slots[GROUPS] = {0};

	for (unsigned int i = 0; i < SLAB_SHARDS * CLASS_END * 2; i++) {
		unsigned int group = i % 2 ? GROUP_TOUCHED : GROUP_IDLE, class = i / 2 % CLASS_END;
		const struct slab *s = slab_shard_lists[i / 2 / CLASS_END][class].partial[group];

		for (; s; s = s->next)
			slots[group] += s->is_locked ? 0 : slab_classes[class].slots;
	}
	slab_store.sparse_slots = slots[GROUP_TOUCHED] + slots[GROUP_IDLE];
	slab_store.idle_slots = slots[GROUP_IDLE];
}

static void clear_class(unsigned int class)
{
	slab_class_states[class] = (struct slab_class){0};
	for (unsigned int shard = 0; shard < SLAB_SHARDS; shard++)
		slab_shard_lists[shard][class] = (struct slab_lists){0};
}

static void rebuild_classes(void)
{
	for (unsigned int class = 1; class < CLASS_END; class += 1)
		if (is_broken[class])
			clear_class(class);
	slab_store.sparse_slots = slab_store.idle_slots = SIZE_MAX / 2; /* set below */
	for_each_slab(checksum_broken);
	for_each_slab(visit_broken);
	count_sparse();
}

static void close_slabs(void)
{
	for (struct segment *g = NULL; (g = segment_next(SET_LIVE, g));) {
		uint16_t *map = segment_page_map(g);

		for (unsigned int slot = 1; slot < SEGMENT_SLOTS; slot++)
			if (map[slot] != SLAB_BIN_SPAN)
				map[slot] = 0;
	}
}

bool slab_fork_was_locked(unsigned int shard)
{
	return is_broken[SHARD_LOCK(shard)];
}

void slab_fork_child(void)
{
	bool is_any = false, is_store = lock_is_held(&slab_store.lock);

	for (unsigned int i = 1; i < CLASS_END + SLAB_SHARDS; i++) {
		is_broken[i] = lock_is_held(&slab_locks[i].lock);
		is_any |= i < CLASS_END && is_broken[i];
		lock_reset(&slab_locks[i].lock);
	}
	lock_reset(&slab_store.lock);
	slab_store.is_sweeping = false;
	if (is_store)
		rebuild_store();
	if (is_any)
		rebuild_classes();
	if (slab_store.is_hardened || slab_store.segments < FORK_SHARED_MIN)
		return;
	slab_store.is_child = true;
	close_slabs();
}
