// SPDX-License-Identifier: BSD-3-Clause
// Needs: objects

/* Guarded blocks: their places and slots, and what the C library's names do to them. */

#include <malloc.h>
#include <stdint.h>

#include "broken.h"
#include "guard_common.h"
#include "inspect/inspect.h"
#include "libc/record.h"
#include "osmem_inspect.h"

void free_sized(void *p, size_t size);
void free_aligned_sized(void *p, size_t align, size_t size);

static size_t slot_of(const void *p)
{
	return guard_slot_index((uintptr_t)p);
}

static char *slot_end(const void *p)
{
	return (char *)guard_slot_start(slot_of(p)) + guard_slot_size();
}

/* A page apart from its block's pages, in the slot or a guard. */
static void expect_guarded(char *p, size_t size)
{
	char *start = (char *)((uintptr_t)p & ~(PAGE - 1));
	char *end = (char *)(((uintptr_t)p + (size ? size : 1) + PAGE - 1) & ~(PAGE - 1));

	CHECK(!is_accessible(start - 1) && is_accessible(start));
	CHECK(is_accessible(end - 1) && !is_accessible(end));
	for (size_t i = 0; i < size; i++)
		p[i] = (char)i;
}

TEST(every_size_lies_at_an_edge)
{
	static const size_t sizes[] = {0,    1,	   8,	 15,   16,    17,    100,
				       4095, 4096, 4097, 8192, 32767, 32768, 3};

	guards_begin();
	for (size_t i = 0; i < COUNT_OF(sizes); i++)
		for (int right = 0; right < 2; right++) {
			bool fills = sizes[i] > guard_slot_size() - 16;
			char *p = guarded_at(right && !fills, sizes[i]);

			expect_guarded(p, sizes[i]);
			CHECK((uintptr_t)p % 16 == 0 && malloc_usable_size(p) == sizes[i]);
			if (right || fills)
				CHECK((size_t)(slot_end(p) - p) < (sizes[i] ? sizes[i] : 1) + 16);
			free(p);
			CHECK(!is_accessible(p));
		}
}

TEST(every_alignment_is_kept)
{
	guards_begin();
	for (size_t align = 1; align <= PAGE; align *= 2)
		for (int i = 0; i < 20; i++) {
			char *p = guard_alloc(100, align);

			CHECK(p && (uintptr_t)p % align == 0);
			if (is_right(p))
				CHECK((size_t)(slot_end(p) - p) < 100 + (align < 16 ? 16 : align));
			free_aligned_sized(p, align, 100);
		}
	CHECK(!guard_alloc(100, 2 * PAGE));
	CHECK(!guard_alloc(GUARD_BLOCK_MAX + 1, 16));
	CHECK(!guard_alloc(SIZE_MAX, 16));
}

TEST(both_edges_are_as_likely)
{
	size_t right = 0, n = 2000;

	guards_begin();
	for (size_t i = 0; i < n; i++) {
		char *p = guarded(40);

		right += is_right(p);
		free(p);
	}
	/* 6 standard deviations of 22. */
	CHECK_MSG(right > n / 2 - 135 && right < n / 2 + 135, "%zu of %zu", right, n);
}

TEST(zero_is_zero)
{
	guards_begin();
	for (int i = 0; i < 200; i++) {
		char *p = guard_alloc(5000, 16);

		CHECK(p && is_all(p, 5000, 0));
		memset(p, 1, 5000);
		free(p);
	}
}

TEST(a_slot_is_reused_as_late_as_possible)
{
	char *live[5];
	size_t first[GUARD_SLOTS];
	size_t n = GUARD_SLOTS - COUNT_OF(live);

	guards_begin();
	for (size_t i = 0; i < COUNT_OF(live); i++)
		live[i] = guarded(100);
	for (size_t round = 0; round < 10; round++)
		for (size_t i = 0; i < n; i++) {
			char *p = guarded(100);

			if (round == 0)
				first[i] = slot_of(p);
			CHECK_MSG(slot_of(p) == first[i], "slot %zu, not %zu", slot_of(p),
				  first[i]);
			for (size_t j = 0; j < i; j++)
				CHECK(first[j] != first[i]);
			free(p);
		}
	for (size_t i = 0; i < COUNT_OF(live); i++)
		free(live[i]);
	for (size_t i = 0; i < n; i++)
		free(guarded(100));
	for (size_t i = 0; i < COUNT_OF(live); i++)
		CHECK(slot_of(guarded(100)) == slot_of(live[i]));
}

