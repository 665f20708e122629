// SPDX-License-Identifier: BSD-3-Clause

/*
 * Memory from the kernel (rule 4): one region at the break, and a new one whenever other code has
 * moved the break.
 *
 * sbrk moves the break. A program or tool may have replaced it by a hook that calls os_malloc. So
 * the heap is consistent and unlocked during the call. The hook may change it: the new memory is
 * added to the heap as the hook leaves it. libc's sbrk is not thread-safe: callers hold raise_lock,
 * which is recursive because of hooks.
 */

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "block_core.h"
#include "tunables.h"

/* ---- The lock of sbrk ---- */

static struct {
	_Atomic(uintptr_t) holder; /* &lock_self of the thread, or 0 */
	unsigned int depth; /* how often the holder has it */
	_Atomic(uint32_t) turns; /* how often it was taken and given back */
	_Atomic(uint32_t) waiters;
} raise_lock;

/* The locks that prepare_fork holds; guarded by the heap's lock. */
static bool is_fork_guarded, is_raise_locked;

static atomic_bool is_forking; /* the holder of raise_lock is in fork, not in sbrk */

static bool try_raise_lock(void)
{
	uintptr_t self = (uintptr_t)&lock_self, nobody = 0;

	if (raise_lock.holder != self &&
	    !atomic_compare_exchange_strong(&raise_lock.holder, &nobody, self))
		return false;
	if (raise_lock.depth++ == 0)
		raise_lock.turns++;
	return true;
}

static void unlock_raise(void)
{
	if (--raise_lock.depth)
		return;
	raise_lock.holder = 0;
	raise_lock.turns++;
	if (raise_lock.waiters)
		sys_wake_one(&raise_lock.turns);
}

/*
 * A thread that stays in sbrk for a second is in a hook that waits for this thread. To break the
 * deadlock, this thread continues without the lock. The second is made of short waits, because a
 * stopped process or a changed clock ends one of them early.
 */
static bool lock_raise(void)
{
	bool is_locked = try_raise_lock();

	if (is_locked)
		return true;
	raise_lock.waiters++;
	for (unsigned int i = 0; i < SBRK_WAITS && !is_locked; i++) {
		uint32_t turn = raise_lock.turns;

		is_locked = try_raise_lock();
		if (!is_locked)
			sys_sleep_on(&raise_lock.turns, turn, SBRK_WAIT_NS);
		if (is_forking || turn != raise_lock.turns)
			i = 0;
	}
	raise_lock.waiters--;
	return is_locked;
}

/* ---- Regions ---- */

static struct region *last_region(void)
{
	return course.region_count ? &block_regions[course.region_count - 1] : NULL;
}

void block_update_bounds(void)
{
	links_heap.start = (uintptr_t)block_regions[0].start;
	links_heap.size = (uintptr_t)last_region()->limit - links_heap.start;
}

/* The table index for a region at start. */
static size_t place_of(const char *start)
{
	size_t i = course.region_count;

	while (i > 0 && block_regions[i - 1].start > start)
		i--;
	return i;
}

/* Insert b, the only block of r, into the list. */
static void link_region(const struct region *r, struct block_meta *b)
{
	bool is_last = r == last_region();

	b->next = is_last ? NULL : block_at(r[1].start);
	b->prev = is_last ? course.last : b->next->prev;
	if (b->prev && b->prev->next != b->next)
		block_corrupted(b->prev);
	if (b->prev)
		b->prev->next = b;
	if (b->next)
		b->next->prev = b;
	else
		course.last = b;
}

/* Insert a region of one free block of size bytes at index i of the table. */
static void add_region(size_t i, char *start, char *limit, size_t size)
{
	struct region *r = &block_regions[i];
	struct block_meta *b = block_at(start);

	memmove(r + 1, r, (course.region_count - i) * sizeof(*r));
	b->size = size;
	b->status = STATUS_FREE;
	*r = (struct region){.start = start, .end = block_end(b), .limit = limit};
	atomic_thread_fence(memory_order_release); /* for a fork */
	course.region_count++;
	link_region(r, b);
	block_update_bounds();
	pending_add(&course.pending, b);
	course.stats.regions++;
	course.stats.blocks++;
	course.stats.region_bytes += META + size;
	course.stats.ahead_bytes += (size_t)(limit - r->end);
	block_trace(TRACE_STEP_REGION, 0, b, (uintptr_t)limit, 0);
	block_trace(TRACE_STEP_APPEND, 0, b, size, 0);
}

/*
 * Add size bytes at p, which came from the kernel, and a reserve behind them. The memory stays
 * unused if it overlaps a region, is too small for a block, or if the table is full. That happens
 * only if other code has just moved the break.
 */
