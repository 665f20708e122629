// SPDX-License-Identifier: BSD-3-Clause

/*
 * The page heap: segments and their free pages, from which slabs and spans are made.
 *
 * 1. A slab goes to the lowest segment with dirty free slots, else to the lowest with free slots:
 *    dirty slots cost no page fault.
 * 2. A span goes to the best fitting run of pages: dirty runs first, then the lowest segment. Runs
 *    are classed by length; S7 says which segments have runs of a class.
 * 3. Freed pages are dirty until a sweep purges them: purge.c.
 * 4. window.c maps segments. If memory for one is refused, the caller makes mappings (mapping.c).
 * 5. The first segments are mapped as they are needed, and so is one if memory for a whole segment
 *    is refused: half a MiB, then as much again, up to a MiB, or less if less is to be had. What is
 *    mapped counts against limits, and all of it uses memory if it is locked, or if huge pages fit
 *    in. Slots that are not mapped are fixed. A hardened segment is mapped as a whole, because of
 *    its guards.
 */

#include <errno.h>
#include <string.h>

#include "fork.h"
#include "slab_core.h"
#include "tunables.h"

#define QUARTER_SLOTS (SEGMENT_SLOTS / 4)

void store_lock(void)
{
	fork_check();
	lock_acquire(&slab_store.lock);
}

void store_unlock(void)
{
	lock_release(&slab_store.lock);
}

/* The first slots of free quads of g. */
static uint64_t free_quads(const struct segment *g)
{
	uint64_t free = ~g->used;

	free &= free >> 1;
	return free & free >> 2 & QUAD_STARTS;
}

void segment_validate(const struct segment *g)
{
	if (segment_is_valid(g))
		return;
	store_unlock();
	sys_fatal("heap", &g->used, "the header of a segment is overwritten");
}

/* Runs: S7. */

/* Update the sets for these classes: they hold g if it has runs of the class. */
static void put_runs(struct segment *g, enum run_kind kind, uint64_t classes)
{
	for (; classes; classes &= classes - 1) {
		unsigned int class = (unsigned int)__builtin_ctzll(classes);
		uint64_t bit = (uint64_t)1 << class;
		bool is_in = g->run_counts[kind][class];

		if ((g->runs[kind] >> class & 1) == is_in)
			continue;
		g->runs[kind] ^= bit;
		segment_put(g, segment_run_set(kind, class), is_in);
		slab_store.run_segments[kind][class] += is_in ? 1 : -1u;
		if (slab_store.run_segments[kind][class])
			slab_store.run_classes[kind] |= bit;
		else
			slab_store.run_classes[kind] &= ~bit;
	}
}

/* The map of a kind of runs, and its flip. */
static const uint64_t *run_map(const struct segment *g, enum run_kind kind, uint64_t *flip)
{
	*flip = kind == RUN_DIRTY ? MAP_ONES : MAP_ZEROS;
	return kind == RUN_DIRTY ? g->maps.dirty : g->maps.taken;
}

/* Add by to the number of runs of n pages, unless n is 0. Returns their class as a bit. */
static uint64_t count_run(struct segment *g, enum run_kind kind, size_t n, int by)
{
	unsigned int class;

	if (!n)
		return 0;
	class = run_class(n);
	g->run_counts[kind][class] = (uint16_t)(g->run_counts[kind][class] + by);
	return (uint64_t)1 << class;
}

/*
 * Update the counts of runs; the caller then adds run to the pages of kind (by is 1) or removes it
 * (-1). With its neighbors of that kind run becomes one run, or leaves two. The bits of run itself
 * are not read.
 */
static void change_runs(struct segment *g, enum run_kind kind, struct page_run run, int by)
{
	uint64_t flip, classes;
	const uint64_t *map = run_map(g, kind, &flip);
	size_t start = run.start ? map_run_start(map, run.start - 1, flip) : 0;
	size_t end = map_next(map, run.end, ~flip);

	classes = count_run(g, kind, end - start, by);
	classes |= count_run(g, kind, run.start - start, -by);
	classes |= count_run(g, kind, end - run.end, -by);
	put_runs(g, kind, classes);
}