TEST(without_a_free_slot_nothing_is_guarded)
{
	char *p[GUARD_SLOTS];

	guards_begin();
	for (int round = 0; round < 3; round++) {
		for (size_t i = 0; i < GUARD_SLOTS; i++)
			p[i] = guarded(i * 500);
		CHECK(!guard_alloc(100, 16));
		free(p[7]);
		p[7] = guarded(1);
		CHECK(!guard_alloc(100, 16));
		for (size_t i = 0; i < GUARD_SLOTS; i++)
			free(p[i]);
	}
}

TEST(realloc_shrinks_in_place_and_moves_to_grow)
{
	guards_begin();
	for (int right = 0; right < 2; right++) {
		char *p = guarded_at(right, 9000), *q;

		memset(p, 'x', 9000);
		CHECK(realloc(p, 9000) == p && realloc(p, 200) == p);
		CHECK(malloc_usable_size(p) == 200 && is_all(p, 200, 'x'));
		CHECK(!guard_check());
		q = realloc(p, 201);
		CHECK(q && !guard_owns(q) && is_all(q, 200, 'x') && !is_accessible(p));
		free(q);
		p = guarded_at(right, 20);
		CHECK(!realloc(p, 0) && !is_accessible(p));
	}
}

/* All the names that free, with the size and the alignment of the allocation. */
TEST(sizes_are_exact)
{
	char *p;

	guards_begin();
	free_sized(guarded(33), 33);
	free_aligned_sized(guard_alloc(64, 64), 64, 64);
	p = guarded(500);
	CHECK(realloc(p, 77) == p);
	free_sized(p, 77);
	CHECK(!guard_check());
}

static int count_item(const struct osmem_item *item, void *found)
{
	struct osmem_item *wanted = found;

	if (item->start == wanted->start)
		*wanted = *item;
	return 0;
}

TEST(walks_and_statistics_have_them)
{
	struct osmem_stats before = {0}, after = {0};
	struct osmem_item item = {0};

	guards_begin();
	osmem_get_stats(&before, sizeof(before));
	item.start = guarded(5000);
	osmem_get_stats(&after, sizeof(after));
	CHECK(after.libc.mapped_blocks == before.libc.mapped_blocks + 1);
	CHECK(after.libc.mapped_bytes == before.libc.mapped_bytes + round_up(5000, PAGE));
	CHECK(osmem_walk(count_item, &item) == 0);
	CHECK(item.kind == OSMEM_MAPPED && item.heap == OSMEM_LIBC && item.status == 2);
	CHECK(item.size == 5000 && item.payload == 5000 && item.mapping == round_up(5000, PAGE));
	free((void *)(uintptr_t)item.start);
	osmem_get_stats(&after, sizeof(after));
	CHECK(after.libc.mapped_bytes == before.libc.mapped_bytes);
	CHECK(!osmem_check());
}

/* Memory of others is theirs. */
TEST(other_pointers_are_not_guarded)
{
	char *p = malloc(100);

	CHECK(!guard_owns(p) && !guard_owns(NULL));
	guards_begin();
	CHECK(!guard_owns(p) && !guard_owns(NULL) && !guard_owns(&p));
	free(p);
	CHECK(guard_begin()); /* again */
}

/* ---- The checker ---- */

TEST(g1_place)
{
	struct guard_slot *s;

	guards_begin();
	s = &guard->slots[slot_of(guarded_at(true, 100))];
	BREAK_BY(osmem_check, s->block.start, s->block.start + PAGE, "G1");
	BREAK_BY(osmem_check, s->block.pages, s->block.pages - PAGE, "G1");
	BREAK_BY(osmem_check, s->block.size, 5000, "G1");
}

TEST(g2_pattern)
{
	char *p, *q;

	guards_begin();
	p = guarded_at(true, 100);
	q = guarded_at(false, 100);
	BREAK_BY(osmem_check, p[-1], (char)1, "G2");
	BREAK_BY(osmem_check, p[100], (char)1, "G2");
	BREAK_BY(osmem_check, p[111], (char)0, "G2");
	BREAK_BY(osmem_check, q[100], (char)1, "G2");
	BREAK_BY(osmem_check, q[PAGE - 1], (char)1, "G2");
}

TEST(g3_queue)
{
	size_t i;

	guards_begin();
	i = slot_of(guarded(100));
	BREAK_BY(osmem_check, guard->queue[i], 7, "G3");
	BREAK_BY(osmem_check, guard->queue[(i + 1) % GUARD_SLOTS], GUARD_TAKEN, "G3");
}
