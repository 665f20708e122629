// SPDX-License-Identifier: BSD-3-Clause
// Needs: objects

/*
 * The checkers of large objects report each broken invariant by its number: large_check(),
 * mapping_table_check(), span_cache_check(), and slab_check() for pages, spans and runs. Every test
 * repairs what it broke; then the checker is content again.
 */

#include <malloc.h>
#include <stdint.h>
#include <stdlib.h>

#include "broken.h"
#include "cache/tcache_core.h"
#include "harness.h"
#include "large/large.h"
#include "large/large_core.h"
#include "large/mapping_table.h"
#include "places.h"
#include "slab/slab_core.h"

#define PAGES(n) ((n)*PAGE_BYTES)

/* The table of mappings on its own: L1, L2. */

static struct mapping_table table;

static const char *check_table(void)
{
	return mapping_table_check(&table);
}

#define ENTRIES 60

static void fill_table(void)
{
	for (uintptr_t i = 1; i <= ENTRIES; i++) {
		CHECK(mapping_table_reserve(&table));
		mapping_table_insert(
			&table,
			&(struct mapping){.payload = i * i * 4096, .size = i, .bytes = 4096});
	}
}

static struct mapping *entry(uintptr_t i)
{
	return mapping_table_find(&table, (void *)(i * i * 4096));
}

static size_t place_of(uintptr_t i)
{
	return (size_t)(entry(i) - table.room->entries);
}

/* An entry right behind another one that has its home place. */
static uintptr_t pushed_on(void)
{
	for (uintptr_t i = 1; i <= ENTRIES; i++) {
		struct mapping *m = entry(i);
		uintptr_t payload = m->payload;
		bool is_pushed = false;

		for (uintptr_t j = 1; j <= ENTRIES; j++) {
			if (place_of(j) + 1 != place_of(i))
				continue;
			payload = entry(j)->payload;
			m = entry(j);
			m->payload = 0;
			is_pushed = entry(i) == NULL;
			m->payload = payload;
			break;
		}
		if (is_pushed)
			return i;
	}
	test_fail(__FILE__, __LINE__, "no entry had to give way");
}

TEST(an_empty_table_is_sound)
{
	expect_sound(check_table);
	expect_sound(large_check);
}

TEST(l1_entries)
{
	struct mapping *pushed, *free_place = NULL;
	uintptr_t nr;

	fill_table();
	nr = pushed_on();
	pushed = entry(nr);
	BREAK_BY(check_table, pushed[-1].payload, 0, "L1");
	for (uintptr_t i = 1; i <= ENTRIES; i++)
		if (entry(i) + 1 < table.room->entries + table.room->count && !entry(i)[1].payload)
			free_place = entry(i) + 1;
	CHECK(free_place);
	BREAK_BY(check_table, free_place->payload, (uintptr_t)nr * nr * 4096, "L1"); /* twice */
}

TEST(l2_figures)
{
	fill_table();
	BREAK_BY(check_table, table.count, ENTRIES + 1, "L2");
	BREAK_BY(check_table, table.count, ENTRIES - 1, "L2");
	BREAK_BY(check_table, table.bytes, table.bytes + 4096, "L2");
	BREAK_BY(check_table, table.used, ENTRIES - 1, "L2");
	BREAK_BY(check_table, entry(7)->bytes, 8192, "L2");
	table.used += 5; /* reserved */
	expect_sound(check_table);
}

/* The page cache: L3. */
TEST(l3_kept)
{
	void *p = malloc(8 * MIB), *q = malloc(8 * MIB);

	CHECK(p && q);
	free(p);
	CHECK(large_dirty_bytes() >= 8 * MIB);
	BREAK_BY(large_check, mapping_cached_total, mapping_cached_total + 4096, "L3");
	BREAK_BY(large_check, mapping_cached_total, 0, "L3");
	BREAK_BY(tcache_check, mapping_cached_total, 4096, "L3");
	free(q);
}

/* Spans cached by a thread: C4. */
TEST(c4_kept_spans)
{
	unsigned int class = span_class_of(100 * KIB);
	struct span_cache *c;
	void *p[3], *other;

	for (size_t i = 0; i < COUNT_OF(p); i++)
		CHECK(p[i] = malloc(100 * KIB));
	CHECK(other = malloc(300 * KIB));
	for (size_t i = 0; i < COUNT_OF(p); i++)
		free(p[i]);
	c = tcache_thread.own->spans;
	CHECK(c && c->count[class] == COUNT_OF(p));
	BREAK_BY(tcache_check, c->bytes, c->bytes + 4096, "C4");
	BREAK_BY(tcache_check, c->count[class], 2, "C4");
	BREAK_BY(tcache_check, c->spans[class][1], other, "C4"); /* live, and of another class */
	BREAK_BY(tcache_check, c->spans[class][1], (char *)p[1] + 4096, "C4");
	BREAK_BY(tcache_check, c->spans[class][2], p[0], "C4"); /* twice */
	BREAK_BY(tcache_check, *span_word(p[2]), span_size(p[2]) / PAGE_BYTES, "C4"); /* live */
	free(other);
	BREAK_BY(tcache_check, c->spans[class][0], other, "C4"); /* free, and of another class */
}

/* Pages: S5, S6, S7. */

