// SPDX-License-Identifier: BSD-3-Clause

/*
 * Guarded blocks: slots and their blocks.
 *
 * 1. All slots are in one reserved area, inaccessible except for the pages of live blocks. So the
 *    address alone tells whether a pointer is to a guarded block.
 * 2. A block lies at the left or at the right edge of its slot, at random: half of the blocks have
 *    a guard at their end, the others at their start. Alignment may leave some bytes between a
 *    block and the right edge. These, and the rest of its pages, have a pattern that is verified on
 *    free.
 * 3. A freed block is inaccessible, and its slot goes to the end of a queue of all free slots.
 * 4. Stacks of allocation and free stay until the slot is reused.
 * 5. If the kernel refuses to open a slot, nothing is guarded. If it refuses to close one, the
 *    block stays accessible, and its use is not noticed, until the slot is closed the next time.
 */

#include "guard_core.h"

#include <errno.h>
#include <string.h>

#include "hash.h"
#include "helpers.h"
#include "slab/slab.h"

/* ---- Slots ---- */

static struct guard_slot *slot_of(const void *p)
{
	return &guard->slots[guard_slot_index((uintptr_t)p)];
}

static uint32_t next_state(uint32_t old, enum guard_state state)
{
	return ((old >> GUARD_STATE_BITS) + 1) << GUARD_STATE_BITS | state;
}

/* Only the thread that has taken the slot, or has made it busy, calls this. */
static void set_state(struct guard_slot *s, enum guard_state state)
{
	s->state = next_state(s->state, state);
}

/* Make a live block busy. False: another thread has just done it. */
static bool begin_free(struct guard_slot *s)
{
	uint32_t old = s->state;

	return guard_state_in(old) == SLOT_LIVE &&
	       atomic_compare_exchange_strong(&s->state, &old, next_state(old, SLOT_BUSY));
}

/* Take the slot that has been free for the longest time. False: none is free. */
static bool take_slot(size_t *taken)
{
	uint64_t oldest = GUARD_TAKEN;

	for (size_t i = 0; i < GUARD_SLOTS; i++) {
		uint64_t freed = guard->queue[i];

		if (freed < oldest) {
			oldest = freed;
			*taken = i;
		}
	}
	if (oldest == GUARD_TAKEN)
		return false;
	/* If another thread has just taken it, this thread guards nothing. */
	return atomic_compare_exchange_strong(&guard->queue[*taken], &oldest, GUARD_TAKEN);
}

static void put_slot(size_t i)
{
	guard->queue[i] = ++guard->frees;
}

/* ---- The pattern: rule 2 ---- */

/* The two ranges of a block's pages that are not the block. */
struct rest {
	char *before, *behind;
	size_t before_size, behind_size;
};

static struct rest rest_of(const struct guard_block *b)
{
	uintptr_t end = b->start + b->size;

	return (struct rest){.before = (char *)b->pages,
			     .before_size = b->start - b->pages,
			     .behind = (char *)end,
			     .behind_size = b->pages + b->pages_size - end};
}

static void fill_rest(const struct guard_block *b)
{
	struct rest r = rest_of(b);

	memset(r.before, guard->pattern, r.before_size);
	memset(r.behind, guard->pattern, r.behind_size);
}

/* Whether all bytes have the pattern: the first has, and each equals the one before. */
static bool has_pattern(const char *at, size_t size)
{
	return !size || ((unsigned char)*at == guard->pattern && memcmp(at, at + 1, size - 1) == 0);
}

static bool is_rest_intact(const struct guard_block *b)
{
	struct rest r = rest_of(b);

	return has_pattern(r.before, r.before_size) && has_pattern(r.behind, r.behind_size);
}

