// SPDX-License-Identifier: BSD-3-Clause

/*
 * The page heap: segments, and the free pages in them, which slabs and spans come from and go to.
 *
 * 1. A slab is made in the lowest segment that has dirty slots, or else in the lowest that has any:
 *    slots that the kernel has not got back cost no page fault.
 * 2. A span is made in the run of pages that fits best, among the dirty ones first, in the lowest
 *    segment among equals. Runs are classed by length; S7 says which segments have some of a class.
 * 3. Freed pages are dirty until a sweep gives them back: purge.c.
 * 4. All segments lie in one window of the address space, chosen around the first. Where the kernel
 *    will not map there, there are no more segments: the caller makes mappings (mapping.c).
 */

#include <errno.h>
#include <string.h>

#include "fork.h"
#include "slab_core.h"

#define WINDOW_ABOVE ((size_t)16 << 30) /* the kernel maps downwards: most of the window is below */
#define HINT_TRIES 16
#define ALIGNED_TRIES 64 /* segments that may have no aligned place, before one that must */
#define QUARTER_SLOTS (SEGMENT_SLOTS / 4)
/* Hardened, the segments with all guards, and with any: a guard costs the process two mappings. */
#define ALL_GUARDS_MAX 400
#define GUARDS_MAX 900
#define REFUSED_SKIPS 64 /* attempts, at most, that are not made while memory is refused */
#define FULL_SKIPS 4096 /* and where the window is full, which many calls find out */

uintptr_t slab_window;
uint16_t slab_bins[WINDOW_SLABS];

/* All zero, or each process would copy 33 KiB from the file. */
struct store slab_store;

void store_lock(void)
{
	fork_check();
	lock_acquire(&slab_store.lock);
}

void store_unlock(void)
{
	lock_release(&slab_store.lock);
}

/* Sets of segments. */

static void set_put(enum segment_set set, size_t i, bool is_in)
{
	uint64_t *at = &slab_store.bits[i / 64].words[set], *summary;
	uint64_t bit = (uint64_t)1 << i % 64, word = is_in ? *at | bit : *at & ~bit;

	if (word == *at)
		return;
	atomic_store_explicit((_Atomic(uint64_t) *)at, word, memory_order_relaxed);
	summary = &slab_store.summaries[set][i / 64 / 64];
	bit = (uint64_t)1 << i / 64 % 64;
	*summary = word ? *summary | bit : *summary & ~bit;
}

size_t segment_set_next(enum segment_set set, size_t from)
{
	size_t word = from / 64, i;
	uint64_t bits;

	if (from >= WINDOW_SEGMENTS)
		return WINDOW_SEGMENTS;
	bits = slab_store.bits[word].words[set] & ~(uint64_t)0 << from % 64;
	if (bits)
		return word * 64 + (size_t)__builtin_ctzll(bits);
	for (i = (word + 1) / 64, bits = ~(uint64_t)0 << (word + 1) % 64;
	     i < WINDOW_SEGMENTS / 64 / 64; i++, bits = ~(uint64_t)0) {
		bits &= slab_store.summaries[set][i];
		if (!bits)
			continue;
		word = i * 64 + (size_t)__builtin_ctzll(bits);
		bits = slab_store.bits[word].words[set];
		return word * 64 + (size_t)__builtin_ctzll(bits);
	}
	return WINDOW_SEGMENTS;
}

/* The first slots of quads that have room in g. */
static uint64_t free_quads(const struct segment *g)
{
	uint64_t free = ~g->used;

	free &= free >> 1;
	return free & free >> 2 & QUAD_STARTS;
}

void segment_require_sealed(const struct segment *g)
{
	if (segment_is_sealed(g))
		return;
	store_unlock();
	sys_fatal("heap", &g->used, "the header of a segment is overwritten");
}

/* Runs: S7. */

static void put_run_class(enum run_kind kind, unsigned int class, size_t i, bool is_in)
{
	struct run_sets *sets = &slab_store.runs[kind];
	uint64_t *segments = &slab_store.run_groups[i / 64].segments[kind][class];
	uint64_t *groups = &sets->groups[class][i / 64 / 64], bit = (uint64_t)1 << i / 64 % 64;
	uint64_t any = 0;

	*segments ^= (uint64_t)1 << i % 64;
	if (is_in) {
		*groups |= bit;
		sets->classes |= (uint64_t)1 << class;
		return;
	}
	if (*segments)
		return;
	*groups &= ~bit;
	for (size_t word = 0; word < GROUPS / 64; word++)
		any |= sets->groups[class][word];
	if (!any)
		sets->classes &= ~((uint64_t)1 << class);
}

