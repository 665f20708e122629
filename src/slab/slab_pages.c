// SPDX-License-Identifier: BSD-3-Clause

/*
 * Pages between live cells go back to the kernel.
 *
 * 1. A trim gives back every whole page that no live cell reaches into.
 * 2. Every other sweep, and each early one, does so in sparse slabs, more than three quarters free,
 *    where no cell was taken or given since the last such sweep: it purges what that one has found
 *    idle, and files as idle what was not touched since. Nothing else is looked at, and of that a
 *    bounded number.
 *    While many sparse slabs are touched the process is at work, and nothing is purged: most of it
 *    will be free, or used, soon.
 * 3. A slab that comes into use again after it was purged waits for every second such sweep, then
 *    for every fourth, and so on: faults would cost more than the memory is worth.
 * 4. Purged cells have lost CELL_FREED, so their slab is closed to the short way: S6, S10. Before,
 *    each must have it: else it is in use.
 */

#include "slab_core.h"
#include "tunables.h"

/* What a sweep may still do. */
struct sweep {
	uint32_t nr; /* of all that look at pages */
	unsigned int purges, moves;
	size_t left; /* of PURGE_PIECES */
};

/* Marks: S10. */

void slab_require_mark(const struct slab *s, void *cell)
{
	if (*cell_word(cell) == CELL_FREED)
		return;
	slab_leave(s->class);
	sys_fatal("malloc", cell, "this free block was written to, or freed twice");
}

/*
 * What a free cell of an unmarked page gets in its first word: CELL_FREED, but when hardened zero.
 * Purged cells are zero; what was written to one since is seen when it is handed out. In a fork's
 * child, cells that were freed may contain anything.
 */
static void mark_cell(void *cell)
{
	if (slab_store.is_hardened)
		return;
	if (slab_store.is_child || !*cell_word(cell))
		*cell_word(cell) = CELL_FREED;
}

/* The free cells of an unmarked page get their marks. */
static void mark_page(struct slab *s, size_t page)
{
	size_t size = slab_classes[s->class].size, i = (page * PAGE_BYTES + size - 1) / size;

	for (; i < s->carved && i * size < (page + 1) * PAGE_BYTES; i++)
		if (s->bits[i / 64] >> i % 64 & 1)
			mark_cell(slab_start(s) + i * size);
	atomic_thread_fence(memory_order_release); /* for a fork */
	s->unmarked &= ~((uint64_t)1 << page);
}

static void mark_pages(struct slab *s, uint64_t pages)
{
	for (pages &= s->unmarked; pages; pages &= pages - 1)
		mark_page(s, (size_t)__builtin_ctzll(pages));
}

/*
 * Closed slab s gives n of its free cells to a cache, where each needs its mark. So do those that
 * stay in the same pages: once a page is in use, zero in a free cell may be a user's, who has got
 * it since it was freed twice. When few are left, all are marked, and the short way is open again.
 * It is still purged: their pages go once a cell has come back, lest trims and users take turns. In
 * a fork's child the short way opens at once, unless that would fill purged pages.
 */
void slab_open(struct slab *s, void **cells, unsigned int n)
{
	bool has_few = s->free <= slab_classes[s->class].capacity / MARKED_SHARE;
	uint64_t pages = 0;

	for (unsigned int i = 0; i < n; i++) {
		uint64_t page = slab_page_bit(s, cells[i]);

		if (s->unmarked & page)
			mark_cell(cells[i]);
		pages |= page;
	}
	if (has_few || (slab_store.is_child && !s->is_purged))
		pages = s->unmarked;
	mark_pages(s, pages);
	if (!s->unmarked)
		segment_set_bins(s, slab_bin_of(s->class));
}

/* Whether no cell of s that is out of the store reaches into [from, to) of the slab. */
static bool is_range_free(const struct slab *s, size_t from, size_t to)
{
	size_t size = slab_classes[s->class].size;

	for (size_t i = from / size; i < s->carved && i * size < to; i++)
		if (!(s->bits[i / 64] >> i % 64 & 1))
			return false;
	return true;
}

/* Move [*from, *to), whole pages, on to the next free ones of s. False: there are no more. */
static bool next_free_pages(const struct slab *s, size_t *from, size_t *to)
{
	size_t page = sys_page_size(), bytes = slab_classes[s->class].slots * SLAB_SIZE;

	for (*from = *to; *from < bytes && !is_range_free(s, *from, *from + page); *from += page)
		;
	for (*to = *from; *to < bytes && is_range_free(s, *to, *to + page); *to += page)
		;
	return *from < bytes;
}

/* The pages [from, to) of s will be unmarked. */
static void unmark_pages(struct slab *s, size_t from, size_t to)
{
	size_t size = slab_classes[s->class].size, first = (from + size - 1) / size;

	for (size_t i = first; slab_has_marks(s->class) && i < s->carved && i * size < to; i++)
		if (!(s->unmarked & slab_page_bit(s, slab_start(s) + i * size)))
			slab_require_mark(s, slab_start(s) + i * size);
	for (; from < to; from += PAGE_BYTES)
		s->unmarked |= (uint64_t)1 << from / PAGE_BYTES;
	atomic_thread_fence(memory_order_release); /* for a fork */
}

/*
 * Purge the whole pages of s that are free, run by run; whether there were some that went. What is
 * locked stays, and counts as purged until the slab is used again. *is_locked: nothing went.
 */