/* Name the overwritten byte that is nearest to the block. */
static __attribute__((noreturn, cold)) void bad_rest(const char *call, struct guard_slot *s)
{
	struct rest r = rest_of(&s->block);
	size_t behind = 0, before = 0;

	while (behind < r.behind_size && has_pattern(r.behind + behind, 1))
		behind++;
	if (behind < r.behind_size)
		guard_damaged(call, s, behind + 1, "behind");
	while (before < r.before_size && has_pattern(r.before + r.before_size - before - 1, 1))
		before++;
	guard_damaged(call, s, before + 1, "before");
}

static void check_rest(const char *call, struct guard_slot *s)
{
	if (!is_rest_intact(&s->block))
		bad_rest(call, s);
}

/* ---- Blocks ---- */

/* Choose a place for a block of size bytes in slot i. */
static struct guard_block place_block(size_t i, size_t size, size_t align)
{
	bool is_right = hash_full(sys_secret() + ++guard->allocs) >> 63;
	size_t room = round_up(size ? size : 1, align), pages = round_up(room, sys_page_size());
	uintptr_t first = guard_slot_start(i) + (is_right ? guard_slot_size() - pages : 0);

	return (struct guard_block){.start = is_right ? first + pages - room : first,
				    .size = size,
				    .align = align,
				    .pages = first,
				    .pages_size = pages};
}

static void *make_block(size_t i, size_t size, size_t align)
{
	struct guard_block b = place_block(i, size, align);
	struct guard_slot *s = &guard->slots[i];

	if (sys_unprotect((void *)b.pages, b.pages_size) != 0)
		return NULL;
	set_state(s, SLOT_BUSY);
	guard_set_block(&s->block, &b);
	fill_rest(&b);
	memset((void *)b.start, 0, size); /* a page that stayed has another block's bytes */
	guard_note_call(&s->alloc);
	atomic_flag_clear(&s->is_reported);
	set_state(s, SLOT_LIVE);
	return (void *)b.start;
}

void *guard_alloc(size_t size, size_t align)
{
	size_t i;
	void *p;

	if (align < CELL_ALIGN)
		align = CELL_ALIGN;
	if (size > GUARD_BLOCK_MAX || align > sys_page_size() || !guard || guard->is_reporting ||
	    !take_slot(&i))
		return NULL;
	p = make_block(i, size, align);
	if (!p)
		put_slot(i);
	return p;
}

/*
 * Make the block inaccessible: rule 5. A single page stays in memory, which takes 5 us for each
 * block instead of 7.5; more pages are released.
 */
static void close_slot(struct guard_slot *s)
{
	size_t page = sys_page_size();
	void *start = (void *)s->block.pages;
	size_t size = s->block.pages_size;

	if (s->is_open) { /* the kernel refused to close an earlier block: close the whole slot */
		start = (void *)guard_slot_start((size_t)(s - guard->slots));
		size = guard_slot_size();
	}
	if (size > page)
		s->is_open = sys_discard(start, size) != 0 && sys_protect(start, size) != 0;
	else
		s->is_open = sys_protect(start, size) != 0 && sys_discard(start, size) != 0;
}

/* The slot of p; NULL, after a report, if p is not the start of a live block. */
static struct guard_slot *live_slot(const char *call, void *p)
{
	struct guard_slot *s = slot_of(p);

	if (guard_state_of(s) == SLOT_LIVE && s->block.start == (uintptr_t)p)
		return s;
	guard_bad_pointer(call, p);
	return NULL;
}

void guard_release(const char *call, void *p)
{
	struct guard_slot *s = live_slot(call, p);
	int saved_errno = errno;

	if (!s)
		return;
	if (!begin_free(s)) {
		guard_bad_pointer(call, p);
		return;
	}
	check_rest(call, s); /* not before: another thread that frees the block closes its pages */
	guard_note_call(&s->free);
	set_state(s, SLOT_FREED);
	close_slot(s);
	put_slot((size_t)(s - guard->slots));
	errno = saved_errno;
}

bool guard_is_block(const char *call, void *p)
{
	return live_slot(call, p);
}