/* Of classes, the sets have g if and only if it has runs of them. */
static void put_runs(struct segment *g, enum run_kind kind, uint64_t classes)
{
	for (; classes; classes &= classes - 1) {
		unsigned int class = (unsigned int)__builtin_ctzll(classes);
		bool is_in = g->run_counts[kind][class];

		if ((g->runs[kind] >> class & 1) == is_in)
			continue;
		g->runs[kind] ^= (uint64_t)1 << class;
		put_run_class(kind, class, segment_index(g), is_in);
	}
}

/* The map of a kind of runs, and what its bits are compared with. */
static const uint64_t *run_map(const struct segment *g, enum run_kind kind, uint64_t *flip)
{
	*flip = kind == RUN_DIRTY ? MAP_ONES : MAP_ZEROS;
	return kind == RUN_DIRTY ? g->maps.dirty : g->maps.taken;
}

/* There are by more runs of n pages, if that is not 0; their class, as a bit. */
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
 * The pages of run are to become of kind (by is 1), or are no more (-1): with its neighbors of that
 * kind it is one run, or they are two. What the map has for run itself does not matter.
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

/* The pages of run, some of them dirty, are to be taken. */
static void take_runs(struct segment *g, struct page_run run)
{
	struct page_run dirty = {.end = run.start}, part;

	change_runs(g, RUN_FREE, run, -1);
	while (map_next_run_up_to(g->maps.dirty, MAP_ONES, &dirty, run.end - 1)) {
		part = dirty;
		if (part.end > run.end)
			part.end = run.end;
		change_runs(g, RUN_DIRTY, part, -1);
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

/* The lowest segment from from on that has a run of class; WINDOW_SEGMENTS: none has. */
static size_t next_with_run(enum run_kind kind, unsigned int class, size_t from)
{
	const uint64_t *groups = slab_store.runs[kind].groups[class];
	uint64_t bits;

	if (from % 64) {
		bits = slab_store.run_groups[from / 64].segments[kind][class] &
		       ~(uint64_t)0 << from % 64;
		if (bits)
			return from / 64 * 64 + (size_t)__builtin_ctzll(bits);
		from = (from / 64 + 1) * 64;
	}
	for (size_t group = from / 64; group < GROUPS; group = (group / 64 + 1) * 64) {
		bits = groups[group / 64] & ~(uint64_t)0 << group % 64;
		if (!bits)
			continue;
		group = group / 64 * 64 + (size_t)__builtin_ctzll(bits);
		bits = slab_store.run_groups[group].segments[kind][class];
		return group * 64 + (size_t)__builtin_ctzll(bits);
	}
	return WINDOW_SEGMENTS;
}

static void put_sets(struct segment *g)
{
	size_t i = segment_index(g);

	g->seal = segment_seal_of(g);
	set_put(segment_set_of(g->is_own, SET_ROOMY), i, ~g->used);
	set_put(segment_set_of(g->is_own, SET_WITH_QUAD), i, free_quads(g));
	set_put(segment_set_of(g->is_own, SET_WITH_READY), i, g->dirty & ~g->used);
	set_put(segment_set_of(g->is_own, SET_WITH_DIRTY), i, g->dirty);
}

/* What follows from the maps where run is, but for its runs. */
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
	g->used = map_slots(g->maps.taken, g->used, all);
	g->dirty = map_slots(g->maps.dirty, g->dirty, all);
	put_sets(g);
}

void slab_harden(void)
{
	slab_store.is_hardened = true;
}

/* A slot that nobody can read or write. Refused, it is only one thing less that is seen. */
static void add_guard(struct segment *g, unsigned int slot)
{
	sys_protect((char *)g + slot * SLAB_SIZE, SLAB_SIZE);
	g->fixed |= (uint64_t)1 << slot;
}

/*
 * Behind the header, at the end, and one at random in each of the first three quarters: no overflow
 * gets far. The first segments have all of these, those behind GUARDS_MAX have none.
 */
static void add_guards(struct segment *g)
{
	uint64_t random = (slab_store.secret ^ (uintptr_t)g) * 0xd6e8feb86659fd93u;
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

/* Mapping. */

static bool is_in_window(const void *p)
{
	return (uintptr_t)p - slab_window < WINDOW_SIZE;
}

static void release_part(char *from, char *to)
{
	if (from < to)
		sys_release(from, (size_t)(to - from));
}

/* An aligned segment somewhere, out of a mapping that is larger. */
static char *map_anywhere(void)
{
	char *p = sys_map(2 * SEGMENT_SIZE), *start;

	if (!p)
		return NULL;
	start = (char *)(((uintptr_t)p + SEGMENT_SIZE - 1) & ~(SEGMENT_SIZE - 1));
	release_part(p, start);
	release_part(start + SEGMENT_SIZE, p + 2 * SEGMENT_SIZE);
	return start;
}

/* Whether a segment at p would be in the window, and not where the main stack may grow to. */
static bool is_place(uintptr_t p)
{
	return is_in_window((char *)p) &&
	       (p + SEGMENT_SIZE <= slab_store.stack.start || p >= slab_store.stack.end);
}

/* At *hint, or some steps from there; *hint moves on. NULL with errno ENOMEM, or EEXIST. */
static char *map_at_hint(uintptr_t *hint, ptrdiff_t step)
{
	char *p = NULL;

	errno = EEXIST;
	for (int i = 0; i < HINT_TRIES && !p && errno == EEXIST; i++) {
		if (!is_place(*hint))
			return NULL;
		p = sys_map_at((char *)*hint, SEGMENT_SIZE);
		if (p || errno == EEXIST)
			*hint += (uintptr_t)step;
	}
	return p;
}

static void choose_window(const char *p)
{
	uintptr_t below = WINDOW_SIZE - WINDOW_ABOVE;

	slab_window = (uintptr_t)p > below ? (uintptr_t)p - below : 0;
	slab_store.below = (uintptr_t)p - SEGMENT_SIZE;
	slab_store.above = (uintptr_t)p + SEGMENT_SIZE;
	slab_store.stack = sys_stack_room();
}

/*
 * Where the kernel chooses: as the first of all segments, or where that is in the window. NULL with
 * errno ENOMEM, or EEXIST.
 */
static char *map_in_window(void)
{
	char *p = map_anywhere();

	if (!p)
		return NULL;
	if (!slab_window) {
		slab_store.secret = sys_secret() * 0xd6e8feb86659fd93u;
		choose_window(p);
	}
	if (is_in_window(p))
		return p;
	sys_release(p, SEGMENT_SIZE);
	errno = EEXIST;
	return NULL;
}

static char *map_segment(void)
{
	const ptrdiff_t step = SEGMENT_SIZE;
	char *p = NULL;

	slab_store.map_calls++;
	if (slab_window) {
		p = map_at_hint(&slab_store.below, -step);
		if (!p && errno == EEXIST)
			p = map_at_hint(&slab_store.above, step);
	}
	return p ? p : map_in_window();
}

/*
 * There was no segment. Mappings do instead, and each call that makes do with one would ask for a
 * segment first: so the next attempts are not made, first one, then twice as many each time. By
 * number, not by time, the memory that is there again is found as fast as it is needed.
 */
static void back_off(unsigned int most)
{
	slab_store.skips = slab_store.next_skips < most ? slab_store.next_skips : most;
	slab_store.next_skips = 2 * slab_store.skips < most ? 2 * slab_store.skips + 1 : most;
}

static void try_again(void)
{
	slab_store.skips = 0;
	slab_store.next_skips = 0;
}

static struct segment *new_segment(bool is_own)
{
	int saved_errno = errno;
	struct segment *g = NULL;

	if (slab_store.skips) {
		slab_store.skips--;
	} else {
		g = (struct segment *)(void *)map_segment();
		if (!g)
			back_off(errno == EEXIST ? FULL_SKIPS : REFUSED_SKIPS);
	}
	if (!g) {
		errno = ENOMEM;
		return NULL;
	}
	errno = saved_errno;
	try_again();
	slab_store.segments++;
	g->fixed = 1;
	if (slab_store.is_hardened)
		add_guards(g);
	for (uint64_t slots = g->fixed; slots; slots &= slots - 1)
		map_set(g->maps.taken, slot_pages((unsigned int)__builtin_ctzll(slots), 1));
	g->is_own = is_own;
	set_put(SET_LIVE, segment_index(g), true);
	segment_update(g);
	return g;
}

/* Pages. */

bool segment_take_pages(struct segment *g, struct page_run run)
{
	size_t dirty = map_count(g->maps.dirty, run), stuck = map_count(g->maps.stuck, run);

	if (!g->is_own)
		take_runs(g, run);
	/* A fork may copy this at any moment: what is in use or dirty never looks clean. */
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

/* The best place in g for n pages aligned to align, among runs of kind. False: none. */
static bool find_in(const struct segment *g, enum run_kind kind, size_t n, size_t align,
		    struct page_run *place)
{
	uint64_t flip;
	const uint64_t *map = run_map(g, kind, &flip);
	size_t best = MAP_PAGES + 1;
	struct page_run run = {0};

	while (best > n && map_next_run(map, flip, &run)) {
		size_t start = (run.start + align - 1) & ~(align - 1);

		if (start + n > run.end || run.end - run.start >= best)
			continue;
		best = run.end - run.start;
		*place = (struct page_run){start, start + n};
	}
	return best <= MAP_PAGES;
}

/* The same in all segments. A run of n + align - 1 pages has room whatever its alignment. */
static struct segment *find_run(enum run_kind kind, size_t n, size_t align, struct page_run *place)
{
	uint64_t classes = slab_store.runs[kind].classes & ~(uint64_t)0 << run_class_over(n);
	unsigned int tries = ALIGNED_TRIES, safe = run_class_over(n + align - 1);

	while (classes) {
		unsigned int class = (unsigned int)__builtin_ctzll(classes);
		size_t i = 0;

		while (tries && (i = next_with_run(kind, class, i)) < WINDOW_SEGMENTS) {
			struct segment *g = segment_at(i++);

			segment_require_sealed(g);
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
	if (g)
		return g;
	g = new_segment(false);
	return g && find_in(g, RUN_FREE, n, align, place) ? g : NULL;
}

/* Slots. */

/* The segment for n slots, and *slot, the first of them; NULL with errno ENOMEM. */
static struct segment *find_slots(unsigned int n, bool is_own, unsigned int *slot)
{
	enum segment_set set = segment_set_of(is_own, n == QUAD ? SET_WITH_QUAD : SET_WITH_READY);
	size_t i = segment_set_next(set, 0);
	struct segment *g;
	uint64_t free;

	if (i == WINDOW_SEGMENTS && n != QUAD)
		i = segment_set_next(segment_set_of(is_own, SET_ROOMY), 0);
	g = i < WINDOW_SEGMENTS ? segment_at(i) : new_segment(is_own);
	if (!g)
		return NULL;
	segment_require_sealed(g);
	if (n == QUAD) { /* from the top: single slots come from the bottom */
		*slot = 63 - (unsigned int)__builtin_clzll(free_quads(g));
		return g;
	}
	free = g->dirty & ~g->used;
	if (!free)
		free = ~g->used;
	*slot = (unsigned int)__builtin_ctzll(free);
	return g;
}

void segment_set_bins(const struct slab *s, uint16_t bin)
{
	size_t slab = ((uintptr_t)slab_start(s) - slab_window) >> SLAB_SHIFT;

	for (unsigned int i = 0; i < slab_classes[s->class].slots; i++)
		slab_bins[slab + i] = bin;
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
	memset(g->first + slot, (int)slot, info->slots);
	slab_seal(s);
	atomic_thread_fence(memory_order_release); /* as above: with this bit it is a slab */
	g->cells |= slab_mask(s);
	g->seal = segment_seal_of(g);
	store_unlock();
	segment_set_bins(s, slab_bin_of(class));
	return s;
}

void segment_give(struct slab *s)
{
	struct segment *g = segment_of(s);
	unsigned int n = slab_classes[s->class].slots;

	segment_set_bins(s, 0);
	store_lock();
	segment_require_sealed(g);
	slab_store.slab_frees++;
	g->cells &= ~slab_mask(s);
	atomic_thread_fence(memory_order_release);
	memset(slab_bits(s), 0, n * sizeof(g->bits[0]));
	s->class = 0;
	g->seal = segment_seal_of(g);
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
	size_t i = segment_index(g);
	size_t dirty = map_count(g->maps.dirty, (struct page_run){0, MAP_PAGES});

	for (enum segment_set set = SET_ROOMY; set < SET_COUNT; set++)
		set_put(set, i, false);
	memset(g->run_counts, 0, sizeof(g->run_counts));
	put_runs(g, RUN_FREE, ~(uint64_t)0);
	put_runs(g, RUN_DIRTY, ~(uint64_t)0);
	/* For a fork: what is not live is in no other set. */
	atomic_thread_fence(memory_order_release);
	set_put(SET_LIVE, i, false);
	slab_store.unmap_calls++;
	if (sys_unmap(g, SEGMENT_SIZE) == 0) {
		slab_store.segments--;
		slab_store.below = (uintptr_t)g;
		try_again();
		atomic_fetch_sub_explicit(&slab_store.dirty_pages, dirty, memory_order_relaxed);
		return true;
	}
	set_put(SET_LIVE, i, true); /* no room to note the hole */
	segment_update(g);
	return false;
}