/* Update the counts of runs; the caller then takes run, of which some pages are dirty. */
static void take_runs(struct segment *g, struct page_run run)
{
	struct page_run dirty = {.end = run.start};

	change_runs(g, RUN_FREE, run, -1);
	while (map_next_run_up_to(g->maps.dirty, MAP_ONES, &dirty, run.end - 1)) {
		if (dirty.end > run.end)
			dirty.end = run.end;
		change_runs(g, RUN_DIRTY, dirty, -1);
	}
}

static void count_all_runs(struct segment *g, enum run_kind kind)
{
	struct page_run run = {0};
	uint64_t flip;
	const uint64_t *map = run_map(g, kind, &flip);

	while (map_next_run(map, flip, &run))
		count_run(g, kind, run.end - run.start, 1);
	put_runs(g, kind, ~(uint64_t)0);
}

static void put_sets(struct segment *g)
{
	g->checksum = segment_checksum_of(g);
	segment_put(g, SET_ROOMY, ~g->used);
	segment_put(g, SET_WITH_QUAD, free_quads(g));
	segment_put(g, SET_WITH_READY, g->dirty & ~g->used);
	segment_put(g, SET_WITH_DIRTY, g->dirty);
}

/* Rebuild what is derived from the maps in the slots of run, except the runs. */
static void put_slots(struct segment *g, struct page_run run)
{
	uint64_t used = g->used, dirty = g->dirty;

	g->used = map_slots(g->maps.taken, g->used, run);
	g->dirty = map_slots(g->maps.dirty, g->dirty, run);
	if (used != g->used || dirty != g->dirty)
		put_sets(g);
}

void segment_update(struct segment *g)
{
	const struct page_run all = {0, MAP_PAGES};

	memset(g->run_counts, 0, sizeof(g->run_counts));
	for (enum run_kind kind = 0; kind < RUN_KINDS && !g->is_own; kind++)
		count_all_runs(g, kind);
	g->used = 0; /* differs from the new value, so put_slots rebuilds the sets */
	put_slots(g, all);
}

void slab_harden(void)
{
	slab_store.is_hardened = true;
}

/* Make a slot inaccessible. If the kernel refuses, the slot is unused, but not a guard. */
static void add_guard(struct segment *g, unsigned int slot)
{
	sys_protect((char *)g + slot * SLAB_SIZE, SLAB_SIZE);
	g->fixed |= (uint64_t)1 << slot;
}

/*
 * Guards follow the header, end the segment, and have a random slot in each of the first three
 * quarters. Segments beyond ALL_GUARDS_MAX have the first two only, those beyond GUARDS_MAX none.
 */
static void add_guards(struct segment *g)
{
	uint64_t random = (slab_store.secret ^ (uintptr_t)g) * HASH_FACTOR2;
	size_t page = sys_page_size();

	if (slab_store.segments > GUARDS_MAX)
		return;
	if (sizeof(*g) + page <= SLAB_SIZE)
		sys_protect((char *)g + SLAB_SIZE - page, page);
	add_guard(g, SEGMENT_SLOTS - 1);
	if (slab_store.segments > ALL_GUARDS_MAX)
		return;
	for (unsigned int i = 0; i + QUARTER_SLOTS < SEGMENT_SLOTS; i += QUARTER_SLOTS) {
		random = random << 12 | random >> 52;
		add_guard(g, i + 1 + random % (QUARTER_SLOTS - 1));
	}
}

/*
 * Memory for a segment was refused, and mappings serve instead. Skip the next attempts, twice as
 * many after each failure: a failed attempt per call is expensive. Counting attempts, not time,
 * finds new memory as fast as it is needed.
 */
static void back_off(void)
{
	unsigned int skips = slab_store.next_skips;

	slab_store.skips = skips;
	slab_store.next_skips = 2 * skips < REFUSED_SKIPS ? 2 * skips + 1 : REFUSED_SKIPS;
}

static void try_again(void)
{
	slab_store.skips = 0;
	slab_store.next_skips = 0;
}

/* Rule 5; after a refusal, do not ask for a whole segment again. NULL if refused. */
static struct segment *map_segment(void)
{
	bool is_whole = slab_store.is_hardened || sys_wants_huge_pages() ||
			(slab_store.segments >= SEGMENTS_IN_STEPS && !slab_store.next_skips);
	struct segment *g = is_whole ? window_map_segment(SEGMENT_SIZE) : NULL;

