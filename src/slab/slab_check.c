// SPDX-License-Identifier: BSD-3-Clause

/* Checker of the store: every invariant of slab_core.h, for tests. */

#include "slab_core.h"

/* Sums over segments; sparse slabs are counted from the lists. */
struct totals {
	size_t segments, dirty_pages, span_pages, sparse_slots, idle_slots;
	size_t slabs[CLASS_END], with_free[CLASS_END];
	size_t out[CLASS_END];
	unsigned int run_segments[RUN_KINDS][RUN_CLASSES];
};

static const char *check_bits(const struct slab *s)
{
	size_t free = 0, words = slab_classes[s->class].capacity > 64 ? SLAB_WORDS : 1;

	if (words < SLAB_WORDS && s->summary >> words)
		return "S1: a slab's summary does not agree with its bits";
	for (size_t i = 0; i < words; i++) {
		size_t above = s->carved > i * 64 ? s->carved - i * 64 : 0;
		uint64_t bits = *slab_bits(s, i);

		free += (size_t)__builtin_popcountll(bits);
		if (!bits != !(s->summary >> i & 1))
			return "S1: a slab's summary does not agree with its bits";
		if (above < 64 && bits >> above)
			return "S1: a cell is free that was never carved";
	}
	return free == s->free ? NULL : "S1: a slab's count of free cells is wrong";
}

/* Skips unmarked pages: a read would map them again. */
static const char *check_marks(const struct slab *s)
{
	size_t size = slab_classes[s->class].size;

	if (!slab_has_marks(s->class))
		return NULL;
	if (s->unmarked && !slab_is_closed(s))
		return "S10: a slab with unmarked pages is open";
	for (size_t i = 0; i < s->carved; i++) {
		void *cell = slab_start(s) + i * size;

		if (slab_is_in_store(s, i) && !(s->unmarked & slab_page_bit(s, cell)) &&
		    *cell_word(cell) != CELL_FREED)
			return "S10: a free cell is not marked";
	}
	return NULL;
}

static const char *check_slab(const struct slab *s, struct totals *t)
{
	const struct class_info *info = &slab_classes[s->class];
	const uint16_t *map = segment_page_map(segment_of(s)) + s->slot;
	const char *fault;

	if (!s->class || s->class >= CLASS_END || s->carved > info->capacity)
		return "S5: a slab's class or size is wrong";
	fault = check_bits(s);
	if (!fault)
		fault = check_marks(s);
	if (fault)
		return fault;
	if (s->free == s->carved)
		return "S3: a slab has nothing but free cells";
	if (s->carved < info->capacity &&
	    slab_lists(&slab_class_states[s->class], s->shard)->carving != s)
		return "S4: a slab that is not all carved is not the one to be carved";
	if (s->carved == info->capacity && s->is_next_marked)
		return "S4: a slab that is all carved has a mark behind its cells";
	for (unsigned int i = 0; i < info->slots; i++)
		if (map[i] != map[0] || (map[i] && map[i] != slab_bin_of(s->class)))
			return "S6: the page map has a slab's class wrong";
	t->slabs[s->class]++;
	t->with_free[s->class] += s->free > 0;
	t->out[s->class] += (size_t)s->carved - s->free;
	return NULL;
}

static const char *check_slots(const struct segment *g, struct totals *t)
{
	const uint16_t *map = segment_page_map(g);
	const char *fault;

	for (unsigned int i = 1; i < SEGMENT_SLOTS; i++) {
		const struct slab *s = &g->slabs[i];

		if (!(g->cells >> i & 1)) {
			if (map[i] != ((g->used & ~g->fixed) >> i & 1 ? SLAB_BIN_SPAN : 0))
				return "S6: the page map is wrong for a slot without a slab";
			continue;
		}
		if (g->first[i] == i && s->slot == i)
			fault = check_slab(s, t);
		else
			fault = g->first[i] < i && slab_mask(&g->slabs[g->first[i]]) >> i & 1
					? NULL
					: "S5: a slot of a slab belongs to none";
		if (fault)
			return fault;
	}
	return NULL;
}

