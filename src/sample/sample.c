// SPDX-License-Identifier: BSD-3-Clause

/*
 * What is sampled, and how.
 *
 * 1. Each thread counts down the bytes to the next one that is hit, in its cache. Distances are
 *    exponential, so they have no memory: where a countdown is lost or begins anew, nothing is
 *    biased. A thread without a cache draws a distance for each call.
 * 2. A call counts as charge bytes before those of its object. A hit there sends the call to
 *    guard_alloc. So one countdown serves both kinds of samples.
 * 3. A sample is an object whose free takes the slow path: of whole pages (tcache_alloc_apart), or
 *    large, or guarded. So frees of all other objects stay on the fast path, and the slow path asks
 *    whether the object is a sample. An object that gets no pages is none, and is counted.
 * 4. realloc ends the sample of the old object before it resizes it, because another thread may get
 *    its address at once. A large sample that grows little at a time would take a stack each time:
 *    it keeps the one that it has until it has grown by an interval, if it stays in place. A
 *    mapping of which that is known before remains a sample meanwhile.
 */

#include "sample.h"

#include <errno.h>
#include <string.h>

#include "cache/tcache.h"
#include "chance.h"
#include "guard.h"
#include "helpers.h"
#include "large/large.h"
#include "sample_table.h"
#include "stack.h"
#include "trace/calls.h"
#include "tunables.h"

static _Atomic(bool) is_on, has_started;
static size_t charge; /* of a call: rule 2 */
static uint64_t guard_chance; /* of a call that was hit there, of 2^64 */

static struct {
	size_t step; /* 0: off */
	void (*grown)(void);
	_Atomic(uint64_t) next; /* live bytes that call grown */
	atomic_flag is_calling;
} growth;

/* Countdowns: rule 1. */

enum {
	HIT_CALL = 1,
	HIT_BYTE = 2,
};

/* *left is the countdown, or negative if there is none. call: what the call counts as. */
static __attribute__((noinline, cold)) unsigned int hit(int64_t *left, size_t call, size_t size)
{
	unsigned int hits = 0;

	if (*left < 0)
		*left = chance_distance(table_interval());
	if (*left < (int64_t)call) {
		*left = (int64_t)call + chance_distance(table_interval());
		if (chance_random() <= guard_chance)
			hits |= HIT_CALL;
	}
	*left -= (int64_t)call;
	if (*left < (int64_t)size) {
		*left = (int64_t)size + chance_distance(table_interval());
		hits |= HIT_BYTE;
	}
	*left -= (int64_t)size;
	return hits;
}

/*
 * Whether the bytes of an object count. While only calls are guarded, large sizes would end the
 * countdown each time. Small ones count always, which saves a test.
 */
static inline bool has_bytes(size_t size)
{
	return is_on || size <= CELL_FINE_MAX;
}

static __attribute__((noinline)) unsigned int count_down_slow(size_t call, size_t size)
{
	struct tcache *tc;
	int64_t none = -1, *left;
	unsigned int hits = 0;

	if (size > SYS_MAP_MAX) /* it will be refused */
		return 0;
	/* A new distance for each such size would take half the time of a growing buffer. */
	if (is_on && chance_is_certain(size, table_interval()))
		hits = HIT_BYTE;
	if (hits || !has_bytes(size))
		size = 0;
	tc = tcache_of_thread();
	left = tc ? tcache_sample_left(tc) : &none;
	if (*left < (int64_t)(call + size))
		return hits | hit(left, call, size);
	*left -= (int64_t)(call + size);
	return hits;
}

/* False if that is not done quickly: call count_down_slow. */
static inline bool count_quickly(size_t call, size_t size)
{
	int64_t *left = tcache_sample_left(tcache_thread.fast_free), rest;

	if (__builtin_expect(size > CELL_MAX, 0))
		return false;
	if (!has_bytes(size))
		size = 0;
	rest = *left - (int64_t)size - (int64_t)call;
	if (__builtin_expect(rest < 0, 0))
		return false;
	*left = rest;
	return true;
}

static inline unsigned int count_down(size_t call, size_t size)
{
	return count_quickly(call, size) ? 0 : count_down_slow(call, size);
}

/* Samples: rules 3 and 4. */

static void call_grown(void)
{
	uint64_t live = table_live_bytes();

	if (!growth.step || live < growth.next || atomic_flag_test_and_set(&growth.is_calling))
		return;
	live = table_live_bytes();
	if (live >= growth.next) {
		growth.next = live + growth.step;
		growth.grown();
	}
	atomic_flag_clear(&growth.is_calling);
}

