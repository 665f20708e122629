// SPDX-License-Identifier: BSD-3-Clause

/*
 * Slabs and their cells.
 *
 * 1. Each shard has its own slabs. It takes cells from its fullest partial slab, lowest addresses
 *    first, then carves new ones. So emptying slabs become empty. A shard without cells adopts the
 *    emptiest slab of another shard, or makes a new slab.
 * 2. Returned cells are checked against the slab's bits: a cell that is free or was never carved
 *    ends the process.
 * 3. A slab whose carved cells are all free is released at once; segment.c keeps its pages for a
 *    while.
 */

#include "slab.h"

#include <errno.h>
#include <string.h>

#include "slab_core.h"
#include "tunables.h"

static bool has_surplus(const struct slab_class *c, unsigned int class)
{
	return (c->slabs * slab_classes[class].capacity - c->out) * slab_classes[class].size >
	       SURPLUS_BYTES;
}

/* The fullest partial slab of shard, or NULL. */
static struct slab *find_partial(struct slab_class *c, unsigned int shard)
{
	for (int i = 0; i < GROUPS; i++)
		if (slab_lists(c, shard)->partial[i])
			return slab_lists(c, shard)->partial[i];
	return NULL;
}

/* Taking cells. */

/* Take up to n free cells of s, which has one at least. */
static unsigned int take_free(struct slab_class *c, struct slab *s, void **cells, unsigned int n)
{
	size_t size = slab_classes[s->class].size;
	char *start = slab_start(s);
	unsigned int taken = 0;

	slab_validate(c, s);
	while (taken < n && s->summary) {
		size_t word = (size_t)__builtin_ctzll(s->summary);
		uint64_t *bits = slab_bits(s, word), left = *bits;

		if (!left || word * 64 + 63 - (size_t)__builtin_clzll(left) >= s->carved)
			slab_damaged(c, s);
		for (; left && taken < n; left &= left - 1)
			cells[taken++] = start + (word * 64 + (size_t)__builtin_ctzll(left)) * size;
		*bits = left;
		if (!left)
			s->summary &= s->summary - 1;
	}
	if (taken > s->free || !s->summary != (taken == s->free))
		slab_damaged(c, s);
	s->free = (uint16_t)(s->free - taken);
	if (slab_is_closed(s) && s->class < CLASS_COUNT)
		slab_open(s, cells, taken);
	if (!s->free)
		slab_unlink(c, s);
	else if (s->group != slab_group(s))
		slab_move(c, s, slab_group(s));
	return taken;
}

static uint64_t *next_word(const struct slab *s)
{
	return cell_word(slab_start(s) + (size_t)s->carved * slab_classes[s->class].size);
}

/*
 * Cells have CELL_FREED from when they are carved, and so does the next one to carve: a free of
 * these cells is detected, and so is an overflow into the next one.
 */
static void check_next_mark(const struct slab *s)
{
	uint64_t *word = next_word(s);

	if (!s->is_next_marked || *word == CELL_FREED)
		return;
	slab_leave(s->class);
	sys_fatal("malloc", word, "this free block was written to");
}

/* Carve up to n cells of s, which has one at least. */
static unsigned int carve_from(struct slab *s, void **cells, unsigned int n)
{
	unsigned int capacity = slab_classes[s->class].capacity, taken;
	bool has_marks = slab_has_marks(s->class);

	check_next_mark(s);
	s->is_next_marked = false;
	for (taken = 0; taken < n && s->carved < capacity; taken++, s->carved++) {
		cells[taken] = next_word(s);
		if (has_marks)
			*cell_word(cells[taken]) = CELL_FREED;
	}
	if (!has_marks || s->carved == capacity)
		return taken;
	*next_word(s) = CELL_FREED;
	atomic_thread_fence(memory_order_release); /* see slab_fork.c */
	s->is_next_marked = true;
	return taken;
}

/* Carve up to n cells; *fresh as in slab_take_locked. */
static unsigned int carve(struct slab_class *c, unsigned int class, unsigned int shard,
			  void **cells, unsigned int n, bool *fresh)
{
	struct slab *s = slab_lists(c, shard)->carving;
	unsigned int taken;

	if (!s) {
		s = segment_take(class);
		if (!s)
			return 0;
		atomic_store_explicit(&s->shard, (uint8_t)shard, memory_order_relaxed);
		slab_lists(c, shard)->carving = s;
		c->slabs++;
	} else {
		slab_validate(c, s);
	}
	*fresh = s->is_fresh;
	taken = carve_from(s, cells, n);
	if (s->carved == slab_classes[class].capacity)
		slab_lists(c, shard)->carving = NULL;
	slab_set_checksum(s);
	return taken;
}