static bool purge_free_pages(struct slab *s, size_t *left, bool *is_locked)
{
	size_t from, to = 0;
	bool is_any = false, is_refused = false, was_closed = slab_is_closed(s);

	/* Before the marks are gone, for a fork. */
	s->is_next_marked = false;
	if (s->free)
		segment_set_bins(s, 0);
	while (next_free_pages(s, &from, &to)) {
		if (s->free)
			unmark_pages(s, from, to);
		if (segment_purge_apart(slab_start(s) + from, to - from, left) == 0)
			is_any = true;
		else
			is_refused = true;
	}
	s->is_purged = true;
	if (!is_any && !is_refused && !was_closed) /* refused, part of a run may have gone */
		segment_set_bins(s, slab_bin_of(s->class));
	*is_locked = is_refused && !is_any;
	return is_any;
}

/* Trims: rule 1. */

static bool trim_list(struct slab_class *c, struct slab *s, size_t *left)
{
	bool is_any = false, is_locked;
	struct slab *next;

	for (; s; s = next) {
		slab_require_sealed(c, s);
		next = s->next;
		is_locked = s->is_locked;
		if (!s->is_purged || s->is_locked)
			is_any |= purge_free_pages(s, left, &is_locked);
		if (s->bucket == BUCKET_TOUCHED || s->bucket == BUCKET_IDLE)
			slab_move(c, s, BUCKET_PURGED);
		/* Where it is now, it is not counted. */
		s->is_locked = is_locked && s->bucket == BUCKET_PURGED;
	}
	return is_any;
}

bool slab_trim_pages(unsigned int class)
{
	struct slab_class *c = &slab_class_states[class];
	size_t left = PURGE_PIECES;
	bool is_any = false, is_locked;

	slab_enter(class);
	for (unsigned int i = 0; i < SLAB_SHARDS * BUCKETS; i++)
		is_any |= trim_list(c, slab_lists(c, i / BUCKETS)->partial[i % BUCKETS], &left);
	/*
	 * Those without a free cell are in no list, but are to be carved in memory that was used.
	 */
	for (unsigned int i = 0; i < SLAB_SHARDS; i++) {
		struct slab *s = slab_lists(c, i)->carving;

		if (!s || s->free)
			continue;
		slab_require_sealed(c, s);
		if (!s->is_fresh && !s->is_purged)
			is_any |= purge_free_pages(s, &left, &is_locked);
	}
	slab_leave(class);
	return is_any;
}

/* Bytes of the free pages that the slabs from s on have got, and have not given back since. */
static size_t free_bytes_of(const struct slab *s)
{
	size_t bytes = 0, from, to, end;

	for (; s; s = s->next) {
		end = s->is_fresh ? s->carved * slab_classes[s->class].size : SIZE_MAX;
		for (to = 0; !s->is_purged && next_free_pages(s, &from, &to) && from < end;)
			bytes += (to < end ? to : end) - from;
	}
	return bytes;
}

size_t slab_free_page_bytes(size_t *out)
{
	size_t free = 0;

	*out = 0;
	for (unsigned int class = 1; class < CLASS_END; class += 1) {
		struct slab_class *c = &slab_class_states[class];

		slab_enter(class);
		*out += c->out * slab_classes[class].size;
		for (unsigned int i = 0; i < SLAB_SHARDS * BUCKETS; i++)
			free += free_bytes_of(slab_lists(c, i / BUCKETS)->partial[i % BUCKETS]);
		slab_leave(class);
	}
	return free;
}

/* Sweeps: rules 2 and 3. */

static struct slab *first_in(const struct slab_class *c, enum slab_bucket bucket)
{
	for (unsigned int i = 0; i < SLAB_SHARDS; i++)
		if (slab_lists(c, i)->partial[bucket])
			return slab_lists(c, i)->partial[bucket];
	return NULL;
}

/* s is idle. */
static void sweep_slab(struct slab_class *c, struct slab *s, struct sweep *sweep)
{
	bool is_locked = s->is_locked;

	sweep->moves--;
	if (!s->is_purged && sweep->nr & ((1u << s->purges) - 1)) {
		slab_move(c, s, BUCKET_TOUCHED);
		return;
	}
	if (!s->is_purged) {
		purge_free_pages(s, &sweep->left, &is_locked);
		sweep->purges--;
		if (s->purges < PURGES_MAX)
			s->purges++;
	}
	slab_move(c, s, BUCKET_PURGED);
	s->is_locked = is_locked; /* where it is now, it is not counted */
}

/* Up to SWEEP_HOLD slabs of class that are in bucket; whether there may be more to do. */
static bool sweep_some(unsigned int class, enum slab_bucket bucket, struct sweep *sweep)
{
	struct slab_class *c = &slab_class_states[class];
	unsigned int n = 0;
	struct slab *s;

	slab_enter(class);
	for (; n < SWEEP_HOLD && sweep->moves && (s = first_in(c, bucket)); n++) {
		if (bucket == BUCKET_IDLE && !sweep->purges)
			break;
		slab_require_sealed(c, s);
		if (bucket == BUCKET_TOUCHED) {
			sweep->moves--;
			slab_move(c, s, BUCKET_IDLE);
		} else {
			sweep_slab(c, s, sweep);
		}
	}
	slab_leave(class);
	return n == SWEEP_HOLD;
}

void slab_sweep_pages(void)
{
	size_t idle = slab_store.idle_slots;
	struct sweep sweep = {.nr = slab_store.sparse_sweeps++,
			      .purges = SWEEP_PURGES,
			      .moves = SWEEP_MOVES,
			      .left = PURGE_PIECES};

	if (slab_store.sparse_slots - idle > CALM_SLOTS + idle / 4)
		sweep.purges = 0;
	for (unsigned int class = 1; class < CLASS_END && sweep.moves; class += 1) {
		while (sweep_some(class, BUCKET_IDLE, &sweep))
			;
		while (sweep_some(class, BUCKET_TOUCHED, &sweep))
			;
	}
}
