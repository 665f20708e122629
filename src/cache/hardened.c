// SPDX-License-Identifier: BSD-3-Clause

#include "hardened.h"

#include <errno.h>
#include <string.h>

#include "canary.h"
#include "large/large.h"
#include "quarantine.h"
#include "zero.h"
#include "zero_size.h"

/* Validation of what is around a cell. */

static __attribute__((noreturn, cold)) void bad_end(const char *call, void *p, size_t room,
						    uint64_t canary)
{
	size_t padding = padding_of(canary);

	if (!is_canary(canary_of(p, room), canary) || padding > room - CANARY)
		sys_fatal(call, p, "memory behind this block is overwritten");
	sys_fatal(call, p, "memory behind this block of %lu bytes is overwritten",
		  (unsigned long)(room - CANARY - padding));
}

/* Before the first cell of a slab may be a guard page, or a large object. */
static inline bool is_intact_before(const char *p, bool is_first)
{
	const _Atomic(uint64_t) *at = (const _Atomic(uint64_t) *)(const void *)(p - CANARY);

	return !start_faults(at, is_first ? slab_word_before(p)
					  : atomic_load_explicit(at, memory_order_relaxed));
}

static inline bool is_first_of_slab(const void *p)
{
	return (uintptr_t)p % SLAB_SIZE == 0;
}

static __attribute__((noreturn, cold)) void bad_start(const char *call, void *p)
{
	sys_fatal(call, p, "memory before this block is overwritten");
}

/* Quarantine: rule 2. */

static __attribute__((noinline)) void put_without_cache(unsigned int class, void *cell);

/* Put cell, which is zero, into a random place of the quarantine; free what was there. */
static inline void put(unsigned int class, void *cell)
{
	struct tcache *tc = tcache_thread.own;
	struct bin *bin = &tc->bins[class];
	void **place, *leaves;

	if (__builtin_expect((uintptr_t)tc <= (uintptr_t)TCACHE_ENDED || !tc->quarantine, 0)) {
		put_without_cache(class, cell);
		return;
	}
	place = &tc->quarantine
			 ->cells[class][quarantine_random(tc->quarantine, quarantine_sizes[class])];
	leaves = *place;
	if (__builtin_expect(!leaves, 0))
		quarantine_set_count(tc->quarantine, class, tc->quarantine->count[class] + 1u);
	/* For a fork: a cell in quarantine is zero and counted. */
	atomic_signal_fence(memory_order_release);
	*place = cell;
	if (__builtin_expect(!leaves, 0))
		return;
	if (__builtin_expect((uintptr_t)bin->top % MAGAZINE_SIZE == 0, 0)) {
		tcache_put_cell(class, leaves);
	} else {
		bin_push(bin, leaves);
		tc->frees++;
	}
}

static void put_without_cache(unsigned int class, void *cell)
{
	struct tcache *tc = tcache_own();

	if (tc && tc->quarantine)
		put(class, cell);
	else
		tcache_put_cell(class, cell);
}

/* Cells. */

/* Make cell, which has room bytes, a live block of size bytes. Reports a write after free. */
static inline __attribute__((always_inline)) void *open_room(void *cell, size_t room, size_t size)
{
	size_t padding = room - CANARY - size;

	atomic_signal_fence(memory_order_release); /* for a fork: cell has left its magazine */
	if (__builtin_expect(claim(cell, room, padding) != 0, 0))
		sys_fatal("malloc", cell, "this free block was written to");
	return write_canary_claimed(cell, room, size, padding);
}

static __attribute__((noinline)) void *open_cell(unsigned int class, void *cell, size_t size)
{
	return open_room(cell, slab_classes[class].size, size);
}

static void *alloc_cell(unsigned int class, size_t size)
{
	void *cell = tcache_take_cell(class, NULL);

	return cell ? open_cell(class, cell, size) : NULL;
}

static __attribute__((noinline, cold)) unsigned int live_class_slow(const char *call, void *p)
{
	struct cell_ref cell = slab_find(p);

	if (cell.state == CELL_NONE)
		return 0;
	if (cell.state == CELL_LIVE && load_canary(p, slab_classes[cell.class].size))
		return cell.class;
	tcache_bad_pointer(call, p, &cell);
	return CLASS_BAD;
}

/* The class of the live cell p, 0, or CLASS_BAD: tcache_live_class. A freed one has canary 0. */
static inline unsigned int live_class(const char *call, void *p)
{
	unsigned int class = slab_class_of(p);

	if (__builtin_expect(class && load_canary(p, slab_classes[class].size), 1))
		return class;
	return live_class_slow(call, p);
}

/* Validate the live block at p. Returns its size. */
static inline __attribute__((always_inline)) size_t cell_size(const char *call, void *p,
							      unsigned int class)
{
	size_t room = slab_classes[class].size;
	uint64_t canary = load_canary(p, room);

	if (__builtin_expect(!is_intact_before(p, is_first_of_slab(p)), 0))
		bad_start(call, p);
	if (__builtin_expect(!is_intact(p, room, canary), 0))
		bad_end(call, p, room, canary);
	return room - CANARY - padding_of(canary);
}

/* Entry points. */

__attribute__((noinline)) void *hardened_alloc(size_t size, size_t align)
{
	unsigned int class = size > CELL_MAX ? CLASS_COUNT : tcache_class_of(room_for(size), align);
	void *p = size || align > CELL_ALIGN ? NULL : zero_size_alloc();

	if (!p && class < CLASS_COUNT)
		p = alloc_cell(class, size);
	if (!p)
		p = tcache_alloc_other(tcache_own(), size, align, true);
	if (!p && class < CLASS_COUNT) /* tcache_reclaim has returned everything to the store */
		p = alloc_cell(class, size);
	return p;
}

