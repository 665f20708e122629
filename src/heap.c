// SPDX-License-Identifier: BSD-3-Clause

/*
 * The libc heap: the block heap for the C library's names. Beyond the core (osmem.c) it has any
 * alignment, mappings that are resized by the kernel, a threshold that adapts, free pages that go
 * back after a delay, and it survives fork at any moment (fork.c). A mapping that is freed becomes
 * a region, so that what comes and goes meets the pages that it left; empty regions go back as free
 * pages do.
 */

#include <errno.h>
#include <string.h>
#include <sys/single_threaded.h>

#include "heap_core.h"
#include "kept.h"

#define THRESHOLD_MAX (32 * MIB) /* how far the threshold adapts, as glibc's does */
#define GROWTH_SHIFT 3 /* an eighth more where a block grows */
#define SWEEP_PERIOD_MS 250
#define SWEEP_TICKS 16 /* calls between two looks at the clock */
#define SWEEP_BYTES_PER_MS (4 * MIB) /* bounds how long one sweep holds the lock */

static struct heap *const libc_heap = &heaps[HEAP_LIBC];

static _Atomic(uint64_t) sweep_period_ms = SWEEP_PERIOD_MS;

_Atomic(bool) heap_has_oversized;

static size_t usable_size(size_t size)
{
	return size > LIBC_MIN_SIZE ? round_up(size, HEAP_ALIGN) : LIBC_MIN_SIZE;
}

static void release(struct heap *h, struct block_meta *b)
{
	h->dirtied += b->size;
	heap_release(h, b);
}

/* Delayed return of free pages. */

struct sweep {
	struct heap *h;
	bool is_trim; /* everything, now */
	size_t budget; /* bytes still to be given back in this go */
	size_t left; /* bytes that stay: too young, or over the budget */
	size_t purged;
};

/* The whole pages of free block b behind its links; their number of bytes. */
static size_t whole_pages(struct block_meta *b, char **start)
{
	size_t page = sys_page_size();
	char *end = round_down_ptr(block_end(b), page);

	*start = round_down_ptr((char *)(to_spare(b) + 1) + page - 1, page);
	return *start < end ? (size_t)(end - *start) : 0;
}

static bool sweep_block(struct block_meta *b, void *arg)
{
	struct sweep *s = arg;
	struct spare *spare = to_spare(b);
	const struct region *r = heap_find_region(s->h, b);
	char *start;
	size_t size = whole_pages(b, &start);

	if (!r || !heap_is_linked(s->h, r, b)) /* or what its size says is anybody's */
		heap_corrupted(s->h, b);
	if (!size || spare->dirty < (s->is_trim ? 1 : PURGE_MIN))
		return true;
	if (!s->is_trim && (spare->epoch == s->h->epoch || !s->budget)) {
		s->left += spare->dirty;
		return true;
	}
	s->h->stats.advise_calls++;
	if (sys_purge(start, size) < 0)
		return true;
	s->purged += size;
	s->budget -= s->budget < spare->dirty ? s->budget : spare->dirty;
	spare->dirty = 0;
	return true;
}

enum empties {
	OLD,
	ALL_BUT_GROWING,
	ALL
};

/* Regions that are one free block go back whole. */
static size_t unmap_empty_regions(struct heap *h, enum empties which)
{
	size_t unmapped = 0;

	for (size_t i = h->region_count; i-- > 0;) {
		struct region r = h->regions[i];
		struct block_meta *b = (struct block_meta *)(void *)r.start;

		if (b->status != STATUS_FREE || block_end(b) != r.end)
			continue;
		if ((which != ALL && i == h->growing) ||
		    (which == OLD && to_spare(b)->epoch == h->epoch))
			continue;
		if (!heap_is_linked(h, &h->regions[i], b))
			heap_corrupted(h, b);
		heap_unindex(h, b);
		heap_remove_region(h, &h->regions[i]);
		h->stats.unmap_calls++;
		sys_release(r.start, (size_t)(r.limit - r.start));
		unmapped += (size_t)(r.end - r.start);
	}
	return unmapped;
}