/* Make p a sample. with: the sample whose stack it keeps, or NULL. */
static void enter(void *p, size_t size, const struct sample *with)
{
	uintptr_t frames[STACK_FRAMES_MAX];
	struct sample sample = {.address = (uintptr_t)p,
				.stack = with ? with->stack : NULL,
				.size = size,
				.stack_size = with ? with->stack_size : size,
				.thread = sys_thread()};
	int saved_errno = errno;
	unsigned int depth = with ? 0 : stack_take(frames, STACK_FRAMES_MAX);

	if (table_begin()) {
		table_add(&sample, frames, depth, true);
		table_end();
		call_grown();
	} else {
		table_note_dropped();
	}
	errno = saved_errno;
}

/* End the sample at p and copy it to *sample. False if it is none. */
static bool leave(const void *p, struct sample *sample)
{
	bool is_sample;

	if (!p || !sample_may_be(p))
		return false;
	if (!table_begin())
		return table_remove_nested(p, sample);
	is_sample = table_remove(p, sample);
	table_end();
	return is_sample;
}

/* The sample that leave copied goes on. */
static void take_back(const struct sample *sample)
{
	if (table_begin()) {
		table_add(sample, NULL, 0, false);
		table_end();
	} else {
		table_note_dropped();
	}
}

void sample_forget(const void *p)
{
	struct sample sample;

	leave(p, &sample);
}

/* Allocations. */

static void *alloc_plain(size_t size, size_t align, bool zero)
{
	if (zero)
		return tcache_alloc_zeroed(size);
	return align > CELL_ALIGN ? tcache_alloc_aligned(size, align) : tcache_alloc_slow(size);
}

static __attribute__((noinline, cold)) void *alloc_hit(size_t size, size_t align, bool zero,
						       unsigned int hits)
{
	bool is_sample = hits & HIT_BYTE && is_on;
	void *p = hits & HIT_CALL ? guard_alloc(size, align) : NULL;

	if (!p && is_sample)
		p = tcache_alloc_apart(size, align, zero);
	if (p && is_sample)
		enter(p, size, NULL);
	if (p)
		return p;
	p = alloc_plain(size, align, zero);
	if (p && is_sample)
		table_note_dropped();
	return p;
}

static __attribute__((noinline)) void *alloc_slow(size_t size)
{
	unsigned int hits = count_down_slow(charge, size);

	if (hits)
		return alloc_hit(size, CELL_ALIGN, false, hits);
	return tcache_alloc_open_or(size, tcache_alloc_slow);
}

/* The size is above CELL_FINE_MAX, or the countdown is over, or not to be reached quickly. */
static __attribute__((noinline)) void *alloc_other(size_t size)
{
	if (!count_quickly(charge, size))
		return alloc_slow(size);
	return tcache_alloc_open_or(size, tcache_alloc_slow);
}

/* Every malloc comes here. The slow paths are apart, so that this one saves no registers. */
void *sample_alloc(size_t size)
{
	struct tcache *tc = tcache_thread.fast_free;
	int64_t left;

	if (__builtin_expect(size > CELL_FINE_MAX, 0))
		return alloc_other(size);
	left = *tcache_sample_left(tc) - (int64_t)size - (int64_t)charge;
	if (__builtin_expect(left < 0, 0))
		return alloc_other(size);
	*tcache_sample_left(tc) = left;
	return bin_alloc_or(tcache_bin_at(tc, round_up(size, CELL_ALIGN)), size, tcache_alloc_slow);
}

void *sample_alloc_zeroed(size_t size)
{
	unsigned int hits;
	void *p;

	if (size <= CELL_FINE_MAX) {
		p = sample_alloc(size);
		return p ? memset(p, 0, size) : NULL;
	}
	hits = count_down(charge, size);
	return hits ? alloc_hit(size, CELL_ALIGN, true, hits) : tcache_alloc_zeroed(size);
}

void *sample_alloc_aligned(size_t size, size_t align)
{
	unsigned int hits = count_down(charge, size);

	if (!hits)
		return tcache_alloc_aligned(size, align);
	return alloc_hit(size, align < CELL_ALIGN ? CELL_ALIGN : align, false, hits);
}

/* Move p to an object of whole pages. NULL: p is unchanged. */
static void *move_apart(const char *call, void *p, size_t size)
{
	size_t old = tcache_usable_size(call, p);
	void *q = tcache_alloc_apart(size, CELL_ALIGN, false);

	if (!q)
		return NULL;
	memcpy(q, p, old < size ? old : size);
	tcache_free(call, p);
	return q;
}

/* p is guarded, and too small for size. */
static void *move_guarded(const char *call, void *p, size_t size)
{
	void *q = sample_alloc(size);

	if (!q)
		return NULL;
	memcpy(q, p, guard_usable_size(call, p));
	guard_release(call, p);
	return q;
}