void *hardened_malloc(size_t size)
{
	struct tcache *tc = tcache_thread.own;
	struct bin *bin;
	unsigned int class;
	void *cell;

	if (__builtin_expect(size - 1 >= CELL_MAX - CANARY, 0) ||
	    __builtin_expect((uintptr_t)tc <= (uintptr_t)TCACHE_ENDED || tc->polls, 0))
		return hardened_alloc(size, CELL_ALIGN);
	class = class_of_size(room_for(size));
	bin = &tc->bins[class];
	cell = *bin->top;
	if (__builtin_expect(cell == MAGAZINE_END, 0))
		return hardened_alloc(size, CELL_ALIGN);
	bin->top++;
	tc->allocs++;
	__builtin_prefetch(*bin->top, 1); /* the next cell, which is read whole */
	if (class > ZERO_FEW / CELL_ALIGN)
		return open_cell(class, cell, size);
	return open_room(cell, class * CELL_ALIGN, size); /* inlined: saves no registers */
}

/* p is a live cell of class, perhaps damaged. */
static __attribute__((noinline)) void free_cell(const char *call, void *p, unsigned int class)
{
	size_t room = slab_classes[class].size;

	cell_size(call, p, class);
	memset(p, 0, room);
	put(class, p);
}

static __attribute__((noinline)) void free_slow(const char *call, void *p)
{
	unsigned int class;

	if (!p)
		return;
	if (zero_size_has(p)) {
		zero_size_free(call, p);
		return;
	}
	class = live_class_slow(call, p);
	if (class == CLASS_BAD)
		return;
	if (class) {
		free_cell(call, p, class);
		return;
	}
	large_free(call, p);
	tcache_note_free();
}

static __attribute__((noinline)) void free_any(const char *call, void *p, uint16_t bin)
{
	unsigned int class = slab_class_in(p, bin);

	if (__builtin_expect(class && load_canary(p, slab_classes[class].size), 1))
		free_cell(call, p, class);
	else
		free_slow(call, p);
}

/* Most cells are small and intact: this path makes no calls, so it saves no registers. */
void hardened_free_in(const char *call, void *p, uint16_t bin)
{
	size_t room = bin; /* up to CELL_FINE_MAX, bin is the cell size */
	unsigned int class = bin / SLAB_BIN_SIZE;
	uint64_t canary;

	if (room - 1 >= ZERO_FEW || is_first_of_slab(p) ||
	    !slab_is_multiple(p, slab_classes[class].magic)) {
		free_any(call, p, bin);
		return;
	}
	canary = load_canary(p, room);
	if (!canary || padding_of(canary) > sizeof(lane) ||
	    __builtin_expect(end_faults((char *)p + room - CANARY, canary), 0) ||
	    __builtin_expect(!is_intact_before(p, false), 0)) {
		free_any(call, p, bin);
		return;
	}
	zero_few(p, room);
	put(class, p);
}

void hardened_free(const char *call, void *p)
{
	hardened_free_in(call, p, slab_bin(p));
}

size_t hardened_usable_size(const char *call, void *p)
{
	unsigned int class;

	if (zero_size_has(p))
		return zero_size_check(call, p) ? 0 : LARGE_BAD;
	class = live_class(call, p);
	if (class == CLASS_BAD)
		return LARGE_BAD;
	return class ? cell_size(call, p, class) : large_usable_size(call, p);
}

/* Whether a block of room bytes may stay in place when it is resized to size. */
static bool may_stay(size_t room, size_t size)
{
	size_t padding = room - CANARY - size;

	return size <= room - CANARY && padding <= PADDING_MAX && padding <= room / 2;
}

/* A block that grows by less than half is likely to grow again: leave room for a few steps. */
static void *alloc_roomy(size_t old, size_t size)
{
	size_t roomy = old + old / 4;
	void *p = NULL;

	if (size > old && size - old <= old / 2 && old > CELL_MAX - CANARY && size <= SYS_MAP_MAX)
		p = large_alloc_growing(size);
	else if (size > old && size < roomy && roomy <= CELL_MAX - CANARY)
		p = alloc_cell(class_of_size(room_for(roomy)), size);
	return p ? p : hardened_malloc(size);
}

static void *move(const char *call, void *p, size_t old, size_t size)
{
	void *q = alloc_roomy(old, size);

	if (!q)
		return NULL;
	memcpy(q, p, old < size ? old : size);
	hardened_free(call, p);
	return q;
}

static void *realloc_large(const char *call, void *p, size_t size)
{
	void *q = size > CELL_MAX - CANARY ? large_resize(call, p, size) : NULL;

	size_t old;

	if (q)
		return q;
	old = large_usable_size(call, p);
	return old == LARGE_BAD ? tcache_refuse() : move(call, p, old, size);
}

void *hardened_realloc(const char *call, void *p, size_t size)
{
	unsigned int class;
	size_t old, room;

	if (zero_size_has(p))
		return zero_size_check(call, p) ? move(call, p, 0, size) : tcache_refuse();
	class = live_class(call, p);
	if (class == CLASS_BAD)
		return tcache_refuse();
	if (!class)
		return realloc_large(call, p, size);
	old = cell_size(call, p, class);
	room = slab_classes[class].size;
	if (may_stay(room, size) && (size >= old || tcache_may_keep(room - CANARY, size)))
		return write_canary(p, room, size);
	return move(call, p, old, size);
}