static char *low, *high; /* live spans, with free dirty pages between them */
static struct segment *g;

static size_t page_of(const char *p)
{
	return (uintptr_t)p % SEGMENT_SIZE / PAGE_BYTES;
}

static void set_up(void)
{
	char *between;
	bool fresh;

	map_whole_segment();
	low = span_alloc(PAGES(20), 1, &fresh);
	between = span_alloc(PAGES(52), 1, &fresh);
	high = span_alloc(PAGES(22), 1, &fresh);
	CHECK(low && between == low + PAGES(20) && high == between + PAGES(52));
	span_free(between);
	g = segment_of(low);
	expect_sound(slab_check);
}

/* A bit of a map of pages. */
static void break_page(uint64_t *map, size_t page, const char *number)
{
	BREAK_BY(slab_check, map[page / 64], map[page / 64] ^ (uint64_t)1 << page % 64, number);
}

TEST(s5_pages)
{
	size_t behind;

	set_up();
	behind = page_of(high) + 22; /* a run of the same class with one page less */
	CHECK(run_class(MAP_PAGES - behind) == run_class(MAP_PAGES - behind - 1));
	break_page(g->maps.taken, behind, "S5");
	break_page(g->maps.stuck, page_of(low), "S5");
	break_page(g->maps.stuck, page_of(low) + 30, "S5"); /* dirty, too */
	break_page(g->maps.taken, MAP_PAGES - 1, "S5");
	break_page(g->maps.dirty, MAP_PAGES - 1, "S5");
}

TEST(s5_spans)
{
	set_up();
	BREAK_BY(slab_check, *span_word(low), 0, "S5");
	BREAK_BY(slab_check, *span_word(low), 19, "S5");
	BREAK_BY(slab_check, *span_word(low), 21, "S5");
	BREAK_BY(slab_check, *span_word(low), 1010, "S5"); /* over high */
	BREAK_BY(slab_check, *span_word(high), 1022, "S5"); /* out of the segment */
	BREAK_BY(slab_check, *span_word(high - PAGE_BYTES), 1, "S5");
	BREAK_BY(slab_check, *span_word(low + PAGE_BYTES), 3, "S5");
}

TEST(s6_bins_of_spans)
{
	uint16_t *bins;

	set_up();
	bins = segment_page_map(low);
	BREAK_BY(slab_check, bins[0], 0, "S6");
	BREAK_BY(slab_check, bins[1], SLAB_BIN_SIZE, "S6");
	BREAK_BY(slab_check, bins[2], SLAB_BIN_SPAN, "S6"); /* free */
	BREAK_BY(slab_check, bins[20], SLAB_BIN_SPAN, "S6");
}

static void break_runs(enum run_kind kind)
{
	struct window *w = window_of(g);
	size_t i = ((uintptr_t)g - w->map.start) / SEGMENT_SIZE;
	uint64_t *classes = &slab_store.run_classes[kind];
	unsigned int *counts = slab_store.run_segments[kind];
	uint64_t bit = (uint64_t)1 << i % 64, group = (uint64_t)1 << i / 64 % 64;

	for (unsigned int class = 0; class < RUN_CLASSES; class += 1) {
		enum segment_set set = segment_run_set(kind, class);
		uint64_t *groups = &w->summaries[set][i / 64 / 64];
		uint64_t *segments = &w->bits[i / 64].words[set];

		BREAK_BY(slab_check, g->runs[kind], g->runs[kind] ^ (uint64_t)1 << class, "S7");
		BREAK_BY(slab_check, *segments, *segments ^ bit, "S7");
		BREAK_BY(slab_check, *segments, *segments ^ bit << 1, "S7");
		BREAK_BY(slab_check, *groups, *groups ^ group, "S7");
		BREAK_BY(slab_check, *groups, *groups ^ group >> 1, "S7");
		BREAK_BY(slab_check, *classes, *classes ^ (uint64_t)1 << class, "S7");
		BREAK_BY(slab_check, counts[class], counts[class] + 1, "S7");
	}
}

TEST(s7_runs)
{
	set_up();
	CHECK(g->runs[RUN_FREE] && g->runs[RUN_DIRTY]);
	break_runs(RUN_FREE);
	break_runs(RUN_DIRTY);
}

/* An entry of a set that is no segment. */
TEST(s7_sets_of_what_is_gone)
{
	struct window *w;
	uint64_t *words;
	size_t group;

	set_up();
	w = window_of(g);
	group = ((uintptr_t)g - w->map.start) / SEGMENT_SIZE / 64 ^ 1;
	words = w->bits[group].words;
	for (enum segment_set set = SET_LIVE + 1; set < SET_COUNT; set++) {
		uint64_t *summary = &w->summaries[set][group / 64];

		BREAK_BY(slab_check, words[set], 4, "S7");
		words[set] = 4;
		*summary |= (uint64_t)1 << group % 64;
		expect_fault(slab_check, "S7");
		words[set] = 0;
		*summary &= ~((uint64_t)1 << group % 64);
	}
	expect_sound(slab_check);
}

TEST(s8_figures_of_pages)
{
	set_up();
	BREAK_BY(slab_check, slab_store.dirty_pages, slab_store.dirty_pages + 1, "S8");
	BREAK_BY(slab_check, slab_store.span_pages, slab_store.span_pages - 1, "S8");
}
