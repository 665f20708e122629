// SPDX-License-Identifier: BSD-3-Clause

/*
 * block_check() and index_check() against heaps that are broken on purpose: each invariant by its
 * number. Every test puts back what it broke, and the check is content again.
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "block_core.h"
#include "broken.h"
#include "harness.h"
#include "osmem.h"

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

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
	for (size_t i = 0; i < ROW; i++) {
		course_row[i] = header(os_malloc(64));
	}
	for (size_t i = 0; i < COUNT_OF(course_mapped); i++) {
		course_mapped[i] = header(os_malloc(MIB));
	}
	for (size_t i = 1; i < ROW; i += 2) {
		os_free(course_row[i] + 1);
	}
	expect_sound(block_check);
}

/* Settle the heap: no block is pending any more. */
static void settle(void)
{
	block_settle(&course_heap);
	expect_sound(block_check);
}

/* So many free blocks of 24 bytes that the course heap's index has them in bins from here on. */
static void fill_bins(void)
{
	void *p[2 * (INDEX_FEW_MAX + 1)];

	for (size_t i = 0; i < COUNT_OF(p); i++)
		CHECK((p[i] = os_malloc(24)));
	for (size_t i = 0; i < COUNT_OF(p); i += 2)
		os_free(p[i]);
	settle();
	CHECK(course_heap.index.kind == INDEX_MANY);
}

static void add_course_region(void)
{
	CHECK(sbrk(64) != (void *)-1);
	CHECK(os_malloc(100000) && os_malloc(100000));
	CHECK(course_heap.region_count == 2);
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
	struct index *ix = &course_heap.index;

	set_up();
	CHECK(index_remove(ix, course_row[1]));
	expect_fault(block_check, "H4");
	index_insert(ix, course_row[1]);
	expect_sound(block_check);
	settle();
	CHECK(index_remove(ix, course_row[3]));
	expect_fault(block_check, "H4");
	index_defer(ix, course_row[3]);
	expect_sound(block_check);
}

TEST(h5_regions)
{
	struct region *r;

	set_up();
	add_course_region();
	r = course_heap.regions;
	break_pointer(&r[0].limit, r[1].start, "H5");
	break_pointer(&r[0].limit, r[0].end - 8, "H5");
	break_pointer(&r[1].limit, r[1].end - 8, "H5");
}

TEST(h6_top_and_last)
{
	struct block_heap *h = &course_heap;

	set_up();
	add_course_region();
	break_pointer(&h->top, course_row[0], "H6");
	break_pointer(&h->last, course_row[0], "H6");
}

TEST(h7_figures)
{
	struct block_stats *s = &course_heap.stats;

	set_up();
	break_size(&s->blocks, s->blocks + 1, "H7");
	break_size(&s->live_blocks, s->live_blocks - 1, "H7");
	break_size(&s->live_bytes, s->live_bytes + 8, "H7");
	break_size(&s->region_bytes, s->region_bytes + 8, "H7");
	break_size(&s->reserve_bytes, s->reserve_bytes + 8, "H7");
	break_size(&s->regions, s->regions + 1, "H7");
	break_size(&s->mapped_blocks, s->mapped_blocks + 1, "H7");
}

/* The newest pending blocks are the sevenths of their rows, then the fifths. */
TEST(i1_pending_list)
{
	set_up();
	break_status(pad(course_row[3]), 0, "I1");
	break_status(pad(course_row[5]), (int)(INDEX_PENDING | 1), "I1");
	break_size((size_t *)(void *)(course_row[5] + 1), 0, "I1"); /* leads nowhere */
	break_pointer(&course_heap.index.pending, course_row[5], "I1");
	break_pointer(&course_heap.index.pending, NULL, "H4");
}

TEST(i1_wrong_bin)
{
	struct index *ix = &course_heap.index;

	fill_bins();
	set_up();
	settle();
	/* The bins of 16 bytes and of the smallest treap get a block of 64. */
	break_pointer(&ix->bin[INDEX_ZONES].block, course_row[1], "I");
	break_pointer(&ix->bin[INDEX_FIRST_TREAP].node, course_row[1] + 1, "I");
}

TEST(i2_bitmap)
{
	struct index *ix = &course_heap.index;

	fill_bins();
	set_up();
	settle();
	for (size_t i = 0; i < INDEX_WORDS; i++) {
		uint64_t none = 0, all = ~UINT64_C(0);

		if (ix->occupied[i])
			break_bytes(block_check, &ix->occupied[i], &none, sizeof(none), "I2");
		else
			break_bytes(block_check, &ix->occupied[i], &all, sizeof(all), "I2");
	}
}

