// SPDX-License-Identifier: BSD-3-Clause

/*
 * Whole pages between live cells are purged.
 *
 * 1. A trim purges every page that no live cell overlaps.
 * 2. Every other sweep and every early one purges sparse slabs, more than three quarters free, that
 *    have been idle since the last such sweep, and files untouched ones as idle. It visits no other
 *    slabs, and a bounded number of these. While many sparse slabs are touched, it purges nothing:
 *    a busy process soon frees or uses most of them.
 * 3. A slab that was purged and used again waits for every second such sweep, then every fourth,
 *    and so on: page faults would cost more than the memory is worth.
 * 4. Purging erases CELL_FREED, so the slab is closed to the fast path: S6, S10. A free cell that
 *    has already lost its mark is in use.
 */

#include "slab_core.h"
#include "tunables.h"
#include "zero.h"

/* The remaining budget of a sweep. */
struct sweep {
	uint32_t nr; /* number of this sweep */
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
 * Mark a free cell of an unmarked page; hardened, it stays zero. A purged cell is zero, and any
 * other value is a stray write, which malloc reports. In a forked child, unwritten freed cells have
 * any contents.
 */
static void mark_cell(void *cell)
{
	if (slab_store.is_hardened)
		return;
	if (slab_store.is_child || !*cell_word(cell))
		*cell_word(cell) = CELL_FREED;
}

/* Mark the free cells of an unmarked page. */
static void mark_page(struct slab *s, size_t page)
{
	size_t size = slab_classes[s->class].size, i = (page * PAGE_BYTES + size - 1) / size;

	for (; i < s->carved && i * size < (page + 1) * PAGE_BYTES; i++)
		if (slab_is_in_store(s, i))
			mark_cell(slab_start(s) + i * size);
	atomic_thread_fence(memory_order_release); /* see slab_fork.c */
	s->unmarked &= ~((uint64_t)1 << page);
}

static void mark_pages(struct slab *s, uint64_t pages)
{
	for (pages &= s->unmarked; pages; pages &= pages - 1)
		mark_page(s, (size_t)__builtin_ctzll(pages));
}

/*
 * Mark n free cells of closed slab s, which go to a cache, and all other free cells of their pages:
 * once a page is in use, a zero in a free cell may be data of a user who got the cell by a double
 * free. When few cells are left, mark all and open the slab. It still counts as purged until a cell
 * returns; otherwise a trim and its users would alternate. In a forked child, open the slab at
 * once, unless that would fill purged pages.
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
		segment_set_page_map(s, slab_bin_of(s->class));
}

/* Whether no cell outside of the store overlaps [from, to) of slab s. */
static bool is_range_free(const struct slab *s, size_t from, size_t to)
{
	size_t size = slab_classes[s->class].size;

	for (size_t i = from / size; i < s->carved && i * size < to; i++)
		if (!slab_is_in_store(s, i))
			return false;
	return true;
}

/* Advance [*from, *to) to the next free whole pages of s. False if there are none. */
static bool next_free_pages(const struct slab *s, size_t *from, size_t *to)
{
	size_t page = sys_page_size(), bytes = slab_classes[s->class].slots * SLAB_SIZE;

	for (*from = *to; *from < bytes && !is_range_free(s, *from, *from + page); *from += page)
		;
	for (*to = *from; *to < bytes && is_range_free(s, *to, *to + page); *to += page)
		;
	return *from < bytes;
}

/* Hardened: report a write to the free pages [from, to) of s. */
static void require_zero(const struct slab *s, size_t from, size_t to)
{
	const void *written = NULL;

	for (; from < to && !written; from += PAGE_BYTES)
		if (!(s->unmarked >> from / PAGE_BYTES & 1))
			written = first_not_zero(slab_start(s) + from, PAGE_BYTES);
	if (!written)
		return;
	slab_leave(s->class);
	sys_fatal("malloc", written, "this free memory was written to");
}

/*
 * Make the pages [from, to) of s unmarked; require the marks of their free cells first, or hardened
 * that they are zero.
 */
static void unmark_pages(struct slab *s, size_t from, size_t to)
{
	size_t size = slab_classes[s->class].size, first = (from + size - 1) / size;

	if (slab_store.is_hardened && s->class < CLASS_COUNT)
		require_zero(s, from, to);

	for (size_t i = first; slab_has_marks(s->class) && i < s->carved && i * size < to; i++)
		if (!(s->unmarked & slab_page_bit(s, slab_start(s) + i * size)))
			slab_require_mark(s, slab_start(s) + i * size);
	for (; from < to; from += PAGE_BYTES)
		s->unmarked |= (uint64_t)1 << from / PAGE_BYTES;
	atomic_thread_fence(memory_order_release); /* see slab_fork.c */
}

/*
 * Purge the free whole pages of s, run by run; returns whether any was purged. Refused pages count
 * as purged until the slab is used again. *is_locked: all were refused.
 */
static bool purge_free_pages(struct slab *s, size_t *left, bool *is_locked)
{
	size_t from, to = 0;
	bool is_any = false, is_refused = false, was_closed = slab_is_closed(s);

	/* For a fork: close the slab before marks disappear. */
	s->is_next_marked = false;
	if (s->free)
		segment_set_page_map(s, 0);
	while (next_free_pages(s, &from, &to)) {
		if (s->free)
			unmark_pages(s, from, to);
		if (segment_purge_apart(slab_start(s) + from, to - from, left) == 0)
			is_any = true;
		else
			is_refused = true;
	}
	s->is_purged = true;
	if (!is_any && !is_refused && !was_closed) /* part of a refused run may be purged */
		segment_set_page_map(s, slab_bin_of(s->class));
	*is_locked = is_refused && !is_any;
	return is_any;
}

/* Trims: rule 1. */

static bool trim_list(struct slab_class *c, struct slab *s, size_t *left)
{
	bool is_any = false, is_locked;
	struct slab *next;

	for (; s; s = next) {
		slab_validate(c, s);
		next = s->next;
		is_locked = s->is_locked;
		if (!s->is_purged || s->is_locked)
			is_any |= purge_free_pages(s, left, &is_locked);
		if (s->group == GROUP_TOUCHED || s->group == GROUP_IDLE)
			slab_move(c, s, GROUP_PURGED);
		/* GROUP_PURGED is not counted as sparse. */
		s->is_locked = is_locked && s->group == GROUP_PURGED;
	}
	return is_any;
}

bool slab_trim_pages(unsigned int class)
{
	struct slab_class *c = &slab_class_states[class];
	size_t left = PURGE_PIECES;
	bool is_any = false, is_locked;

	slab_enter(class);
	for (unsigned int i = 0; i < SLAB_SHARDS * GROUPS; i++)
		is_any |= trim_list(c, slab_lists(c, i / GROUPS)->partial[i % GROUPS], &left);
	/* Carving slabs without a free cell are in no list, but may have dirty pages to carve. */
	for (unsigned int i = 0; i < SLAB_SHARDS; i++) {
		struct slab *s = slab_lists(c, i)->carving;

		if (!s || s->free)
			continue;
		slab_validate(c, s);
		if (!s->is_fresh && !s->is_purged)
			is_any |= purge_free_pages(s, &left, &is_locked);
	}
	slab_leave(class);
	return is_any;
}

/* Bytes of free pages that the list from s on could still purge. */
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
		for (unsigned int i = 0; i < SLAB_SHARDS * GROUPS; i++)
			free += free_bytes_of(slab_lists(c, i / GROUPS)->partial[i % GROUPS]);
		slab_leave(class);
	}
	return free;
}