/* The taken pages have to be those of fixed slots, slabs and spans. */
static const char *check_pages(const struct segment *g, struct totals *t)
{
	uint64_t taken[MAP_WORDS] = {0};

	for (unsigned int slot = 0; slot < SEGMENT_SLOTS; slot++)
		if ((g->fixed | g->cells) >> slot & 1)
			map_set(taken, slot_pages(slot, 1));
	for (size_t page = 0, pages; page < MAP_PAGES; page++) {
		struct page_run run;

		pages = g->spans[page] & SPAN_PAGES;
		run = (struct page_run){page, page + pages};
		if (!pages)
			continue;
		if (run.end > MAP_PAGES || map_count(taken, run))
			return "S5: a span overlaps something else";
		map_set(taken, run);
		t->span_pages += pages;
	}
	for (size_t i = 0; i < MAP_WORDS; i++)
		if (g->maps.taken[i] != taken[i] ||
		    taken[i] & (g->maps.dirty[i] | g->maps.stuck[i]) ||
		    g->maps.dirty[i] & g->maps.stuck[i])
			return "S5: a page is in use by nobody, or in two states";
	t->dirty_pages += map_count(g->maps.dirty, (struct page_run){0, MAP_PAGES});
	return NULL;
}

static uint64_t slots_of(const uint64_t *map)
{
	return map_slots(map, 0, (struct page_run){0, MAP_PAGES});
}

/* The classes of g's runs of that kind as bits; a wrong value if its counts are wrong. */
static uint64_t classes_of(const struct segment *g, enum run_kind kind)
{
	const uint64_t *map = kind == RUN_DIRTY ? g->maps.dirty : g->maps.taken;
	uint64_t flip = kind == RUN_DIRTY ? MAP_ONES : MAP_ZEROS, classes = 0;
	uint16_t counts[RUN_CLASSES] = {0};
	struct page_run run = {0};

	while (map_next_run(map, flip, &run))
		counts[run_class(run.end - run.start)]++;
	for (unsigned int class = 0; class < RUN_CLASSES; class += 1) {
		classes |= (uint64_t)(counts[class] != 0) << class;
		if (counts[class] != g->run_counts[kind][class] && !g->is_own)
			return ~g->runs[kind];
	}
	return classes;
}

/* Whether g is in exactly the sets of its runs. */
static bool has_runs(const struct segment *g, enum run_kind kind, struct totals *t)
{
	uint64_t runs = g->is_own ? 0 : classes_of(g, kind), sets = 0;

	for (unsigned int class = 0; class < RUN_CLASSES; class += 1) {
		sets |= (uint64_t)segment_is_in(g, segment_run_set(kind, class)) << class;
		t->run_segments[kind][class] += runs >> class & 1;
	}
	return g->runs[kind] == runs && sets == runs;
}

static const char *check_segment(const struct segment *g, struct totals *t)
{
	uint64_t pairs = ~g->used & ~g->used >> 1;
	const char *fault;

	t->segments++;
	if (!(g->fixed & 1) || g->fixed & g->cells || g->used != slots_of(g->maps.taken) ||
	    g->dirty != slots_of(g->maps.dirty))
		return "S5: a segment's slots do not agree with its pages";
	if (segment_is_in(g, SET_ROOMY) != !!~g->used ||
	    segment_is_in(g, SET_WITH_QUAD) != !!(pairs & pairs >> 2 & QUAD_STARTS) ||
	    segment_is_in(g, SET_WITH_READY) != !!(g->dirty & ~g->used) ||
	    segment_is_in(g, SET_WITH_DIRTY) != !!g->dirty || !has_runs(g, RUN_FREE, t) ||
	    !has_runs(g, RUN_DIRTY, t))
		return "S7: the sets of segments are not exact";
	fault = check_pages(g, t);
	return fault ? fault : check_slots(g, t);
}

static const char *check_checksums(const struct segment *g)
{
	if (!segment_is_valid(g))
		return "S9: a segment's checksum is wrong";
	for (unsigned int i = 1; i < SEGMENT_SLOTS; i++)
		if (g->cells >> i & 1 && g->first[i] == i && !slab_is_valid(&g->slabs[i]))
			return "S9: a slab's checksum is wrong";
	return NULL;
}