/* The four free blocks of 64 bytes are in one pairing heap, the lowest address its root. */
TEST(i3_pairing_heaps)
{
	struct index_links *root;

	fill_bins();
	set_up();
	settle();
	root = index_links(course_row[1]);
	break_pointer(&root->back, course_row[3], "I3");
	break_pointer(&root->child, NULL, "H4"); /* all others are lost */
	break_pointer(&index_links(root->child)->back, NULL, "I3");
	break_pointer(&index_links(root->child)->child, course_row[1], "I3");
}

/* The same in blocks whose links have 31 bits. */
TEST(i3_narrow_pairing_heaps)
{
	struct block_meta *row[6];

	for (size_t i = 0; i < COUNT_OF(row); i++)
		row[i] = header(os_malloc(8));
	fill_bins();
	for (size_t i = 0; i < COUNT_OF(row); i += 2)
		os_free(row[i] + 1);
	settle();
	break_status(pad(row[0]), 1, "I3"); /* a root that leads back */
	break_status(pad(row[2]), 0, "I3");
	break_status(pad(row[4]), 0, "I3");
	break_size((size_t *)(void *)(row[0] + 1), 0, "H4");
}

static void set_links(const struct index *ix, struct treap_node *n, struct treap_node *left,
		      struct treap_node *right)
{
	treap_set(&n->left, left, ix->secret);
	treap_set(&n->right, right, ix->secret);
}

/* Three blocks in one treap, rearranged by hand. */
TEST(t1_and_t2_treaps)
{
	struct index *ix = &course_heap.index;
	struct treap_node *root, *left, *right, *child;
	char *p[6];

	fill_bins();
	for (size_t i = 0; i < COUNT_OF(p); i++)
		CHECK((p[i] = os_malloc(4000 + 8 * i)));
	for (size_t i = 0; i < COUNT_OF(p); i += 2)
		os_free(p[i]);
	settle();
	for (size_t bin = INDEX_FIRST_TREAP; bin < INDEX_BINS; bin++) {
		if (!ix->bin[bin].node)
			continue;
		root = treap_get(&ix->bin[bin].node, ix->secret);
		left = treap_get(&root->left, ix->secret);
		right = treap_get(&root->right, ix->secret);
		if (!left && !right)
			continue;
		set_links(ix, root, right, left);
		expect_fault(block_check, "T1");
		/* The other way up, the order is right and the priorities are wrong. */
		child = left ? left : right;
		set_links(ix, root, child == left ? NULL : left, child == right ? NULL : right);
		treap_set(treap_before(root, child, true) ? &child->left : &child->right, root,
			  ix->secret);
		treap_set(&ix->bin[bin].node, child, ix->secret);
		expect_fault(block_check, "T2");
		return;
	}
	CHECK(!"a treap of several blocks");
}

TEST(i5_few_blocks)
{
	struct index *ix = &course_heap.index;
	uint32_t less, more = INDEX_FEW_MAX + 1;
	enum index_kind many = INDEX_MANY;
	uint64_t key;

	set_up();
	settle();
	CHECK(ix->kind == INDEX_FEW &&
	      ix->count == ROW / 2); /* the last row block is part of the top */
	for (uint32_t i = 0; i <= ix->count; i++) {
		key = ix->key[i] + 8; /* another address */
		break_bytes(block_check, &ix->key[i], &key, sizeof(key), "I5");
		key = ix->key[i] + ((uint64_t)8 << INDEX_KEY_SHIFT); /* another size */
		break_bytes(block_check, &ix->key[i], &key, sizeof(key), "I5");
	}
	break_status(pad(course_row[1]), INDEX_FEW_MAX - 1, "I5");
	less = ix->count - 1;
	break_bytes(block_check, &ix->count, &less, sizeof(less), "I5");
	break_bytes(block_check, &ix->count, &more, sizeof(more), "I5");
	break_bytes(block_check, &ix->kind, &many, sizeof(many), "I5");
	key = 1;
	break_bytes(block_check, &ix->occupied[0], &key, sizeof(key), "I5");
}

TEST(t1_mapped_blocks)
{
	struct treap_node **mapped = &course_heap.mapped, *root, *left, *right, swapped;

	set_up();
	root = treap_get(mapped, block_secret);
	CHECK(root);
	left = treap_get(&root->left, block_secret);
	right = treap_get(&root->right, block_secret);
	CHECK(left || right);
	swapped = *root;
	treap_set(&root->left, right, block_secret);
	treap_set(&root->right, left, block_secret);
	expect_fault(block_check, "T1");
	*root = swapped;
	expect_sound(block_check);
	break_pointer(mapped, NULL, "H7");
}