	if (g) {
		g->fixed = 1;
	} else if (!slab_store.is_hardened && !slab_store.growing) {
		g = window_map_segment(SEGMENT_FIRST);
		slab_store.growing = g;
		if (g)
			g->fixed = ~(uint64_t)0 << SEGMENT_FIRST / SLAB_SIZE | 1;
	}
	return g;
}

static bool new_segment(bool is_own)
{
	struct segment *g = map_segment();

	if (!g)
		return false;
	slab_store.segments++;
	if (slab_store.is_hardened)
		add_guards(g);
	for (uint64_t slots = g->fixed; slots; slots &= slots - 1)
		map_set(g->maps.taken, slot_pages((unsigned int)__builtin_ctzll(slots), 1));
	g->is_own = is_own;
	segment_put(g, SET_LIVE, true);
	segment_update(g);
	return true;
}

/*
 * Map the n slots behind the mapped ones of g, or fewer; after a refusal, ask for one only. Returns
 * their number, 0 with errno.
 */
static unsigned int map_slots_behind(struct segment *g, unsigned int n)
{
	char *end = (char *)g + segment_size(g);

	n = slab_store.next_skips ? 1 : n;
	while (n && !sys_map_at(end, n * SLAB_SIZE))
		n = errno == ENOMEM ? n / 2 : 0;
	return n;
}

/* Rule 5: map more of the segment that is mapped as it is needed. */
static bool grow_segment(void)
{
	struct segment *g = slab_store.growing;
	unsigned int first, n;

	if (!g)
		return false;
	segment_validate(g);
	first = (unsigned int)(segment_size(g) / SLAB_SIZE);
	n = first < SEGMENT_STEP / SLAB_SIZE ? first : SEGMENT_STEP / SLAB_SIZE;
	n = map_slots_behind(g, n < SEGMENT_SLOTS - first ? n : SEGMENT_SLOTS - first);
	if (first + n == SEGMENT_SLOTS || (!n && errno == EEXIST))
		slab_store.growing = NULL;
	if (!n)
		return false;
	/* For a fork: the child counts fixed slots as taken. */
	g->fixed &= ~(~(~(uint64_t)0 << n) << first);
	atomic_thread_fence(memory_order_release);
	map_clear(g->maps.taken, slot_pages(first, n));
	segment_update(g);
	return true;
}

void segment_grow_to(struct segment *g, struct page_run run)
{
	size_t mapped = segment_size(g) / PAGE_BYTES;
	int saved_errno = errno;

	if (slab_store.growing != g || run.end <= mapped || run.start > mapped ||
	    map_count(g->maps.taken, (struct page_run){run.start, mapped}))
		return;
	while (segment_size(g) / PAGE_BYTES < run.end && grow_segment())
		;
	errno = saved_errno;
}

void slab_advise_pages(void)
{
	struct segment *g = NULL;

	store_lock();
	while ((g = segment_next(SET_LIVE, g)))
		sys_advise_pages(g, segment_size(g));
	store_unlock();
}

/* Get free pages from the kernel; false with errno ENOMEM. Preserves errno if it gets some. */
static bool get_pages(bool is_own)
{
	int saved_errno = errno;

	if (slab_store.skips) {
		slab_store.skips--;
	} else if (grow_segment() || new_segment(is_own)) {
		errno = saved_errno;
		try_again();
		return true;
	} else {
		back_off();
	}
	errno = ENOMEM;
	return false;
}

/* Pages. */

bool segment_take_pages(struct segment *g, struct page_run run)
{
	size_t dirty = map_count(g->maps.dirty, run), stuck = map_count(g->maps.stuck, run);

	if (!g->is_own)
		take_runs(g, run);
	/* For a fork at any moment: a page that is taken or dirty never looks clean. */
	map_set(g->maps.taken, run);
	atomic_thread_fence(memory_order_release);
	map_clear(g->maps.dirty, run);
	map_clear(g->maps.stuck, run);
	put_slots(g, run);
	atomic_fetch_sub_explicit(&slab_store.dirty_pages, dirty, memory_order_relaxed);
	return !(dirty + stuck);
}