static void add_memory(char *p, size_t size, size_t reserve)
{
	struct region *last = last_region();
	char *start = p + (-(uintptr_t)p & (course.grain - 1));
	char *end = p + size, *limit = end + reserve;
	size_t i = place_of(start);

	course.raises++;
	if (last && p == last->limit) {
		course.stats.ahead_bytes += (size_t)(limit - p);
		last->limit = limit;
		block_update_bounds();
		return;
	}
	if ((i > 0 && block_regions[i - 1].limit > start) ||
	    (i < course.region_count && block_regions[i].start < limit))
		return;
	if (i > 0 && block_regions[i - 1].limit == start) /* H5 */
		start += course.grain;
	if (i < course.region_count && block_regions[i].start == limit)
		limit -= course.grain;
	if (end > limit)
		end = limit;
	if (end - start >= (ptrdiff_t)(META + course.grain) && course.region_count < REGIONS_MAX)
		add_region(i, start, limit, ((size_t)(end - start) - META) & ~(course.grain - 1));
}

/* ---- The break ---- */

/* Bytes to add to a growth as reserve. */
static size_t reserve_size(void)
{
	size_t total = course.stats.region_bytes;

	return total > COURSE_EXACT_MAX ? round_up(total >> RESERVE_SHIFT, sys_page_size()) : 0;
}

/*
 * The reserve of a new region. It is 0 at first: the program may move the break again, and the
 * reserve would be lost. If the table is half full, the program does so all the time. Then each
 * region is larger than the one before, so that the table does not become full.
 */
static size_t region_reserve_size(void)
{
	size_t total = course.stats.region_bytes;

	if (course.region_count < REGIONS_MAX / 2)
		return 0;
	if (total < COURSE_EXACT_MAX)
		total = COURSE_EXACT_MAX;
	return round_up(total >> RESERVE_SHIFT, sys_page_size());
}

/* sbrk(size), with the heap unlocked. NULL if the kernel refuses. */
static char *call_sbrk(size_t size)
{
	char *p;

	block_unlock();
	p = size ? block_raise_break(size) : block_break();
	block_lock();
	return p;
}

/* Raise the break by size + reserve or, if the kernel refuses, by size. */
static enum raise raise_break(size_t size, size_t reserve)
{
	char *p = call_sbrk(size + reserve);

	course.stats.brk_calls++;
	if (!p)
		return reserve ? raise_break(size, 0) : REFUSED;
	add_memory(p, size, reserve);
	return RAISED;
}

static enum raise read_and_raise(size_t size, size_t chunk)
{
	unsigned int raises = course.raises;
	char *brk = call_sbrk(0);
	struct region *r = last_region();
	bool is_moved = !r || brk > r->limit;

	if (course.raises != raises) /* a hook of sbrk has raised it */
		return RAISED;
	if (brk && is_moved && !chunk)
		return MOVED;
	if (!brk || (r && brk < r->end) || (is_moved && course.region_count == REGIONS_MAX)) {
		errno = ENOMEM; /* also if the program has lowered the break into our blocks */
		return REFUSED;
	}
	if (is_moved)
		return raise_break((-(uintptr_t)brk & (course.grain - 1)) + chunk,
				   region_reserve_size());
	/* The program may have lowered the break into the reserve. */
	course.stats.ahead_bytes -= (size_t)(r->limit - brk);
	r->limit = brk;
	return raise_break(size - block_reserve(), reserve_size());
}

enum raise block_raise(size_t size, size_t chunk, unsigned int *tries)
{
	unsigned int raises = course.raises;
	enum raise result = RAISED;
	bool is_locked;

	block_unlock();
	is_locked = lock_raise();
	block_lock();
	if (course.raises == raises) { /* otherwise another thread has raised the break */
		if ((*tries)++ < EXACT_TRIES)
			result = read_and_raise(size, chunk);
		else /* enough to extend the heap or for a new region */
			result = raise_break((chunk ? chunk : size) + 2 * course.grain, 0);
	}
	if (is_locked)
		unlock_raise();
	return result;
}

/*
 * ---- Fork: the heap is locked across it, so the child gets a consistent copy ----
 *
 * Not if it serves malloc: libc and other fork handlers wait for locks whose holders may wait for
 * memory. Then block_fork.c repairs the child.
 */

static void prepare_fork(void)
{
	bool is_locked;

	if (block_serves_malloc())
		return;
	is_locked = lock_raise();
	block_lock();
	is_forking = true;
	is_fork_guarded = true;
	is_raise_locked = is_locked;
}

static void fork_parent(void)
{
	bool is_locked = is_raise_locked;

	if (!is_fork_guarded)
		return;
	is_fork_guarded = false;
	is_forking = false;
	block_unlock();
	if (is_locked)
		unlock_raise();
}

static void fork_child(void)
{
	if (raise_lock.holder != (uintptr_t)&lock_self)
		memset(&raise_lock, 0, sizeof(raise_lock)); /* its holder does not exist */
	raise_lock.waiters = 0;
	fork_parent();
}

/*
 * Register as early as possible: prepare handlers that were registered before ours run after it,
 * with the heap locked, and may allocate.
 */
__attribute__((constructor(SYS_BEGIN_BLOCK))) static void guard_forks(void)
{
	pthread_atfork(prepare_fork, fork_parent, fork_child);
}