unsigned int slab_take_own_locked(unsigned int class, unsigned int shard, void **cells,
				  unsigned int n, bool *fresh)
{
	struct slab_class *c = &slab_class_states[class];
	bool is_carved_fresh = false;
	unsigned int taken = 0, freed;
	struct slab *s;

	while (taken < n && c->partial_count && (s = find_partial(c, shard)))
		taken += take_free(c, s, cells + taken, n - taken);
	freed = taken;
	while (taken < n && slab_lists(c, shard)->carving)
		taken += carve(c, class, shard, cells + taken, n - taken, &is_carved_fresh);
	c->out += taken;
	if (fresh)
		*fresh = !freed && is_carved_fresh;
	return taken;
}

unsigned int slab_take_locked(unsigned int class, unsigned int shard, void **cells, unsigned int n,
			      bool *fresh)
{
	struct slab_class *c = &slab_class_states[class];
	unsigned int taken = slab_take_own_locked(class, shard, cells, n, fresh);
	bool is_fresh = false;
	struct slab *s;

	if (taken)
		return taken;
	s = slab_adopt(c, shard, has_surplus(c, class));
	if (s)
		taken = take_free(c, s, cells, n);
	else
		taken = carve(c, class, shard, cells, n, &is_fresh);
	if (!taken && slab_adopt_any(c, shard))
		return slab_take_own_locked(class, shard, cells, n, fresh);
	c->out += taken;
	if (fresh)
		*fresh = is_fresh;
	return taken;
}

/* Returning cells. */

static __attribute__((noreturn, cold)) void bad_cell(unsigned int class, void *cell, bool is_free)
{
	slab_leave(class);
	sys_fatal("free", cell, is_free ? "this block is already free" : "not a block");
}

static struct slab *slab_of(const void *cell)
{
	struct segment *g = segment_of(cell);

	return &g->slabs[g->first[((uintptr_t)cell >> SLAB_SHIFT) % SEGMENT_SLOTS]];
}

unsigned int slab_shard_of(const void *cell)
{
	return atomic_load_explicit(&slab_of(cell)->shard, memory_order_relaxed) % SLAB_SHARDS;
}

/* Whether the bits of all carved cells are set. */
static bool has_all_bits(const struct slab *s)
{
	size_t i, words = s->carved / 64, rest = s->carved % 64;

	for (i = 0; i < words; i++)
		if (~*slab_bits(s, i))
			return false;
	return !rest || *slab_bits(s, i) == ((uint64_t)1 << rest) - 1;
}

static void give_up(struct slab_class *c, struct slab *s)
{
	if (!has_all_bits(s))
		slab_damaged(c, s);
	slab_unlink(c, s);
	if (slab_lists(c, s->shard)->carving == s)
		slab_lists(c, s->shard)->carving = NULL;
	c->slabs--;
	segment_give(s);
}

/* The place of an address by its class: in the i-th cell of slab. */
struct cell_place {
	struct slab *slab;
	uint64_t *bits; /* the word with its bit */
	size_t i;
	bool is_start;
};

static inline struct cell_place place_of(const struct class_info *info, const void *cell)
{
	size_t slots = info->slots, offset = (uintptr_t)cell & (slots * SLAB_SIZE - 1);
	size_t slot = ((uintptr_t)cell >> SLAB_SHIFT) % SEGMENT_SLOTS & -slots;
	size_t i = offset * info->reciprocal >> RECIPROCAL_SHIFT;
	struct segment *g = segment_of(cell);

	return (struct cell_place){
		.slab = &g->slabs[slot],
		.bits = segment_bits(g, info, slot, i / 64),
		.i = i,
		.is_start = i * info->size == offset,
	};
}

/* Report why cell cannot return to slab s of class c. */
static __attribute__((noreturn, cold)) void refuse(const struct slab_class *c, const struct slab *s,
						   void *cell)
{
	unsigned int class = (unsigned int)(c - slab_class_states);
	struct cell_place place = place_of(&slab_classes[class], cell);
	const struct segment *g = segment_of(s);

	if (g->cells >> (s - g->slabs) & 1)
		slab_validate(c, s);
	if (s->class == class && (!place.is_start || place.i >= s->carved))
		bad_cell(class, cell, false);
	bad_cell(class, cell, true);
}

