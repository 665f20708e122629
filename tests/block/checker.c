// SPDX-License-Identifier: BSD-3-Clause
// Needs: objects

/*
 * block_check() against a heap that is broken on purpose: each invariant by its number. A test puts
 * back what it broke, and the check is content again; or it ends.
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "block/block_core.h"
#include "broken.h"
#include "harness.h"
#include "osmem.h"

static void break_size(size_t *at, size_t value, const char *number)
{
	break_bytes(block_check, at, &value, sizeof(value), number);
}

static void break_status(int *at, int value, const char *number)
{
	break_bytes(block_check, at, &value, sizeof(value), number);
}

static void break_pointer(void *at, const void *value, const char *number)
{
	break_bytes(block_check, at, &value, sizeof(value), number);
}

/* The bytes behind status: seal of a live block, links of a free one. */
static int *pad(struct block_meta *b)
{
	return &b->status + 1;
}

/* The heap with live, free and pending blocks, two regions and mapped blocks. */

#define ROW 8

static struct block_meta *course_row[ROW], *course_mapped[3]; /* odd ones are free */

static struct block_meta *header(void *p)
{
	CHECK(p);
	return (struct block_meta *)p - 1;
}

static void set_up(void)
{
	for (size_t i = 0; i < ROW; i++)
		course_row[i] = header(os_malloc(64));
	for (size_t i = 0; i < COUNT_OF(course_mapped); i++)
		course_mapped[i] = header(os_malloc(MIB));
	for (size_t i = 1; i < ROW; i += 2)
		os_free(course_row[i] + 1);
	expect_sound(block_check);
}

/* Nothing is pending any more; the largest request that is none of a mapping takes no hole. */
static void settle(void)
{
	CHECK(os_malloc(MMAP_THRESHOLD - META - 2 * GRAIN));
	CHECK(course.pending.count == 0);
	expect_sound(block_check);
}

static void add_course_region(void)
{
	CHECK(sbrk(64) != (void *)-1);
	CHECK(os_malloc(100000) && os_malloc(100000));
	CHECK(course.region_count == 2);
	expect_sound(block_check);
}

TEST(empty_heaps_are_sound)
{
	expect_sound(block_check);
}

TEST(h1_sizes)
{
	set_up();
	for (size_t i = 0; i < ROW; i++) {
		break_size(&course_row[i]->size, 60, "H1");
		break_size(&course_row[i]->size, 0, "H1");
		break_size(&course_row[i]->size, MIB, "H1");
		break_size(&course_row[i]->size, SIZE_MAX - 7, "H1");
	}
}

TEST(h2_links)
{
	set_up();
	for (size_t i = 1; i < ROW - 1; i++) {
		break_pointer(&course_row[i]->prev, course_row[i + 1], "H2");
		break_pointer(&course_row[i]->next, course_row[0], "H2");
	}
}

TEST(h3_status_and_seal)
{
	set_up();
	for (size_t i = 0; i < ROW; i++) {
		break_status(&course_row[i]->status, 3, "H3");
	}
	break_status(&course_row[1]->status, STATUS_ALLOC, "H3");
	for (size_t i = 0; i < ROW; i += 2) {
		break_status(pad(course_row[i]), 0, "H3");
	}
}

TEST(h3_mapped)
{
	set_up();
	for (size_t i = 0; i < COUNT_OF(course_mapped); i++) {
		break_size(&course_mapped[i]->size, 2 * MIB, "H3");
		break_status(&course_mapped[i]->status, STATUS_ALLOC, "H3");
	}
}

TEST(h4_index_misses_a_block)
{
	set_up();
	settle();
	CHECK(index_remove(&course.index, course_row[3]));
	expect_fault(block_check, "H4");
	pending_add(&course.pending, course_row[3]);
	expect_sound(block_check);
	pending_remove(&course.pending, course_row[3]);
	index_insert(&course.index, course_row[3]);
	expect_sound(block_check);
	break_bytes(block_check, &course.pending.spilled, &(size_t){1}, sizeof(size_t), "H4");
}

TEST(h5_regions)
{
	struct region *r;

	set_up();
	add_course_region();
	r = block_regions;
	break_pointer(&r[0].limit, r[1].start, "H5");
	break_pointer(&r[0].limit, r[0].end - 8, "H5");
	break_pointer(&r[1].limit, r[1].end - 8, "H5");
}

TEST(h6_last)
{
	set_up();
	add_course_region();
	break_pointer(&course.last, course_row[0], "H6");
}

TEST(h7_figures)
{
	struct osmem_heap_stats *s = &course.stats;

	set_up();
	break_size(&s->blocks, s->blocks + 1, "H7");
	break_size(&s->allocs, s->allocs - 1, "H7");
	break_size(&s->live_bytes, s->live_bytes + 8, "H7");
	break_size(&s->region_bytes, s->region_bytes + 8, "H7");
	break_size(&s->ahead_bytes, s->ahead_bytes + 8, "H7");
	break_size(&s->regions, s->regions + 1, "H7");
	break_size(&s->mmap_calls, s->mmap_calls + 1, "H7");
}