/* Check one list; add its slabs to *listed, and to t if they are sparse. */
static const char *check_list(unsigned int class, unsigned int shard, unsigned int group,
			      size_t *listed, struct totals *t)
{
	const struct slab *prev = NULL;

	for (const struct slab *s = slab_lists(&slab_class_states[class], shard)->partial[group]; s;
	     prev = s, s = s->next) {
		if (s->class != class || s->prev != prev || s->shard != shard ||
		    s->group != group || !s->free ||
		    slab_group(s) != (group < GROUP_TOUCHED ? group : GROUP_TOUCHED) ||
		    (group == GROUP_PURGED && !s->is_purged))
			return "S2: a slab is in a list that it does not belong to";
		++*listed;
		if (s->is_locked)
			continue;
		if (group == GROUP_TOUCHED || group == GROUP_IDLE)
			t->sparse_slots += slab_classes[class].slots;
		if (group == GROUP_IDLE)
			t->idle_slots += slab_classes[class].slots;
	}
	return NULL;
}

static const char *check_class(unsigned int class, struct totals *t)
{
	const struct slab_class *c = &slab_class_states[class];
	const char *fault = NULL;
	size_t listed = 0;

	for (unsigned int shard = 0; shard < SLAB_SHARDS; shard++)
		for (unsigned int group = 0; group < GROUPS && !fault; group++)
			fault = check_list(class, shard, group, &listed, t);
	if (fault)
		return fault;
	if (listed != t->with_free[class] || listed != c->partial_count)
		return "S2: a slab with free cells is in no list";
	if (c->slabs != t->slabs[class] || c->out != t->out[class])
		return "S8: a class's figures are wrong";
	return NULL;
}

/* Whether the summaries agree with the sets, and every set is a subset of the live segments. */
static bool is_group_right(const struct window *w, size_t group)
{
	const uint64_t *words = w->bits[group].words;
	uint64_t any = 0;

	for (unsigned int set = 0; set < SET_COUNT; set++) {
		any |= words[set];
		if (!words[set] != !(w->summaries[set][group / 64] >> group % 64 & 1))
			return false;
	}
	return any == words[SET_LIVE];
}

static const char *check_sets(void)
{
	for (const struct window *w = window_first(); w; w = w->next)
		for (size_t group = 0; group < window_groups(w); group++)
			if (!is_group_right(w, group))
				return "S7: a summary is wrong, or a set has what is no segment";
	return NULL;
}

static const char *check_run_figures(const struct totals *t)
{
	for (unsigned int i = 0; i < RUN_KINDS * RUN_CLASSES; i++) {
		unsigned int kind = i / RUN_CLASSES, class = i % RUN_CLASSES;
		unsigned int n = slab_store.run_segments[kind][class];

		if (n != t->run_segments[kind][class] ||
		    !n != !(slab_store.run_classes[kind] >> class & 1))
			return "S7: the figures of segments with runs are wrong";
	}
	return NULL;
}

static const char *check_store(void)
{
	static struct totals t; /* guarded by the store's lock */
	const char *fault = check_sets();
	const struct segment *g = NULL;

	t = (struct totals){0};
	while (!fault && (g = segment_next(SET_LIVE, g)))
		fault = check_segment(g, &t);
	if (!fault)
		fault = check_run_figures(&t);
	for (unsigned int class = 1; class < CLASS_END && !fault; class += 1)
		fault = check_class(class, &t);
	if (!fault &&
	    (t.segments != slab_store.segments || t.dirty_pages != slab_store.dirty_pages ||
	     t.span_pages != slab_store.span_pages || t.sparse_slots != slab_store.sparse_slots ||
	     t.idle_slots != slab_store.idle_slots))
		fault = "S8: the store's figures are wrong";
	g = NULL;
	while (!fault && (g = segment_next(SET_LIVE, g)))
		fault = check_checksums(g);
	return fault;
}

void slab_lock_all(void)
{
	for (unsigned int class = 1; class < CLASS_END; class += 1)
		slab_enter(class);
	store_lock();
}

void slab_unlock_all(void)
{
	store_unlock();
	for (unsigned int class = 1; class < CLASS_END; class += 1)
		slab_leave(class);
}

const char *slab_check(void)
{
	const char *fault;

	slab_lock_all();
	fault = check_store();
	slab_unlock_all();
	return fault;
}
