// SPDX-License-Identifier: BSD-3-Clause

/*
 * Where the heap's memory comes from: one region at the break, and another one wherever the break
 * is after somebody else has moved it (rule 4).
 *
 * The break is moved with libc's sbrk, or with a hook that a program or tool has put in its place
 * and that may call os_malloc. So the heap is whole and unlocked during the call, and afterwards
 * the new memory is added to the heap as it is then. Since libc's sbrk is not thread-safe, callers
 * hold raise_lock, which is recursive for the sake of hooks.
 */

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "block_core.h"
#include "tunables.h"

/* ---- The lock of sbrk ---- */

static pthread_mutex_t raise_lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;

/* What prepare_fork has locked; guarded by the heap's lock. */
static bool is_fork_guarded, is_raise_locked;

static atomic_bool is_forking; /* the holder of raise_lock forks, and is not in sbrk */
static atomic_uint turns; /* how often raise_lock was taken */

/*
 * If one thread is in sbrk for a second, it is in a hook that waits for a thread that waits here:
 * that one goes on without the lock. There are many short waits: when the process is stopped or
 * the clock is set, only one of them ends early.
 */
static bool lock_raise(void)
{
	bool is_locked = pthread_mutex_trylock(&raise_lock) == 0;

	for (unsigned int i = 0; i < SBRK_WAITS && !is_locked; i++) {
		unsigned int turn = turns;
		uint64_t ns = sys_wall_ns() + SBRK_WAIT_NS;
		struct timespec late = {(time_t)(ns / 1000000000), (long)(ns % 1000000000)};

		is_locked = pthread_mutex_timedlock(&raise_lock, &late) == 0;
		if (is_forking || turn != turns)
			i = 0;
	}
	if (is_locked)
		turns++;
	return is_locked;
}

/* ---- Regions ---- */

static struct region *last_region(void)
{
	return course.region_count ? &block_regions[course.region_count - 1] : NULL;
}

static void note_span(void)
{
	links_heap.start = (uintptr_t)block_regions[0].start;
	links_heap.size = (uintptr_t)last_region()->limit - links_heap.start;
}

/* The index in the table for a region that starts at start. */
static size_t place_of(const char *start)
{
	size_t i = course.region_count;

	while (i > 0 && block_regions[i - 1].start > start)
		i--;
	return i;
}

/* Put b, the only block of r, into the list. */
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

/* Insert a region at index i of the table: one free block of size bytes. */
static void add_region(size_t i, char *start, char *limit, size_t size)
{
	struct region *r = &block_regions[i];
	struct block_meta *b = block_at(start);

	memmove(r + 1, r, (course.region_count++ - i) * sizeof(*r));
	b->size = size;
	b->status = STATUS_FREE;
	*r = (struct region){.start = start, .end = block_end(b), .limit = limit};
	link_region(r, b);
	note_span();
	pending_add(&course.pending, b);
	course.stats.regions++;
	course.stats.blocks++;
	course.stats.region_bytes += META + size;
	course.stats.ahead_bytes += (size_t)(limit - r->end);
	block_note(TRACE_STEP_REGION, 0, b, (uintptr_t)limit, 0);
	block_note(TRACE_STEP_APPEND, 0, b, size, 0);
}

/*
 * Add [p, limit), which came from the kernel. It stays unused if it is ours already, too small for
 * a block or a region too many. That happens only if somebody else moved the break just now.
 */
static void accept(char *p, char *limit)
{
	struct region *last = last_region();
	char *start = p + (-(uintptr_t)p & (GRAIN - 1));
	size_t i = place_of(start);

	course.raises++;
	if (last && p == last->limit) {
		course.stats.ahead_bytes += (size_t)(limit - p);
		last->limit = limit;
		note_span();
		return;
	}
	if ((i > 0 && block_regions[i - 1].limit > start) ||
	    (i < course.region_count && block_regions[i].start < limit))
		return;
	if (i > 0 && block_regions[i - 1].limit == start) /* H5 */
		start += GRAIN;
	if (i < course.region_count && block_regions[i].start == limit)
		limit -= GRAIN;
	if (limit - start >= (ptrdiff_t)(META + GRAIN) && course.region_count < REGIONS_MAX)
		add_region(i, start, limit, ((size_t)(limit - start) - META) & ~(GRAIN - 1));
}

/* ---- The break ---- */

/* How far to raise the break beyond what is needed now. */
static size_t ahead_of_need(void)
{
	size_t total = course.stats.region_bytes;

	return total > COURSE_EXACT_MAX ? round_up(total >> AHEAD_SHIFT, sys_page_size()) : 0;
}

/* sbrk(size), with the heap unlocked. NULL if it is refused. */
static char *call_sbrk(size_t size)
{
	char *p;

	block_leave();
	p = size ? sys_raise_break(size) : sys_break();
	block_enter();
	return p;
}

/* Raise the break by size + ahead or, if that is refused, by size. */
static enum raise raise_break(size_t size, size_t ahead)
{
	char *p = call_sbrk(size + ahead);

	course.stats.brk_calls++;
	if (!p)
		return ahead ? raise_break(size, 0) : REFUSED;
	accept(p, p + size + ahead);
	return RAISED;
}

static enum raise read_and_raise(size_t size, size_t chunk)
{
	unsigned int raises = course.raises;
	char *brk = call_sbrk(0);
	struct region *r = last_region();
	bool is_moved = !r || brk > r->limit;

	if (course.raises != raises) /* by a hook of sbrk */
		return RAISED;
	if (brk && is_moved && !chunk)
		return MOVED;
	if (!brk || (r && brk < r->end) || (is_moved && course.region_count == REGIONS_MAX)) {
		errno = ENOMEM; /* refused, or the program has lowered the break into our blocks */
		return REFUSED;
	}
	if (is_moved)
		return raise_break((-(uintptr_t)brk & (GRAIN - 1)) + chunk, 0);
	/* The program may have lowered the break into the room ahead. */
	course.stats.ahead_bytes -= (size_t)(r->limit - brk);
	r->limit = brk;
	return raise_break(size - block_room(), ahead_of_need());
}

enum raise block_raise(size_t size, size_t chunk, unsigned int *tries)
{
	unsigned int raises = course.raises;
	enum raise result = RAISED;
	bool is_locked;

	block_leave();
	is_locked = lock_raise();
	block_enter();
	if (course.raises == raises) { /* else another thread has raised the break */
		if ((*tries)++ < EXACT_TRIES)
			result = read_and_raise(size, chunk);
		else /* enough to extend the heap and for a new region, whichever it will be */
			result = raise_break((chunk ? chunk : size) + 2 * GRAIN, 0);
	}
	if (is_locked)
		pthread_mutex_unlock(&raise_lock);
	return result;
}

/* ---- Fork: the heap is locked meanwhile, so the child has a whole one ---- */

static void prepare_fork(void)
{
	bool is_locked;

	if (!lock_is_needed())
		return;
	is_locked = lock_raise();
	block_enter();
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
	block_leave();
	if (is_locked)
		pthread_mutex_unlock(&raise_lock);
}

static void fork_child(void)
{
	/* It records its holder's thread id, and that of a thread changes with the fork. */
	raise_lock = (pthread_mutex_t)PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
	is_forking = false;
	if (is_fork_guarded)
		lock_reset(&course.lock);
	is_fork_guarded = false;
}

/*
 * As early as possible: the handlers that were registered before run after ours when a fork is
 * prepared, and may allocate.
 */
__attribute__((constructor(SYS_BEGIN_BLOCK))) static void guard_forks(void)
{
	pthread_atfork(prepare_fork, fork_parent, fork_child);
}