/* s got a cell and has to change its group, or all its carved cells are free. */
static __attribute__((noinline)) void refile(struct slab_class *c, struct slab *s)
{
	slab_validate(c, s);
	if (s->free > s->carved || segment_of(s)->first[s->slot] != s->slot)
		slab_damaged(c, s);
	if (s->free == 1)
		slab_link(c, s);
	else if (s->group != slab_group(s))
		slab_move(c, s, slab_group(s));
	if (s->free == s->carved)
		give_up(c, s);
}

/*
 * Return cell to its slab of class c. The checksum is validated only where links of the header are
 * followed; the other fields have to agree with the cell and the bits.
 */
static inline __attribute__((always_inline)) void give(struct slab_class *c,
						       const struct class_info *info, void *cell)
{
	struct cell_place place = place_of(info, cell);
	struct slab *s = place.slab;
	uint64_t bit = (uint64_t)1 << place.i % 64, *word = place.bits;

	if (s->class != (uint16_t)(c - slab_class_states) || !place.is_start ||
	    place.i >= s->carved || *word & bit)
		refuse(c, s, cell);
	*word |= bit;
	s->summary |= (uint64_t)1 << place.i / 64;
	s->is_purged = false;
	s->free++;
	if (s->free == 1 || s->free >= s->carved || s->group > GROUP_TOUCHED ||
	    s->free * QUARTERS > (s->group + 1u) * info->capacity)
		refile(c, s);
}

/* Find and report the cell among n that has lost its mark: it is in use, or is not a cell. */
static __attribute__((noinline, cold)) void give_unmarked(unsigned int class, void *const *cells,
							  unsigned int n)
{
	for (unsigned int i = 0; i < n; i++) {
		struct cell_ref cell = slab_find(cells[i]);

		if (cell.state == CELL_LIVE && cell.class == class)
			slab_require_mark(slab_of(cells[i]), cells[i]);
		give(&slab_class_states[class], &slab_classes[class], cells[i]);
	}
}

void slab_give_locked(unsigned int class, void *const *cells, unsigned int n)
{
	struct slab_class *c = &slab_class_states[class];
	const struct class_info info = slab_classes[class]; /* a copy stays in registers */
	uint64_t lost = 0;

	/* Prefetch the headers of many slabs: the cache misses overlap. */
	for (unsigned int i = 0; i < n; i++) {
		struct cell_place place = place_of(&info, cells[i]);

		__builtin_prefetch(place.bits, 1);
		__builtin_prefetch(place.slab, 1);
		lost |= *cell_word(cells[i]) ^ CELL_FREED;
	}
	if (__builtin_expect(lost && slab_has_marks(class), 0))
		give_unmarked(class, cells, n);
	else
		for (unsigned int i = 0; i < n; i++)
			give(c, &info, cells[i]);
	c->out -= n;
}

void *slab_take(unsigned int class, unsigned int shard, bool *fresh)
{
	void *cell = NULL;

	slab_enter(class);
	slab_take_locked(class, shard, &cell, 1, fresh);
	slab_leave(class);
	return cell;
}

void slab_give(unsigned int class, void *cell)
{
	slab_enter(class);
	slab_give_locked(class, &cell, 1);
	slab_leave(class);
}

bool slab_is_child(void)
{
	return slab_store.is_child;
}

bool slab_give_unwritten(unsigned int class, void *cell)
{
	struct slab_class *c = &slab_class_states[class];
	bool is_closed;

	if (!slab_store.is_child || slab_bin(cell))
		return false;
	slab_enter(class);
	is_closed = !slab_bin(cell);
	if (is_closed) {
		slab_of(cell)->unmarked |= slab_page_bit(slab_of(cell), cell);
		atomic_thread_fence(memory_order_release); /* see slab_fork.c */
		give(c, &slab_classes[class], cell);
		c->out--;
	}
	slab_leave(class);
	return is_closed;
}

/* Classifying pointers. */

struct cell_ref slab_find(const void *p)
{
	struct cell_ref ref = {.state = CELL_NONE};
	const struct slab *s;
	size_t i;

	if (!segment_is_in(p, SET_LIVE))
		return ref;
	s = slab_of(p);
	if (!(segment_of(p)->cells >> ((uintptr_t)p >> SLAB_SHIFT) % SEGMENT_SLOTS & 1) ||
	    !s->class || s->class >= CLASS_COUNT)
		return ref;
	i = place_of(&slab_classes[s->class], p).i;
	ref.class = s->class;
	ref.start = slab_start(s) + i * slab_classes[s->class].size;
	if (i >= s->carved)
		return ref;
	if (slab_is_in_store(s, i))
		ref.state = CELL_FREE;
	else
		ref.state = ref.start == p ? CELL_LIVE : CELL_INSIDE;
	return ref;
}