/*
 * As tcache_realloc, but what is a sample becomes an object whose free takes the slow path. was:
 * the sample that p was, or NULL. A small one grows in place up to its usable size, as others do.
 */
static void *resize(const char *call, void *p, size_t size, const struct sample *was,
		    bool is_sample)
{
	void *q = NULL;

	if (guard_owns(p)) /* it has shrunk */
		return p;
	if (was && size <= CELL_MAX && size >= was->size && size <= tcache_usable_size(call, p))
		return p;
	if (is_sample && size <= CELL_MAX)
		q = move_apart(call, p, size);
	return q ? q : tcache_realloc(call, p, size);
}

/* The size was counted down; was: the sample that p was until now, or NULL. */
static void *realloc_counted(const char *call, void *p, size_t size, const struct sample *was,
			     bool is_sample)
{
	void *q = resize(call, p, size, was, is_sample);
	bool keeps_stack;

	if (!q && was)
		take_back(was);
	if (!q || !is_sample)
		return q;
	keeps_stack = was && q == p && size < was->stack_size + table_interval();
	enter(q, size, keeps_stack ? was : NULL);
	return q;
}

/*
 * The mapping p keeps its place and is resized to size: no thread gets its address meanwhile, so
 * its sample need not end first. One search of the table for two.
 */
static __attribute__((noinline)) void *resize_staying(void *p, size_t size)
{
	bool is_sample = count_down(0, size) && is_on, is_resized = false;

	if (is_sample && sample_may_be(p) && table_begin()) {
		is_resized = table_resize(p, size);
		table_end();
	}
	if (is_resized) {
		call_grown();
		return p;
	}
	sample_forget(p);
	if (is_sample)
		enter(p, size, NULL);
	return p;
}

/* p may be a sample, or guarded, or the countdown is not reached quickly. */
static __attribute__((noinline)) void *realloc_other(const char *call, void *p, size_t size)
{
	struct sample copy, *was;
	void *q;

	if (large_stays(p, size)) /* so tcache_realloc would do nothing */
		return resize_staying(p, size);
	was = leave(p, &copy) ? &copy : NULL;
	if (!guard_owns(p) || guard_shrink(call, p, size))
		return realloc_counted(call, p, size, was, count_down(0, size) && is_on);
	q = move_guarded(call, p, size);
	if (!q && was)
		take_back(was);
	return q;
}

void *sample_realloc(const char *call, void *p, size_t size)
{
	if (__builtin_expect(sample_may_be(p) || guard_owns(p), 0))
		return realloc_other(call, p, size);
	if (is_on && !count_quickly(0, size))
		return realloc_other(call, p, size);
	return tcache_realloc(call, p, size);
}

/* Modes. */

static void fork_child(void)
{
	table_fork_child();
	atomic_flag_clear(&growth.is_calling);
}

/* From now on, allocations come here, and so do frees on the slow path. */
static void begin(void)
{
	table_start(SAMPLE_INTERVAL);
	tcache_on_fork = fork_child;
	calls_set_mode(CALLS_SAMPLED, true);
	tcache_set_mode(TCACHE_SAMPLES, true);
}

void sample_set_interval(size_t bytes)
{
	table_start(bytes);
}

bool sample_start(size_t interval)
{
	bool has_stacks = stack_begin();

	table_start(interval);
	has_started = is_on = true;
	begin();
	return has_stacks;
}

void sample_stop(void)
{
	is_on = false;
	if (!charge)
		tcache_set_mode(TCACHE_SAMPLES, false);
}

bool sample_is_on(void)
{
	return is_on;
}

/*
 * The chance of a hit in charge bytes, times guard_chance, is 1 / every. charge is the interval
 * times 1/every + 1/every^2: the chance of a hit there is a little above 1/every, and 1 if every
 * is.
 */
bool sample_start_guards(size_t every)
{
	size_t interval;
	uint64_t chance;

	if (!guard_begin())
		return false;
	table_start(SAMPLE_INTERVAL);
	interval = table_interval();
	charge = every == 1 ? 64 * interval : interval / every + interval / every / every + 1;
	chance = (UINT64_MAX >> OBJECTS_SHIFT) / every;
	if (__builtin_mul_overflow(chance, chance_weigh(charge, interval).objects, &guard_chance))
		guard_chance = UINT64_MAX;
	begin();
	return true;
}

void sample_get_stats(struct sample_stats *stats)
{
	table_get_stats(stats);
	if (!has_started)
		stats->interval = 0;
}

void sample_on_growth(size_t bytes, void (*grown)(void))
{
	growth.grown = grown;
	growth.next = table_live_bytes() + bytes;
	growth.step = bytes;
}