/* Sweeps: rules 2 and 3. */

static struct slab *first_in(const struct slab_class *c, enum fullness_group group)
{
	for (unsigned int i = 0; i < SLAB_SHARDS; i++)
		if (slab_lists(c, i)->partial[group])
			return slab_lists(c, i)->partial[group];
	return NULL;
}

/* Purge idle slab s, or postpone it. */
static void sweep_slab(struct slab_class *c, struct slab *s, struct sweep *sweep)
{
	bool is_locked = s->is_locked;

	sweep->moves--;
	if (!s->is_purged && sweep->nr & ((1u << s->purges) - 1)) {
		slab_move(c, s, GROUP_TOUCHED);
		return;
	}
	if (!s->is_purged) {
		purge_free_pages(s, &sweep->left, &is_locked);
		sweep->purges--;
		if (s->purges < PURGES_MAX)
			s->purges++;
	}
	slab_move(c, s, GROUP_PURGED);
	s->is_locked = is_locked; /* GROUP_PURGED is not counted as sparse */
}

/* Handle up to SWEEP_HOLD slabs of class in group. Returns whether there may be more. */
static bool sweep_some(unsigned int class, enum fullness_group group, struct sweep *sweep)
{
	struct slab_class *c = &slab_class_states[class];
	unsigned int n = 0;
	struct slab *s;

	slab_enter(class);
	for (; n < SWEEP_HOLD && sweep->moves && (s = first_in(c, group)); n++) {
		if (group == GROUP_IDLE && !sweep->purges)
			break;
		slab_validate(c, s);
		if (group == GROUP_TOUCHED) {
			sweep->moves--;
			slab_move(c, s, GROUP_IDLE);
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
		while (sweep_some(class, GROUP_IDLE, &sweep))
			;
		while (sweep_some(class, GROUP_TOUCHED, &sweep))
			;
	}
}
