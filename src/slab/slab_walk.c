// SPDX-License-Identifier: BSD-3-Clause

/* Inspection of the store: a copy of its segments, slabs and spans, and statistics. */

#include "block_meta.h"
#include "slab_core.h"

static void add_slab(struct item_list *list, const struct slab *s)
{
	const struct class_info *info = &slab_classes[s->class];

	item_list_add(list, &(struct osmem_item){.kind = OSMEM_SLAB,
						 .heap = OSMEM_CELLS,
						 .start = slab_start(s),
						 .size = info->slots * SLAB_SIZE,
						 .cell = info->size,
						 .cells = info->capacity,
						 .carved = s->carved,
						 .out = (size_t)s->carved - s->free,
						 .is_own = s->class >= CLASS_COUNT});
}

static void add_span(struct item_list *list, const struct segment *g, unsigned int page)
{
	const char *start = (const char *)g + page * PAGE_BYTES;
	bool is_cached = g->spans[page] & SPAN_CACHED;

	item_list_add(list, &(struct osmem_item){.kind = OSMEM_SPAN,
						 .heap = OSMEM_LIBC,
						 .start = start,
						 .size = span_size(start),
						 .payload = span_size(start),
						 .status = is_cached ? STATUS_FREE : STATUS_ALLOC});
}

static void add_segment(struct item_list *list, const struct segment *g)
{
	item_list_add(list, &(struct osmem_item){.kind = OSMEM_SEGMENT,
						 .heap = OSMEM_CELLS,
						 .start = g,
						 .size = segment_size(g),
						 .used = g->used,
						 .dirty = g->dirty});
	for (unsigned int i = 1; i < SEGMENT_SLOTS; i++)
		if (g->cells >> i & 1 && g->first[i] == i && g->slabs[i].class &&
		    g->slabs[i].class < CLASS_END)
			add_slab(list, &g->slabs[i]);
	for (unsigned int page = SLOT_PAGES; page < MAP_PAGES; page++)
		if (g->spans[page])
			add_span(list, g, page);
}

void slab_list(struct item_list *list)
{
	slab_lock_all();
	for (const struct segment *g = NULL; (g = segment_next(SET_LIVE, g));)
		add_segment(list, g);
	slab_unlock_all();
}

void slab_each_range(void (*visit)(const void *start, size_t size, void *arg), void *arg)
{
	visit(&slab_store, sizeof(slab_store), arg);
}

void slab_each_lock(void (*visit)(struct lock *l, void *arg), void *arg)
{
	for (unsigned int shard = 0; shard < SLAB_SHARDS; shard++)
		visit(&slab_locks[SHARD_LOCK(shard)].lock, arg);
	for (unsigned int class = 1; class < CLASS_END; class += 1)
		visit(&slab_locks[class].lock, arg);
	visit(&slab_store.lock, arg);
}

void slab_get_class(unsigned int class, struct slab_class_stats *stats)
{
	const struct slab_class *c = &slab_class_states[class];

	slab_enter(class);
	*stats = (struct slab_class_stats){
		.cell = slab_classes[class].size,
		.slabs = c->slabs,
		.cells = c->slabs * slab_classes[class].capacity,
		.out = c->out,
	};
	slab_leave(class);
}

static void add_class(struct osmem_cell_stats *stats, unsigned int class)
{
	struct slab_class_stats c;
	size_t bytes;

	slab_get_class(class, &c);
	bytes = c.slabs * slab_classes[class].slots * SLAB_SIZE;
	stats->slabs += c.slabs;
	if (class < CLASS_COUNT) {
		stats->live += c.out;
		stats->live_bytes += c.out * c.cell;
		stats->free += c.cells - c.out;
		stats->free_bytes += bytes - c.out * c.cell;
	} else {
		stats->own_bytes += bytes;
	}
	if (slab_classes[class].capacity > 64 && sys_page_size() < SLAB_SIZE)
		stats->own_bytes += c.slabs * SLAB_WORDS * sizeof(uint64_t);
}

/* Of any segment: the touched pages of its header, and its part of the page map. */
static size_t segment_own_bytes(void)
{
	size_t page = sys_page_size();

	return round_up(offsetof(struct segment, bits), page) - (SEGMENT_MARGIN & ~(page - 1)) +
	       SEGMENT_SLOTS * sizeof(uint16_t);
}

void slab_get_stats(struct osmem_cell_stats *stats)
{
	*stats = (struct osmem_cell_stats){0};
	for (unsigned int class = 1; class < CLASS_END; class += 1)
		add_class(stats, class);
	store_lock();
	stats->segments = slab_store.segments;
	stats->own_bytes += slab_store.segments * segment_own_bytes();
	stats->dirty_bytes = slab_store.dirty_pages * PAGE_BYTES;
	stats->mmap_calls = slab_store.map_calls;
	stats->munmap_calls = slab_store.unmap_calls;
	stats->madvise_calls = slab_store.advise_calls;
	store_unlock();
}
