// SPDX-License-Identifier: BSD-3-Clause
// Needs: objects

/*
 * slab_check() reports each broken invariant by its number; overwritten segment headers are
 * reported.
 */

#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "broken.h"
#include "cache/tcache_core.h"
#include "harness.h"
#include "slab/slab_core.h"
#include "slabs.h"

/* The checker. */

#define BREAK(lvalue, wrong, number) BREAK_BY(slab_check, lvalue, wrong, number)

/* Two fully carved slabs, one with a free cell, and one that is partly carved. */
static struct slab *full, *holed, *carving;

static void set_up(void)
{
	unsigned int n;

	use_class(640);
	n = info->capacity;
	take_all(cells, 2 * n + 3);
	full = slab_with(cells[0]);
	holed = slab_with(cells[n]);
	carving = slab_with(cells[2 * n]);
	give(cells + n, 2);
	give(cells + 2 * n, 1);
	CHECK(full->free == 0 && holed->free == 2 && carving->free == 1 && carving->carved == 3);
}

TEST(s1_bits)
{
	set_up();
	BREAK(holed->free, 1, "S1");
	BREAK(holed->summary, 0, "S1");
	BREAK(full->summary, 2, "S1");
	BREAK(*slab_bits(full, 0), 1, "S1");
	BREAK(*slab_bits(carving, 0), 1 | 1 << 5, "S1"); /* was never carved */
	BREAK(*slab_bits(carving, 60), 1, "S1");
}

TEST(s1_bits_beside_the_header)
{
	use_class(4096);
	take_all(cells, 16);
	give(cells, 3);
	holed = slab_with(cells[0]);
	BREAK(holed->summary, 3, "S1");
	BREAK(*slab_bits(holed, 0), 3, "S1");
	BREAK(*slab_bits(holed, 0), 7 | 1 << 16, "S1"); /* was never carved */
}

TEST(s2_lists)
{
	set_up();
	BREAK(slab_lists(state, 0)->partial[0], NULL, "S2");
	BREAK(slab_lists(state, 0)->partial[0], full, "S2");
	BREAK(slab_lists(state, 0)->partial[2], holed, "S2");
	BREAK(slab_lists(state, 0)->partial[0]->prev, full, "S2");
	BREAK(slab_lists(state, 0)->partial[0]->next, NULL, "S2");
	BREAK(holed->group, 3, "S2");
}

TEST(s2_purged)
{
	struct slab *s;

	make_sparse(KIB, 1, 1);
	CHECK(slab_trim());
	s = slab_with(cells[0]);
	BREAK(s->is_purged, false, "S2");
	BREAK(s->group, GROUP_IDLE, "S2");
}

TEST(s3_empty_slab)
{
	set_up();
	BREAK(carving->carved, 1, "S3");
}

TEST(s4_carving)
{
	set_up();
	BREAK(slab_lists(state, 0)->carving, NULL, "S4");
	BREAK(slab_lists(state, 0)->carving, full, "S4");
	BREAK(full->carved, (uint16_t)(info->capacity - 1), "S4");
}

TEST(s5_slots)
{
	struct segment *g;

	set_up();
	g = segment_of(full);
	BREAK(full->class, 0, "S5");
	BREAK(full->class, CLASS_END, "S5");
	BREAK(full->carved, (uint16_t)(info->capacity + 1), "S5");
	BREAK(g->first[full->slot], 0, "S5");
	BREAK(full->slot, 62, "S5");
	BREAK(g->used, g->used & ~(uint64_t)1, "S5");
	BREAK(g->dirty, g->dirty | (uint64_t)1 << full->slot, "S5");
	BREAK(g->used, g->used | (uint64_t)1 << 7, "S5");
}

TEST(s6_bins)
{
	uint16_t *bin;

	set_up();
	bin = segment_page_map(slab_start(full));
	BREAK(*bin, SLAB_BIN_SPAN, "S6");
	BREAK(*bin, SLAB_BIN_SIZE, "S6");
	BREAK(segment_page_map(segment_of(full))[50], SLAB_BIN_SIZE, "S6");
}

TEST(s7_sets_of_segments)
{
	struct window *w;
	uint64_t *words, bit;
	size_t i;

	set_up();
	w = window_of(full);
	i = ((uintptr_t)segment_of(full) - w->map.start) / SEGMENT_SIZE;
	words = w->bits[i / 64].words;
	bit = (uint64_t)1 << i % 64;
	BREAK(words[SET_ROOMY], words[SET_ROOMY] ^ bit, "S7");
	BREAK(words[SET_WITH_QUAD], words[SET_WITH_QUAD] ^ bit, "S7");
	BREAK(words[SET_WITH_DIRTY], words[SET_WITH_DIRTY] ^ bit, "S7");
}

