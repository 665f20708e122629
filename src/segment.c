// SPDX-License-Identifier: BSD-3-Clause

/*
 * Segments: where slabs come from and go to.
 *
 * 1. A slab is made in the lowest segment that has dirty slots, or else in the lowest that has any:
 *    slots that the kernel has not got back cost no page fault.
 * 2. Freed slots stay dirty for a period at least, then a sweep gives their pages back. A segment
 *    with nothing in it goes back whole, but for the last one.
 * 3. All segments lie in one window of the address space, chosen around the first. Where the kernel
 *    will not map there, there are no more segments: the caller has another heap.
 */

#include <errno.h>
#include <string.h>
#include <sys/single_threaded.h>

#include "slab_core.h"

#define SWEEP_PERIOD_MS 150
#define WINDOW_ABOVE ((size_t)16 << 30) /* the kernel maps downwards: most of the window is below */
#define HINT_TRIES 16
#define REFUSED_SKIPS 64 /* attempts, at most, that are not made while memory is refused */
#define FULL_SKIPS 4096 /* and where the window is full, which many calls find out */

uintptr_t slab_window;
uint16_t slab_bins[WINDOW_SLABS];

static _Atomic(uint64_t) sweep_period_ms = SWEEP_PERIOD_MS;

/* Its lock is a plain one: all zero, or each process would copy 33 KiB from the file. */
struct store slab_store = {.lock = PTHREAD_MUTEX_INITIALIZER};

void store_lock(void)
{
	if (__libc_single_threaded)
		return;
	pthread_mutex_lock(&slab_store.lock);
	slab_store.is_locked = true;
}

void store_unlock(void)
{
	if (!slab_store.is_locked)
		return;
	slab_store.is_locked = false;
	pthread_mutex_unlock(&slab_store.lock);
}

/* Lock the store for other than a slab's sake. False: a fork is under way. */
static bool store_enter(void)
{
	store_lock();
	if (!atomic_load(&slab_store.frozen))
		return true;
	store_unlock();
	return false;
}

/* Sets of segments. */