/* The kernel has refused memory: see what can be found, and given back. False: nothing. */
static bool reclaim(struct heap *h)
{
	bool has_more = sys_release_rest() || guard_drain();

	heap_settle(h);
	return unmap_empty_regions(h, ALL) || has_more;
}

static bool enter_and_reclaim(struct heap *h)
{
	bool has_more;

	if (!heap_enter(h))
		return false;
	has_more = reclaim(h);
	heap_leave(h);
	return has_more;
}

/* Give back what has been free for a whole period; called under the lock, now and then. */
static void sweep(struct heap *h)
{
	int saved_errno = errno;
	uint64_t now = sys_now_ms(), elapsed = now - h->last_sweep_ms;
	struct sweep s = {.h = h};

	if (elapsed < sweep_period_ms)
		return;
	s.budget = elapsed < 10 * sweep_period_ms ? elapsed * SWEEP_BYTES_PER_MS : SIZE_MAX;
	heap_settle(h);
	index_visit_large(&h->index, PURGE_MIN, sweep_block, &s);
	unmap_empty_regions(h, OLD);
	h->epoch++;
	h->dirtied = s.left;
	h->last_sweep_ms = now;
	errno = saved_errno;
}

static void tick(struct heap *h)
{
	if (h->dirtied > h->trim_threshold && ++h->ticks % SWEEP_TICKS == 0)
		sweep(h);
}

static void sweep_kept(void)
{
	if (kept_bytes())
		kept_sweep(sweep_period_ms);
}

size_t heap_dirty_bytes(void)
{
	size_t dirty = libc_heap->dirtied + kept_bytes();

	return dirty > libc_heap->trim_threshold ? dirty : 0;
}

void heap_sweep(void)
{
	struct heap *h = libc_heap;

	if (!heap_dirty_bytes() || !heap_enter(h))
		return;
	sweep(h);
	heap_leave(h);
	sweep_kept();
}

bool heap_trim(void)
{
	struct heap *h = libc_heap;
	struct sweep s = {.h = h, .is_trim = true};
	size_t unmapped;
	bool had_kept = kept_bytes();

	if (had_kept)
		kept_trim();
	if (!heap_enter(h))
		return had_kept;
	heap_settle(h);
	unmapped = unmap_empty_regions(h, ALL);
	index_visit_large(&h->index, INDEX_EXACT_MAX + 1, sweep_block, &s);
	h->dirtied = 0;
	heap_leave(h);
	return s.purged || unmapped || had_kept;
}

/* Mappings. */

/* Give the pages in [from, to) back, the unused edge of a mapping. */
static void release_edge(char *from, char *to)
{
	if (from < to)
		sys_release(from, (size_t)(to - from));
}

/*
 * A mapped block of at least size bytes, whole pages, its payload aligned to align; not registered.
 */
static struct block_meta *map_aligned(size_t size, size_t align)
{
	size_t page = sys_page_size(), total, surplus = 0;
	char *p, *payload, *start, *end, *low;

	if (heap_guard && align <= META)
		return guard_map(size, align < HEAP_ALIGN ? HEAP_ALIGN : align);
	if (align < META)
		align = META;
	/* Room for a payload at any multiple of align, its header in the page before if need be. */
	if (__builtin_add_overflow(size, align > page ? align + page : align, &total) ||
	    total > PTRDIFF_MAX - 4 * page) {
		errno = ENOMEM;
		return NULL;
	}
	total = round_up(total, page);
	if (heap_guard)
		surplus = round_up(total >> KEPT_CLASS_BITS, page) + heap_guard;
	total += surplus + heap_guard;
	p = sys_map(total);
	if (!p)
		return NULL;
	payload = (char *)round_up((uintptr_t)p + surplus + META, align);
	end = (char *)round_up((uintptr_t)payload + size, page);
	start = round_down_ptr(payload - META, page);
	low = heap_guard ? guard_low(start, end) : start;
	release_edge(p, low);
	release_edge(end + heap_guard, p + total);
	if (heap_guard)
		guard_protect(start, end);
	return heap_make_mapped(payload - META, (size_t)(end - payload));
}