void segment_give_pages(struct segment *g, struct page_run run)
{
	for (enum run_kind kind = 0; kind < RUN_KINDS && !g->is_own; kind++)
		change_runs(g, kind, run, 1);
	map_set(g->maps.dirty, run);
	atomic_thread_fence(memory_order_release);
	map_clear(g->maps.taken, run);
	put_slots(g, run);
	for (size_t slot = run.start / SLOT_PAGES; slot * SLOT_PAGES < run.end; slot++)
		g->epoch[slot] = slab_store.epoch - slab_store.is_sweeping;
	atomic_fetch_add_explicit(&slab_store.dirty_pages, run.end - run.start,
				  memory_order_relaxed);
}

/* Best place in g for n pages aligned to align, among runs of kind. False if there is none. */
static bool find_in(const struct segment *g, enum run_kind kind, size_t n, size_t align,
		    struct page_run *place)
{
	uint64_t flip;
	const uint64_t *map = run_map(g, kind, &flip);
	size_t best = MAP_PAGES + 1;
	struct page_run run = {0};

	while (best > n && map_next_run(map, flip, &run)) {
		size_t start = round_up(run.start, align);

		if (start + n > run.end || run.end - run.start >= best)
			continue;
		best = run.end - run.start;
		*place = (struct page_run){start, start + n};
	}
	return best <= MAP_PAGES;
}

/* find_in over all segments. A run of n + align - 1 pages always has an aligned place. */
static struct segment *find_run(enum run_kind kind, size_t n, size_t align, struct page_run *place)
{
	uint64_t classes = slab_store.run_classes[kind] & ~(uint64_t)0 << run_class_over(n);
	unsigned int tries = ALIGNED_TRIES, safe = run_class_over(n + align - 1);

	while (classes) {
		unsigned int class = (unsigned int)__builtin_ctzll(classes);
		struct segment *g = NULL;

		while (tries && (g = segment_next(segment_run_set(kind, class), g))) {
			segment_validate(g);
			if (find_in(g, kind, n, align, place))
				return g;
			tries -= class < safe;
		}
		if (!tries && class < safe) {
			classes &= ~(uint64_t)0 << safe;
			tries = 1;
		} else {
			classes &= classes - 1;
		}
	}
	return NULL;
}

struct segment *segment_find_run(size_t n, size_t align, struct page_run *place)
{
	struct segment *g = find_run(RUN_DIRTY, n, align, place);

	if (!g)
		g = find_run(RUN_FREE, n, align, place);
	while (!g && get_pages(false))
		g = find_run(RUN_FREE, n, align, place);
	return g;
}

/* Slots. */

/* The first segment of set for users, or for the library's own objects. */
static struct segment *first_of(enum segment_set set, bool is_own)
{
	struct segment *g = segment_next(set, NULL);

	while (g && g->is_own != is_own)
		g = segment_next(set, g);
	return g;
}

/* Find the segment and the first slot for n free slots; NULL with errno ENOMEM. */
static struct segment *find_slots(unsigned int n, bool is_own, unsigned int *slot)
{
	enum segment_set any = n == QUAD ? SET_WITH_QUAD : SET_ROOMY;
	struct segment *g = n == QUAD ? NULL : first_of(SET_WITH_READY, is_own);
	uint64_t free;

	if (!g)
		g = first_of(any, is_own);
	while (!g && get_pages(is_own))
		g = first_of(any, is_own);
	if (!g)
		return NULL;
	segment_validate(g);
	if (n == QUAD) { /* from the top, because single slots are taken from the bottom */
		*slot = 63 - (unsigned int)__builtin_clzll(free_quads(g));
		return g;
	}
	free = g->dirty & ~g->used;
	if (!free)
		free = ~g->used;
	*slot = (unsigned int)__builtin_ctzll(free);
	return g;
}

static void set_page_map_locked(const struct slab *s, uint16_t bin)
{
	uint16_t *map = segment_page_map(slab_start(s));

	for (unsigned int i = 0; i < slab_classes[s->class].slots; i++)
		map[i] = bin;
}