static void set_put(enum segment_set set, size_t i, bool is_in)
{
	uint64_t *at = &slab_store.bits[i / 64].words[set], *summary;
	uint64_t bit = (uint64_t)1 << i % 64, word = is_in ? *at | bit : *at & ~bit;

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

static struct segment *segment_at(size_t i)
{
	return (struct segment *)(slab_window + i * SEGMENT_SIZE);
}

static size_t segment_index(const struct segment *g)
{
	return ((uintptr_t)g - slab_window) / SEGMENT_SIZE;
}

/* The first slots of quads that have room in g. */
static uint64_t free_quads(const struct segment *g)
{
	uint64_t free = ~g->used;

	free &= free >> 1;
	return free & free >> 2 & QUAD_STARTS;
}

/* The store is entered. */
static void require_sealed(const struct segment *g)
{
	if (segment_is_sealed(g))
		return;
	store_unlock();
	sys_fatal("heap", &g->used, "the header of a segment is overwritten");
}

/* g, which has changed, is as it should be. */
static void update(struct segment *g)
{
	size_t i = segment_index(g);

	g->seal = segment_seal_of(g);
	set_put(segment_set_of(g->is_own, SET_ROOMY), i, ~g->used);
	set_put(segment_set_of(g->is_own, SET_WITH_QUAD), i, free_quads(g));
	set_put(segment_set_of(g->is_own, SET_WITH_DIRTY), i, g->dirty);
}

void slab_harden(void)
{
	slab_store.is_hardened = true;
}

/* Refused, it is only one thing less that is seen. */
static void add_guards(struct segment *g)
{
	size_t page = sys_page_size();
	char *start = (char *)g;

	if (sizeof(*g) + page <= SLAB_SIZE)
		sys_protect(start + SLAB_SIZE - page, page);
	sys_protect(start + SEGMENT_SIZE - SLAB_SIZE, SLAB_SIZE);
	g->fixed |= (uint64_t)1 << (SEGMENT_SLOTS - 1);
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

/* At *hint, or some steps from there; *hint moves on. NULL with errno ENOMEM, or EEXIST. */
static char *map_at_hint(uintptr_t *hint, ptrdiff_t step)
{
	char *p = NULL;

	errno = EEXIST;
	for (int i = 0; i < HINT_TRIES && !p && errno == EEXIST; i++) {
		if (!is_in_window((char *)*hint))
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
 * There was no segment. Blocks do instead, and whoever makes do with them would ask for a segment
 * each time: so the next attempts are not made, first one, then twice as many each time. By number,
 * not by time, the memory that is there again is found as fast as it is needed.
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
	g->used = g->fixed;
	g->is_own = is_own;
	set_put(SET_LIVE, segment_index(g), true);
	update(g);
	return g;
}

/* Slots. */

/* The segment for n slots, and *slot, the first of them; NULL with errno ENOMEM. */
static struct segment *find_slots(unsigned int n, bool is_own, unsigned int *slot)
{
	enum segment_set set = segment_set_of(is_own, n == QUAD ? SET_WITH_QUAD : SET_WITH_DIRTY);
	size_t i = segment_set_next(set, 0);
	struct segment *g;
	uint64_t free;

	if (i == WINDOW_SEGMENTS && n != QUAD)
		i = segment_set_next(segment_set_of(is_own, SET_ROOMY), 0);
	g = i < WINDOW_SEGMENTS ? segment_at(i) : new_segment(is_own);
	if (!g)
		return NULL;
	require_sealed(g);
	if (n == QUAD) { /* from the top: single slots come from the bottom */
		*slot = 63 - (unsigned int)__builtin_clzll(free_quads(g));
		return g;
	}
	free = g->dirty ? g->dirty : ~g->used;
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
	uint64_t mask;

	store_lock();
	g = find_slots(info->slots, slab_store.is_hardened && class >= CLASS_COUNT, &slot);
	if (!g) {
		store_unlock();
		return NULL;
	}
	s = &g->slabs[slot];
	*s = (struct slab){.class = (uint16_t) class, .slot = (uint8_t)slot};
	mask = slab_mask(s);
	s->is_fresh = !(g->dirty & mask);
	atomic_fetch_sub_explicit(&slab_store.dirty_slots,
				  (size_t)__builtin_popcountll(g->dirty & mask),
				  memory_order_relaxed);
	g->dirty &= ~mask;
	g->used |= mask;
	memset(g->first + slot, (int)slot, info->slots);
	slab_seal(s);
	update(g);
	store_unlock();
	segment_set_bins(s, slab_bin_of(class));
	return s;
}

void segment_give(struct slab *s)
{
	struct segment *g = segment_of(s);
	unsigned int n = slab_classes[s->class].slots;
	uint64_t mask = slab_mask(s);

	memset(slab_bits(s), 0, n * sizeof(g->bits[0]));
	segment_set_bins(s, 0);
	store_lock();
	require_sealed(g);
	g->used &= ~mask;
	g->dirty |= mask;
	for (unsigned int i = 0; i < n; i++)
		g->epoch[s->slot + i] = slab_store.epoch - slab_store.is_sweeping;
	s->class = 0;
	atomic_fetch_add_explicit(&slab_store.dirty_slots, n, memory_order_relaxed);
	update(g);
	store_unlock();
}

/* Giving back. */

int segment_purge(void *p, size_t size)
{
	atomic_fetch_add_explicit(&slab_store.advise_calls, 1, memory_order_relaxed);
	return sys_purge(p, size);
}

static bool is_due(const struct segment *g, unsigned int slot, bool all)
{
	return g->dirty >> slot & 1 && (all || g->epoch[slot] != slab_store.epoch);
}

/* Purge the dirty slots of g that are due, run by run; how many. */
static size_t purge_slots(struct segment *g, bool all)
{
	size_t purged = 0;
	unsigned int i, end;

	for (i = 1; i < SEGMENT_SLOTS; i = end + 1) {
		uint64_t run = 0;

		for (end = i; end < SEGMENT_SLOTS && is_due(g, end, all); end++)
			run |= (uint64_t)1 << end;
		if (!run)
			continue;
		if (segment_purge((char *)g + i * SLAB_SIZE, (end - i) * SLAB_SIZE) < 0) {
			slab_store.is_refused = true;
			continue;
		}
		g->dirty &= ~run;
		purged += end - i;
	}
	atomic_fetch_sub_explicit(&slab_store.dirty_slots, purged, memory_order_relaxed);
	return purged;
}

/* Unmap g, which has no slab; its dirty slots go with it. */
static void unmap_segment(struct segment *g)
{
	size_t i = segment_index(g);
	size_t dirty = (size_t)__builtin_popcountll(g->dirty);

	set_put(SET_LIVE, i, false);
	for (enum segment_set set = SET_ROOMY; set < SET_COUNT; set++)
		set_put(set, i, false);
	slab_store.unmap_calls++;
	if (sys_unmap(g, SEGMENT_SIZE) == 0) {
		slab_store.segments--;
		slab_store.below = (uintptr_t)g;
		try_again();
		atomic_fetch_sub_explicit(&slab_store.dirty_slots, dirty, memory_order_relaxed);
		return;
	}
	set_put(SET_LIVE, i, true); /* no room to note the hole */
	purge_slots(g, true);
	update(g);
}

/* Whether no slab has its bits in [from, to) of g->bits: then they all are zero. */
static bool is_bits_range_free(const struct segment *g, size_t from, size_t to)
{
	for (size_t slot = from / sizeof(g->bits[0]); slot * sizeof(g->bits[0]) < to; slot++)
		if (slot && g->used >> slot & 1)
			return false;
	return true;
}

/* Purge the pages of g's header that only slots without a slab would use, run by run. */
static void purge_bits(struct segment *g)
{
	size_t page = sys_page_size(), end;
	char *bits = (char *)g->bits;
	size_t first = -(uintptr_t)bits % page;

	require_sealed(g);
	for (size_t from = first; from + page <= sizeof(g->bits); from = end + page) {
		for (end = from;
		     end + page <= sizeof(g->bits) && is_bits_range_free(g, end, end + page);
		     end += page)
			;
		if (end > from)
			segment_purge(bits + from, end - from);
	}
}

/* Give back what is due of segments of one kind; how many slots, purged and unmapped. */
static size_t give_back_of(enum segment_set with_dirty, bool all)
{
	size_t slots = 0, i;

	for (i = segment_set_next(with_dirty, 0); i < WINDOW_SEGMENTS;
	     i = segment_set_next(with_dirty, i + 1)) {
		struct segment *g = segment_at(i);
		bool is_young = false;

		require_sealed(g);
		for (unsigned int slot = 1; slot < SEGMENT_SLOTS; slot++)
			is_young |= (g->dirty >> slot & 1) && !is_due(g, slot, all);
		if (g->used == g->fixed && !is_young && slab_store.segments > 1) {
			slots += (size_t)__builtin_popcountll(g->dirty);
			unmap_segment(g);
		} else {
			slots += purge_slots(g, all);
			update(g);
		}
	}
	return slots;
}

static bool give_back(bool all)
{
	size_t slots;

	slab_store.is_refused = false;
	sys_release_rest();
	slots = give_back_of(SET_WITH_DIRTY, all);
	return slots + give_back_of(SET_OWN_WITH_DIRTY, all);
}

void slab_set_sweep_period(uint64_t ms)
{
	sweep_period_ms = ms;
}

bool slab_begin_sweep(void)
{
	uint64_t now = sys_now_ms(), last = slab_store.last_sweep_ms;

	if (now - last < sweep_period_ms ||
	    !atomic_compare_exchange_strong(&slab_store.last_sweep_ms, &last, now))
		return false;
	slab_store.is_sweeping = true;
	return true;
}

void slab_end_sweep(void)
{
	int saved_errno = errno;
	uint32_t epoch;

	slab_store.is_sweeping = false;
	if (!store_enter())
		return;
	give_back(false);
	epoch = slab_store.epoch++;
	store_unlock();
	if (slab_store.sparse_slots)
		slab_sweep_pages(epoch);
	errno = saved_errno;
}

bool slab_trim(void)
{
	bool is_any = false;

	for (unsigned int class = 1; class < CLASS_END; class += 1)
		is_any |= slab_trim_pages(class);
	if (!store_enter())
		return is_any;
	is_any |= give_back(true);
	for (size_t i = segment_set_next(SET_LIVE, 0); i < WINDOW_SEGMENTS;
	     i = segment_set_next(SET_LIVE, i + 1))
		purge_bits(segment_at(i));
	store_unlock();
	return is_any;
}

size_t slab_dirty_bytes(void)
{
	size_t bytes = 0;

	if (!slab_store.is_refused)
		bytes += atomic_load_explicit(&slab_store.dirty_slots, memory_order_relaxed) *
			 SLAB_SIZE;
	/* By half: a sparse slab that becomes free is growth, which keeps up a watch. */
	if (!slab_store.is_sparse_refused)
		bytes += atomic_load_explicit(&slab_store.sparse_slots, memory_order_relaxed) *
			 (SLAB_SIZE / 2);
	return bytes;
}