/* Register b, made by is_new allocations: one, or none if it has only moved. */
static void enter_mapped(struct heap *h, struct block_meta *b, unsigned int is_new)
{
	if (heap_enter(h)) {
		h->stats.allocs += is_new;
		h->stats.map_calls += is_new;
		heap_register_mapped(h, b);
		heap_leave(h);
		return;
	}
	heap_side_register(h, b);
}

/*
 * What to ask for where a block that grows to size is copied or moved: it will grow again. With
 * guards it cannot but move each time: half as much again, up to what a trailer can tell
 * (hardened.c).
 */
static size_t with_headroom(size_t size)
{
	if (heap_guard)
		return size + (size / 2 < HEAP_GUARDED_ROOM_MAX ? size / 2 : HEAP_GUARDED_ROOM_MAX);
	return size + (size >> GROWTH_SHIFT);
}

static struct block_meta *remap_once(struct block_meta *b, size_t size)
{
	size_t now = round_up(META + size, sys_page_size());
	struct block_meta *moved;

	if (heap_guard)
		return guard_remap(b, size);
	moved = sys_remap(b, META + b->size, now);
	return moved ? heap_make_mapped((char *)moved, now - META) : NULL;
}

/* Resize a mapped block that starts its mapping; it is registered by nobody meanwhile. */
static void *remap(struct heap *h, struct block_meta *b, size_t size)
{
	struct block_meta *moved = NULL;

	heap_unregister_mapped(h, b);
	h->stats.remap_calls++;
	heap_leave(h);
	if (size > b->size)
		moved = remap_once(b, with_headroom(size));
	if (!moved)
		moved = remap_once(b, size);
	if (!moved && enter_and_reclaim(h))
		moved = remap_once(b, size);
	enter_mapped(h, moved ? moved : b, 0);
	return moved ? moved + 1 : NULL;
}

/* Allocation. */

/*
 * Make room in front of b so that its payload is aligned; b is at least size + align + META +
 * LIBC_MIN_SIZE bytes. Returns the aligned block, at least size bytes.
 */
static struct block_meta *align_block(struct heap *h, struct block_meta *b, size_t align)
{
	size_t gap = round_up((uintptr_t)(b + 1), align) - (uintptr_t)(b + 1);
	struct block_meta *aligned;

	if (!gap)
		return b;
	if (gap < META + LIBC_MIN_SIZE) /* not a block's worth; the next place is */
		gap = round_up((uintptr_t)(b + 1) + META + LIBC_MIN_SIZE, align) -
		      (uintptr_t)(b + 1);
	aligned = heap_cut(h, b, gap - META);
	index_defer(&h->index, b);
	return aligned;
}

/* A live block of the regions, or NULL. *fresh: its payload has never been used. */
static struct block_meta *place_aligned(struct heap *h, size_t size, size_t align, bool *fresh)
{
	bool is_plain = align <= HEAP_ALIGN;
	struct block_meta *b;

	b = heap_place(h, is_plain ? size : size + align + META + LIBC_MIN_SIZE, fresh);
	if (!b)
		return NULL;
	if (!is_plain) {
		b = align_block(h, b, align);
		if (b->size - size >= META + LIBC_MIN_SIZE)
			index_defer(&h->index, heap_cut(h, b, size));
	}
	heap_make_live(h, b);
	h->stats.allocs++;
	return b;
}