/* The lock is for a window that grows. */
void segment_set_page_map(const struct slab *s, uint16_t bin)
{
	store_lock();
	set_page_map_locked(s, bin);
	store_unlock();
}

struct slab *segment_take(unsigned int class)
{
	const struct class_info *info = &slab_classes[class];
	struct segment *g;
	struct slab *s;
	unsigned int slot;

	store_lock();
	g = find_slots(info->slots, slab_store.is_hardened && class >= CLASS_COUNT, &slot);
	if (!g) {
		store_unlock();
		return NULL;
	}
	s = &g->slabs[slot];
	*s = (struct slab){.class = (uint16_t) class, .slot = (uint8_t)slot};
	s->is_fresh = segment_take_pages(g, slot_pages(slot, info->slots));
	if (s->is_fresh)
		atomic_fetch_add_explicit(&slab_store.grown_slots, info->slots,
					  memory_order_relaxed);
	memset(g->first + slot, (int)slot, info->slots);
	slab_set_checksum(s);
	atomic_thread_fence(memory_order_release); /* for a fork: this bit makes it a slab */
	g->cells |= slab_mask(s);
	g->checksum = segment_checksum_of(g);
	set_page_map_locked(s, slab_bin_of(class));
	store_unlock();
	return s;
}

void segment_give(struct slab *s)
{
	struct segment *g = segment_of(s);
	unsigned int n = slab_classes[s->class].slots;

	store_lock();
	set_page_map_locked(s, 0);
	segment_validate(g);
	slab_store.slab_frees++;
	g->cells &= ~slab_mask(s);
	atomic_thread_fence(memory_order_release);
	slab_clear_bits(s);
	atomic_thread_fence(memory_order_release); /* for a fork: see rebuild_segment */
	s->class = 0; /* detects a second free of its cells */
	g->checksum = segment_checksum_of(g);
	segment_give_pages(g, slot_pages(s->slot, n));
	store_unlock();
}

uint64_t slab_word_before(const void *p)
{
	const _Atomic(uint64_t) *at = (const _Atomic(uint64_t) *)p - 1;
	const struct segment *g = segment_of(at);
	size_t page = (uintptr_t)at % SEGMENT_SIZE >> PAGE_SHIFT, slot = page / SLOT_PAGES;
	bool is_free;
	uint64_t word = 0;

	store_lock();
	is_free = !map_count(g->maps.taken, (struct page_run){page, page + 1});
	if (is_free || g->cells >> slot & 1)
		word = atomic_load_explicit(at, memory_order_relaxed);
	store_unlock();
	return word;
}

bool segment_unmap(struct segment *g)
{
	size_t dirty = map_count(g->maps.dirty, (struct page_run){0, MAP_PAGES});

	for (enum segment_set set = SET_ROOMY; set < SET_WITH_RUNS; set++)
		segment_put(g, set, false);
	memset(g->run_counts, 0, sizeof(g->run_counts));
	put_runs(g, RUN_FREE, ~(uint64_t)0);
	put_runs(g, RUN_DIRTY, ~(uint64_t)0);
	/* For a fork: every set is a subset of the live segments. */
	atomic_thread_fence(memory_order_release);
	segment_put(g, SET_LIVE, false);
	slab_store.unmap_calls++;
	if (sys_unmap(g, segment_size(g)) == 0) {
		slab_store.segments--;
		if (slab_store.growing == g)
			slab_store.growing = NULL;
		slab_store.below = (uintptr_t)g;
		try_again();
		atomic_fetch_sub_explicit(&slab_store.dirty_pages, dirty, memory_order_relaxed);
		return true;
	}
	segment_put(g, SET_LIVE, true); /* the kernel cannot split its mapping */
	segment_update(g);
	return false;
}

int segment_purge(void *p, size_t size)
{
	atomic_fetch_add_explicit(&slab_store.advise_calls, 1, memory_order_relaxed);
	return sys_purge(p, size);
}

int segment_purge_apart(void *p, size_t size, size_t *left)
{
	atomic_fetch_add_explicit(&slab_store.advise_calls, 1, memory_order_relaxed);
	return sys_purge_apart(p, size, left);
}