size_t guard_usable_size(const char *call, void *p)
{
	const struct guard_slot *s = live_slot(call, p);

	return s ? s->block.size : 0;
}

bool guard_shrink(const char *call, void *p, size_t size)
{
	struct guard_slot *s = live_slot(call, p);

	if (!s || size > s->block.size)
		return false;
	check_rest(call, s);
	memset((char *)p + size, guard->pattern, s->block.size - size);
	s->block.size = size;
	return true;
}

bool guard_check_size(const char *call, void *p, size_t size)
{
	struct guard_slot *s = live_slot(call, p);

	if (s && size != s->block.size)
		guard_bad_size(call, s, size);
	return s && size == s->block.size;
}

bool guard_check_align(const char *call, void *p, size_t align)
{
	struct guard_slot *s = live_slot(call, p);

	if (!s)
		return false;
	if (!(align & (align - 1)) && align <= s->block.align)
		return true;
	guard_bad_align(call, s, align);
	return false;
}

/* ---- All blocks ---- */

void guard_list(struct item_list *list)
{
	for (size_t i = 0; guard && i < GUARD_SLOTS; i++) {
		struct guard_block b;

		if (guard_copy_block(&guard->slots[i], &b) == SLOT_LIVE)
			item_list_add(list, &(struct osmem_item){.kind = OSMEM_MAPPED,
								 .heap = OSMEM_LIBC,
								 .start = (const void *)b.start,
								 .size = b.size,
								 .status = 2,
								 .payload = b.size,
								 .mapping = b.pages_size});
	}
}

void guard_each_range(void (*visit)(const void *start, size_t size, void *arg), void *arg)
{
	if (!guard)
		return;
	visit((const void *)guard_area.start, guard_area.size, arg);
	visit(guard, sizeof(*guard), arg);
}

void guard_get_stats(struct guard_stats *stats)
{
	*stats = (struct guard_stats){0};
	for (size_t i = 0; guard && i < GUARD_SLOTS; i++) {
		struct guard_block b;

		if (guard_copy_block(&guard->slots[i], &b) != SLOT_LIVE)
			continue;
		stats->blocks++;
		stats->bytes += b.pages_size;
	}
}

/* G1 */
static bool is_at_edge(size_t i)
{
	const struct guard_block *b = &guard->slots[i].block;
	uintptr_t start = guard_slot_start(i);

	return b->pages == start || b->pages + b->pages_size == start + guard_slot_size();
}

static bool is_within(const struct guard_block *b)
{
	return b->start >= b->pages && b->start + b->size <= b->pages + b->pages_size;
}

const char *guard_check(void)
{
	for (size_t i = 0; guard && i < GUARD_SLOTS; i++) {
		const struct guard_slot *s = &guard->slots[i];

		if ((guard_state_of(s) == SLOT_LIVE) != (guard->queue[i] == GUARD_TAKEN))
			return "G3: a guarded block is live and waits, or neither";
		if (guard_state_of(s) != SLOT_LIVE)
			continue;
		if (!is_at_edge(i) || !is_within(&s->block))
			return "G1: a guarded block is not at an edge of its slot";
		if (!is_rest_intact(&s->block))
			return "G2: memory around a guarded block is overwritten";
	}
	return NULL;
}

/* ---- Begin ---- */

bool guard_begin(void)
{
	size_t page = sys_page_size(), size = page + GUARD_SLOTS * (guard_slot_size() + page);
	struct guard *made;
	void *area;

	if (guard)
		return true;
	made = sys_map(sizeof(*made));
	area = made ? sys_reserve(NULL, size) : NULL;
	if (!area) {
		if (made)
			sys_release(made, sizeof(*made));
		errno = ENOMEM;
		return false;
	}
	made->pattern = (unsigned char)(sys_secret() >> 56 | 0x80);
	guard = made;
	guard_area.start = (uintptr_t)area;
	guard_area.size = size;
	guard_report_begin();
	guard_signal_begin();
	return true;
}