HEAP_HOT void *fill(struct block_meta *b, size_t size, bool zero, bool fresh)
{
	unsigned char perturb = libc_heap->perturb;

	if (!b)
		return NULL;
	if (zero && !fresh)
		memset(b + 1, 0, size);
	else if (perturb && !zero)
		memset(b + 1, (unsigned char)~perturb, b->size);
	return b + 1;
}

/* A mapping of its own; where the kernel refuses one, what is free in the regions may still do. */
static void *alloc_large(struct heap *h, size_t size, size_t align, bool zero)
{
	struct block_meta *b = map_aligned(size, align);
	bool fresh = true;

	if (!b && enter_and_reclaim(h))
		b = map_aligned(size, align);
	if (b) {
		enter_mapped(h, b, 1);
		return fill(b, size, zero, true);
	}
	if (size >= PTRDIFF_MAX / 2 || align >= PTRDIFF_MAX / 4 || !heap_enter(h))
		return NULL;
	b = place_aligned(h, size, align, &fresh);
	heap_leave(h);
	return fill(b, size, zero, fresh);
}

void *heap_alloc(size_t size, size_t align, bool zero)
{
	struct heap *h = libc_heap;
	struct block_meta *b;
	bool fresh;

	if (size > PTRDIFF_MAX - META - HEAP_ALIGN) {
		errno = ENOMEM;
		return NULL;
	}
	size = usable_size(size);
	if (size >= h->threshold || align >= h->threshold || !heap_enter(h))
		return alloc_large(h, size, align, zero);
	b = place_aligned(h, size, align, &fresh);
	if (!b && reclaim(h))
		b = place_aligned(h, size, align, &fresh);
	tick(h);
	heap_leave(h);
	return fill(b, size, zero, fresh);
}

/*
 * The mapping of b, a mapped block that is freed, becomes a region, for the next of its kind. Those
 * of the ones before it are not kept beyond what the program had at once. False: it does not.
 */
static bool keep_mapping(struct heap *h, struct block_meta *b)
{
	size_t size = b->size;

	if (size > h->threshold)
		h->threshold = META + size + 1;
	if (size < MMAP_THRESHOLD - META || (uintptr_t)b % sys_page_size())
		return false;
	if (h->stats.region_bytes + size > h->stats.peak_bytes) {
		heap_settle(h);
		unmap_empty_regions(h, ALL_BUT_GROWING);
	}
	if (!heap_adopt_region(h, b))
		return false;
	h->dirtied += size;
	return true;
}

struct block_meta *heap_free_entered(struct heap *h, const char *call, void *p)
{
	struct block_meta *b = heap_block_of(h, call, p, false);

	h->stats.frees++;
	if (b->status != STATUS_MAPPED) {
		release(h, b);
		tick(h);
		return NULL;
	}
	heap_unregister_mapped(h, b);
	if (!h->is_threshold_fixed && b->size <= THRESHOLD_MAX && keep_mapping(h, b)) {
		tick(h);
		return NULL;
	}
	h->stats.unmap_calls++;
	return b;
}

void heap_give_back(struct block_meta *b)
{
	if (heap_guard)
		guard_release(b);
	else
		heap_unmap(b);
}

void heap_free(const char *call, void *p)
{
	struct heap *h = libc_heap;
	struct block_meta *b;

	if (h->perturb)
		memset(p, h->perturb, heap_usable_size(call, p));
	if (!heap_enter(h)) {
		heap_side_free(h, call, p);
		return;
	}
	b = heap_free_entered(h, call, p);
	heap_leave(h);
	if (b)
		heap_give_back(b);
	sweep_kept();
}

size_t heap_usable_size(const char *call, void *p)
{
	struct heap *h = libc_heap;
	struct block_meta *b;

	if (!heap_enter(h))
		return heap_side_block_of(call, p)->size;
	b = heap_block_of(h, call, p, false);
	heap_leave(h);
	return b->size;
}

/*
 * A place for a block that grows: one with as much room again behind it, which stays free, so that
 * it is likely to grow there without a copy. NULL: none, or it is to be a mapping.
 */
