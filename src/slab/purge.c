// SPDX-License-Identifier: BSD-3-Clause

/*
 * Free pages of segments are purged.
 *
 * 1. A freed page stays dirty for one period at least; then a sweep purges it, run by run. An empty
 *    segment is unmapped, unless it is the last. While the process grows despite dirty pages, it
 *    cannot use them, and sweeps come early.
 * 2. If the kernel refuses to purge a run, because the program has locked a page of it, the run is
 *    halved down to single pages. Refused pages are stuck until a trim tries again.
 * 3. A trim purges everything now.
 * 4. Hardened, pages of users are zero while they are free. They are checked before a purge, which
 *    would hide a write.
 */

#include <errno.h>

#include "slab_core.h"
#include "tunables.h"
#include "zero.h"

_Atomic(uint64_t) slab_sweep_period_ms = SWEEP_PERIOD_MS;

/* Rule 4, for run of g. The caller has the store's lock. */
static void require_zero(const struct segment *g, struct page_run run)
{
	const char *start = (const char *)g + run.start * PAGE_BYTES;
	const void *written;

	if (!slab_store.is_hardened || g->is_own)
		return;
	written = first_not_zero(start, (run.end - run.start) * PAGE_BYTES);
	if (!written)
		return;
	store_unlock();
	sys_fatal("malloc", written, "this free memory was written to");
}

/* The same for all dirty pages of g. */
static void require_dirty_zero(const struct segment *g)
{
	struct page_run run = {0};

	while (map_next_run(g->maps.dirty, MAP_ONES, &run))
		require_zero(g, run);
}

/* Purge dirty run: rule 2. */
static void purge_run(struct segment *g, struct page_run run)
{
	size_t pages = run.end - run.start, half = pages / 2;
	char *start = (char *)g + run.start * PAGE_BYTES;

	if (segment_purge(start, pages * PAGE_BYTES) == 0) {
		map_clear(g->maps.dirty, run);
	} else if (pages * PAGE_BYTES > sys_page_size()) {
		half &= ~(sys_page_size() / PAGE_BYTES - 1);
		purge_run(g, (struct page_run){run.start, run.start + half});
		purge_run(g, (struct page_run){run.start + half, run.end});
	} else {
		map_set(g->maps.stuck, run); /* first, for a fork: the page never looks clean */
		atomic_thread_fence(memory_order_release);
		map_clear(g->maps.dirty, run);
	}
}

static bool is_due(const struct segment *g, unsigned int slot, bool all)
{
	return all || g->epoch[slot] != slab_store.epoch;
}

/* Purge the dirty pages of g in slots that are due. Returns their number. */
static size_t purge_pages(struct segment *g, bool all)
{
	uint64_t due[MAP_WORDS];
	struct page_run run = {0};
	size_t purged = 0;

	memcpy(due, g->maps.dirty, sizeof(due));
	for (unsigned int slot = 0; slot < SEGMENT_SLOTS; slot++)
		if (g->dirty >> slot & 1 && !is_due(g, slot, all))
			map_clear(due, slot_pages(slot, 1));
	while (map_next_run(due, MAP_ONES, &run)) {
		require_zero(g, run);
		purge_run(g, run);
		purged += run.end - run.start;
	}
	atomic_fetch_sub_explicit(&slab_store.dirty_pages, purged, memory_order_relaxed);
	return purged;
}

/* Whether no slab has bits in bytes [from, to) of g->bits. */
static bool is_bits_range_free(const struct segment *g, size_t from, size_t to)
{
	for (size_t slot = from / sizeof(g->bits[0]); slot * sizeof(g->bits[0]) < to; slot++)
		if (g->cells >> slot & 1)
			return false;
	return true;
}

/* Purge the pages of g's header that hold bits of unused slots only. */
static void purge_bits(struct segment *g)
{
	size_t page = sys_page_size(), all = sizeof(g->bits), end;
	char *bits = (char *)g->bits;
	size_t first = -(uintptr_t)bits % page;

	segment_validate(g);
	for (size_t from = first; from + page <= all; from = end + page) {
		for (end = from; end + page <= all && is_bits_range_free(g, end, end + page);
		     end += page)
			;
		if (end > from)
			segment_purge(bits + from, end - from);
	}
}