/* The summaries match the words. */
TEST(s7_summaries)
{
	struct window *w;
	size_t i;

	set_up();
	w = window_of(full);
	i = ((uintptr_t)segment_of(full) - w->map.start) / SEGMENT_SIZE / 64;
	BREAK(w->summaries[SET_ROOMY][i / 64], 0, "S7");
	BREAK(w->summaries[SET_LIVE][i / 64], 0, "S7");
	BREAK(w->summaries[SET_WITH_DIRTY][0], 1, "S7");
}

TEST(s8_figures)
{
	size_t wrong;

	set_up();
	BREAK(state->slabs, state->slabs + 1, "S8");
	BREAK(state->out, state->out - 1, "S8");
	BREAK(slab_class_states[CLASS_CACHE].slabs, 77, "S8");
	BREAK(slab_store.segments, slab_store.segments + 1, "S8");
	wrong = slab_store.sparse_slots + 1;
	break_bytes(slab_check, &slab_store.sparse_slots, &wrong, sizeof(wrong), "S8");
	wrong = slab_store.dirty_pages + 1;
	break_bytes(slab_check, &slab_store.dirty_pages, &wrong, sizeof(wrong), "S8");
}

TEST(s10_marks)
{
	struct slab *s;

	make_sparse(160, 1, 1);
	s = slab_with(cells[0]);
	BREAK(*cell_word(cells[1]), 0, "S10");
	BREAK(s->unmarked, 2, "S10"); /* and is open */
	CHECK(slab_trim());
	BREAK(*cell_word(cells[1]), 0, "S10");
	BREAK(s->unmarked, 0, "S10");
}

TEST(s9_checksums)
{
	struct segment *g;

	set_up();
	g = segment_of(full);
	BREAK(full->checksum, full->checksum ^ 1, "S9");
	BREAK(full->next, holed, "S9"); /* not in a list */
	BREAK(full->is_fresh, !full->is_fresh, "S9");
	BREAK(g->checksum, g->checksum ^ 1, "S9");
}

/* Bytes covered by a slab's checksum, for every call that validates it; then the others. */

struct damage {
	char *at;
	void (*call)(void);
};

static void take_more(void)
{
	static void *more[3000];

	slab_take_locked(class, 0, more, COUNT_OF(more), NULL);
	slab_take_locked(class, 1, more, COUNT_OF(more), NULL);
}

static void give_all(void)
{
	slab_give_locked(class, cells + info->capacity + 2, info->capacity - 2);
}

/* One that does not move its slab: the links are followed only for a move. */
static void give_one_and_take(void)
{
	slab_give_locked(class, cells + info->capacity + 2, 1);
	take_more();
}

static void trim(void)
{
	slab_trim();
}

static void do_damage(void *arg)
{
	const struct damage *d = arg;

	*d->at ^= 0x10;
	d->call();
}

static void expect_report(char *at, void (*call)(void), const char *what)
{
	struct damage d = {.at = at, .call = call};
	char err[256];
	int status = test_in_child(do_damage, &d, err, sizeof(err));

	CHECK_MSG(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT && strstr(err, what),
		  "byte at %p: status %d, %s", (void *)at, status, err);
}

TEST(overwritten_headers_are_reported)
{
	static const char of_slab[] = "the header of a slab is overwritten";
	static const char of_segment[] = "the header of a segment is overwritten";
	struct segment *g;

	set_up();
	g = segment_of(holed);
	for (char *at = (char *)holed; at < (char *)&holed->free; at++) {
		expect_report(at, take_more, of_slab);
		expect_report(at, give_all, of_slab);
		expect_report(at, give_one_and_take, of_slab);
		expect_report(at, trim, of_slab);
	}
	for (char *at = (char *)&g->used; at < (char *)&g->fixed; at++)
		expect_report(at, take_more, of_segment);
	for (size_t i = 0; i < sizeof(holed->summary); i++)
		expect_report((char *)&holed->summary + i, take_more, of_slab);
	expect_report((char *)&holed->free, take_more, of_slab);
	expect_report((char *)&holed->free + 1, give_all, of_slab);
	expect_report((char *)slab_bits(holed, 0), take_more, of_slab); /* not the report of free */
	expect_report((char *)&g->first[holed->slot], give_all, "");
}

/* A write past the last cell of a segment does not reach the header of the next one. */
TEST(margin_between_segments)
{
	struct segment *g;

	set_up();
	g = segment_of(full);
	memset(g, 0x5a, SEGMENT_MARGIN);
	expect_sound(slab_check);
	take_more();
	expect_sound(slab_check);
}