static void *alloc_growing(struct heap *h, size_t size)
{
	struct block_meta *b;

	size = usable_size(size);
	if (size >= h->threshold || !heap_enter(h))
		return NULL;
	b = heap_place_roomy(h, size, 2 * size);
	if (b) {
		heap_make_live(h, b);
		h->stats.allocs++;
	}
	heap_leave(h);
	return fill(b, size, false, false);
}

static void *move(const char *call, void *p, size_t old, size_t size)
{
	void *q = size > old ? alloc_growing(libc_heap, size) : NULL;

	if (!q && size > old)
		q = heap_alloc(with_headroom(size), HEAP_ALIGN, false);
	if (!q)
		q = heap_alloc(size, HEAP_ALIGN, false);
	if (!q) { /* to shrink, it need not move */
		atomic_store_explicit(&heap_has_oversized, true, memory_order_relaxed);
		return size > old ? NULL : p;
	}
	memcpy(q, p, old < size ? old : size);
	heap_free(call, p);
	return q;
}

/* While the heap is frozen: by the header alone, and in place only if nothing is to change. */
static void *side_realloc(const char *call, void *p, size_t size)
{
	size_t old = heap_side_block_of(call, p)->size;

	return size <= old && size >= old / 2 ? p : move(call, p, old, size);
}

/* Leaves the heap. NULL: the block is as it was, and may be moved. */
static void *realloc_mapped(struct heap *h, struct block_meta *b, size_t size)
{
	/* With guards, what is behind size is to be less than a page: see hardened.c. */
	if (size <= b->size && size >= (heap_guard ? b->size - heap_guard : b->size / 2)) {
		heap_leave(h);
		return b + 1;
	}
	/*
	 * With guards, what may be kept is copied: pages that are there are cheaper than new ones.
	 */
	if (heap_guard ? META + size > KEPT_MAX
		       : (uintptr_t)b % sys_page_size() == 0 && size >= MMAP_THRESHOLD)
		return remap(h, b, size);
	heap_leave(h);
	return NULL;
}

void *heap_realloc(const char *call, void *p, size_t size)
{
	struct heap *h = libc_heap;
	struct block_meta *b;
	void *q = NULL;
	size_t old;

	if (size > PTRDIFF_MAX - META - HEAP_ALIGN) {
		errno = ENOMEM;
		return NULL;
	}
	if (!heap_enter(h))
		return side_realloc(call, p, size);
	b = heap_block_of(h, call, p, false);
	old = b->size;
	h->stats.reallocs++;
	if (b->status == STATUS_MAPPED) {
		q = realloc_mapped(h, b, size);
	} else {
		if ((size <= old || size < h->threshold) &&
		    heap_resize_in_place(h, b, usable_size(size)) == GROWN)
			q = p;
		if (b->size < old)
			h->dirtied += old - b->size;
		heap_leave(h);
	}
	return q ? q : move(call, p, old, size);
}

void heap_set_option(enum heap_option option, size_t value)
{
	struct heap *h = libc_heap;
	bool is_locked = heap_lock_frozen(h);

	switch (option) {
	case HEAP_MMAP_THRESHOLD:
		if (heap_guard)
			break;
		h->threshold = value;
		h->is_threshold_fixed = true;
		break;
	case HEAP_TRIM_THRESHOLD:
		h->trim_threshold = value;
		break;
	case HEAP_SWEEP_PERIOD:
		sweep_period_ms = value;
		break;
	case HEAP_PERTURB:
		h->perturb = (unsigned char)value;
		break;
	}
	heap_unlock_frozen(h, is_locked);
}

void heap_get_stats(enum heap_id id, struct heap_stats *stats)
{
	struct heap *h = &heaps[id];
	bool is_locked = heap_lock_frozen(h);

	*stats = h->stats;
	heap_unlock_frozen(h, is_locked);
}