/* The four free blocks of the row are the first four of the table. */
TEST(q1_pending)
{
	set_up();
	CHECK(pending_table[0] == course_row[1] && course.pending.count == ROW / 2);
	break_status(pad(course_row[3]), 0, "H4"); /* as if it were indexed */
	break_status(pad(course_row[3]), (int)LINKS_PENDING, "Q1"); /* another one's place */
	break_status(pad(course_row[5]), (int)(LINKS_PENDING | 4), "Q1");
	break_status(pad(course_row[5]), (int)PENDING_SPILLED, "Q1"); /* nothing is spilled */
	break_pointer(&pending_table[0], course_row[3], "Q1");
}

TEST(i1_wrong_bin)
{
	struct index *ix = &course.index;

	set_up();
	settle();
	/* The bins of 16 bytes, of 72 and of the smallest treap get a block of 64. */
	ix->occupied[0] |= 2 | 1 << 8;
	ix->occupied[INDEX_FIRST_SIZED / 64] |= 1;
	ix->bin[1] = course_row[1];
	expect_fault(block_check, "I1");
	ix->bin[1] = NULL;
	ix->occupied[0] &= ~(uint64_t)2;
	ix->bin[8] = course_row[1];
	expect_fault(block_check, "P2");
	pairing_links(course_row[1])->back = &ix->bin[8];
	ix->bin[7] = NULL;
	ix->occupied[0] &= ~((uint64_t)1 << 7);
	expect_fault(block_check, "I1");
	ix->bin[8] = NULL;
	ix->occupied[0] &= ~((uint64_t)1 << 8);
	ix->bin[INDEX_FIRST_SIZED] = course_row[1];
	expect_fault(block_check, "I1");
}

TEST(i2_bitmap)
{
	struct index *ix = &course.index;

	set_up();
	settle();
	for (size_t i = 0; i < INDEX_WORDS; i++) {
		uint64_t none = 0, all = ~UINT64_C(0);

		if (ix->occupied[i])
			break_bytes(block_check, &ix->occupied[i], &none, sizeof(none), "I2");
		else if (i < INDEX_WORDS - 1)
			break_bytes(block_check, &ix->occupied[i], &all, sizeof(all), "I2");
	}
}

/* Three free blocks in one pairing heap, the lowest its root; the other two are siblings. */
TEST(p1_and_p2_pairing_heaps)
{
	struct pairing_links *root, *child;
	struct block_meta *row[6];

	for (size_t i = 0; i < COUNT_OF(row); i++)
		row[i] = header(os_malloc(64));
	os_free(row[4] + 1);
	os_free(row[2] + 1);
	os_free(row[0] + 1);
	settle();
	root = pairing_links(row[0]);
	CHECK(root->child == row[4] && pairing_links(row[4])->sibling == row[2]);
	child = pairing_links(row[4]);
	break_pointer(&root->back, row[2], "P2");
	break_pointer(&root->child, NULL, "H4"); /* all others are lost */
	break_pointer(&root->sibling, row[2], "P2");
	break_pointer(&child->back, NULL, "P1");
	break_pointer(&child->child, row[0], "P1");
	break_pointer(&child->sibling, NULL, "H4");
	break_pointer(&pairing_links(row[2])->back, NULL, "P2");
}

/* Trees of three blocks at least, rearranged by hand. */

static void set_links(struct block_meta *b, struct block_meta *left, struct block_meta *right,
		      enum treap_kind kind)
{
	treap_set(b, TREAP_LEFT, left, kind);
	treap_set(b, TREAP_RIGHT, right, kind);
}

static void break_treap(struct block_meta **root, enum treap_kind kind)
{
	struct block_meta *top = *root, *left, *right, *child;

	CHECK(top);
	left = treap_get(top, TREAP_LEFT, kind);
	right = treap_get(top, TREAP_RIGHT, kind);
	CHECK(left || right);
	set_links(top, right, left, kind);
	expect_fault(block_check, "T1");
	if (kind != TREAP_MAPPED) {
		/* The other way up, the order is right and the priorities are wrong. */
		child = left ? left : right;
		set_links(top, child == left ? NULL : left, child == right ? NULL : right, kind);
		treap_set(child, treap_before(top, child, kind) ? TREAP_LEFT : TREAP_RIGHT, top,
			  kind);
		*root = child;
		expect_fault(block_check, "T2");
		return;
	}
	set_links(top, left, right, kind);
	expect_sound(block_check);
}

/* Three free blocks of this size in one bin: the search for a fourth puts small ones there, too. */
static void free_three(size_t size)
{
	char *p[8];

	for (size_t i = 0; i < COUNT_OF(p); i++)
		CHECK((p[i] = os_malloc(size)));
	for (size_t i = 0; i < COUNT_OF(p); i += 2)
		os_free(p[i]);
	CHECK(os_malloc(size) == p[0]);
	settle();
}

TEST(t1_and_t2_treap_of_8_bytes)
{
	free_three(8);
	break_treap(&course.index.bin[0], TREAP_NARROW);
}

TEST(t1_and_t2_treap_of_16_bytes)
{
	free_three(16);
	break_treap(&course.index.bin[1], TREAP_SIZED);
}

TEST(t1_and_t2_treap_of_sizes)
{
	free_three(4000);
	break_treap(&course.index.bin[index_bin_of(4000)], TREAP_SIZED);
}

TEST(t1_mapped_blocks)
{
	set_up();
	break_treap(&course.mapped, TREAP_MAPPED);
	break_pointer(&course.mapped, NULL, "H7");
}