static bool is_young(const struct segment *g, bool all)
{
	for (uint64_t slots = g->dirty; slots; slots &= slots - 1)
		if (!is_due(g, (unsigned int)__builtin_ctzll(slots), all))
			return true;
	return false;
}

/* Purge and unmap what is due. Returns whether there was any. */
static bool give_back(bool all)
{
	bool is_any = sys_release_rest();
	struct segment *g = NULL;
	size_t pages = 0;

	while ((g = segment_next(SET_WITH_DIRTY, g))) {
		size_t dirty = map_count(g->maps.dirty, (struct page_run){0, MAP_PAGES});

		segment_validate(g);
		if (g->used == g->fixed && !is_young(g, all) && slab_store.segments > 1) {
			require_dirty_zero(g);
			if (segment_unmap(g)) {
				pages += dirty;
				continue;
			}
		}
		pages += purge_pages(g, all);
		segment_update(g);
	}
	return pages || is_any;
}

size_t slab_frees(void)
{
	return slab_store.slab_frees + slab_store.span_frees;
}

size_t slab_grown_bytes(void)
{
	return atomic_load_explicit(&slab_store.grown_slots, memory_order_relaxed) * SLAB_SIZE;
}

bool slab_begin_sweep(bool is_early)
{
	_Atomic(uint64_t) *last_ms =
		is_early ? &slab_store.last_early_ms : &slab_store.last_sweep_ms;
	uint64_t now = sys_now_ms(), last = *last_ms;

	if (now - last < slab_sweep_period_ms / (is_early ? EARLY_SHARE : 1) ||
	    !atomic_compare_exchange_strong(last_ms, &last, now))
		return false;
	slab_store.is_early = is_early;
	slab_store.is_sweeping = true;
	slab_store.grown_slots = 0;
	return true;
}

void slab_end_sweep(void)
{
	int saved_errno = errno;
	uint32_t epoch;

	slab_store.is_sweeping = false;
	store_lock();
	give_back(false);
	epoch = slab_store.epoch++;
	store_unlock();
	if (slab_store.sparse_slots && (slab_store.is_early || epoch % SPARSE_EVERY == 0))
		slab_sweep_pages();
	errno = saved_errno;
}

/* Retry stuck pages: the program may have unlocked them. */
static void try_stuck_again(struct segment *g)
{
	struct page_run all = {0, MAP_PAGES};

	atomic_fetch_add_explicit(&slab_store.dirty_pages, map_count(g->maps.stuck, all),
				  memory_order_relaxed);
	for (size_t i = 0; i < MAP_WORDS; i++)
		g->maps.dirty[i] |= g->maps.stuck[i];
	map_clear(g->maps.stuck, all);
	segment_update(g);
}

bool slab_trim_segments(void)
{
	struct segment *g = NULL;
	bool is_any;

	store_lock();
	while ((g = segment_next(SET_LIVE, g)))
		if (map_next(g->maps.stuck, 0, MAP_ONES) < MAP_PAGES)
			try_stuck_again(g);
	is_any = give_back(true);
	while ((g = segment_next(SET_LIVE, g))) {
		/* The kernel may have refused this before. */
		if (g->used == g->fixed && slab_store.segments > 1 && segment_unmap(g))
			is_any = true;
		else
			purge_bits(g);
	}
	store_unlock();
	return is_any;
}

bool slab_trim(void)
{
	bool is_any = false;

	for (unsigned int class = 1; class < CLASS_END; class += 1)
		is_any |= slab_trim_pages(class);
	return slab_trim_segments() || is_any;
}

size_t slab_dirty_bytes(void)
{
	size_t bytes =
		atomic_load_explicit(&slab_store.dirty_pages, memory_order_relaxed) * PAGE_BYTES;

	/* Half, so that a sparse slab that becomes free counts as growth and polling continues. */
	return bytes + atomic_load_explicit(&slab_store.sparse_slots, memory_order_relaxed) *
			       (SLAB_SIZE / 2);
}
