// SPDX-License-Identifier: BSD-3-Clause
// Needs: objects

/*
 * The index of free blocks alone, and the treaps alone, against naive sets; index_check() now and
 * then. That it sees what is wrong is shown in checker.c.
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "block/block_core.h"
#include "harness.h"

#define SECRET UINT64_C(0x0123456789abcdef) /* of links */

/* Random numbers, the same in every run. */

static uint64_t random_state = 1;

static void set_heap(const void *start, size_t size)
{
	links_heap = (struct links_heap){(uintptr_t)start, size, SECRET};
}

/* The index, against a naive set. Blocks have a header and room for links, nothing more. */

#define RANGES 5
#define RANGE (8 * GIB) /* of address space, of which a few pages are touched */
#define PAGES_PER_RANGE 4
#define PAGE ((size_t)4096)
#define STRIDE ((size_t)64)
#define PER_PAGE (PAGE / STRIDE)
#define BLOCKS (RANGES * PAGES_PER_RANGE * PER_PAGE)

struct set {
	struct index index;
	struct block_meta *block[BLOCKS]; /* in address order */
	bool is_in[BLOCKS];
	size_t count;
};

static struct set set;

static int by_address(const void *a, const void *b)
{
	uintptr_t x = (uintptr_t) * (struct block_meta *const *)a;
	uintptr_t y = (uintptr_t) * (struct block_meta *const *)b;

	return (x > y) - (x < y);
}

static void lay_out_page(char *page, size_t *n)
{
	CHECK(mprotect(page, PAGE, PROT_READ | PROT_WRITE) == 0);
	for (size_t at = 0; at < PAGE; at += STRIDE)
		set.block[(*n)++] = (struct block_meta *)(void *)(page + at);
}

static void lay_out(void)
{
	size_t n = 0;
	char *base = mmap(NULL, RANGES * RANGE, PROT_NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (base == MAP_FAILED)
		test_skip("no %zu GiB of address space", RANGES * RANGE / GIB);
	set_heap(base, RANGES * RANGE);
	for (size_t r = 0; r < RANGES; r++) {
		/* The first and the last page of each range, and some between. */
		lay_out_page(base + r * RANGE, &n);
		lay_out_page(base + (r + 1) * RANGE - PAGE, &n);
		for (size_t i = 2; i < PAGES_PER_RANGE; i++)
			lay_out_page(base + r * RANGE +
					     (i * RANGE / PAGES_PER_RANGE & ~(PAGE - 1)) +
					     random_below(&random_state, 1000) * PAGE,
				     &n);
	}
	CHECK(n == BLOCKS);
	qsort(set.block, n, sizeof(set.block[0]), by_address);
}

/* The block that the index must take: the smallest that is large enough, the lowest of those. */
static size_t naive_best(size_t size)
{
	size_t best = BLOCKS;

	for (size_t i = 0; i < BLOCKS; i++)
		if (set.is_in[i] && set.block[i]->size >= size &&
		    (best == BLOCKS || set.block[i]->size < set.block[best]->size))
			best = i;
	return best;
}

static void check_set(void)
{
	size_t count = 0;
	const char *fault = index_check(&set.index, &count);

	CHECK_MSG(!fault, "%s", fault);
	CHECK(count == set.count);
}

static void put_out(size_t i)
{
	memset(set.block[i], 0x5a, STRIDE); /* nothing may need it any more */
	set.is_in[i] = false;
	set.count--;
}

static void take(size_t size)
{
	size_t best = naive_best(size), capacity;
	struct block_meta *b = index_take(&set.index, size, &capacity);

	CHECK(b == (best == BLOCKS ? NULL : set.block[best]));
	CHECK(!b || b->size == capacity);
	if (b)
		put_out(best);
}

static void put(size_t i, size_t size)
{
	struct block_meta *b = set.block[i];

	memset(b, 0xa5, STRIDE);
	b->size = size;
	b->status = STATUS_FREE;
	index_insert(&set.index, b);
	set.is_in[i] = true;
	set.count++;
}

static void remove_from_set(size_t i)
{
	CHECK(index_remove(&set.index, set.block[i]));
	put_out(i);
}

/* With so many of the blocks, the lowest ones; nearly all of them are in where is_full is set. */
static void exercise_some(size_t blocks, size_t (*size_of)(void), size_t steps, bool is_full)
{
	for (size_t i = 0; i < steps; i++) {
		size_t at = random_below(&random_state, blocks);

		if (!set.is_in[at])
			put(at, size_of());
		else if (is_full && !one_in(&random_state, 8))
			continue;
		else if (one_in(&random_state, 2))
			remove_from_set(at);
		else
			take(size_of());
		if (i % 32 == 0)
			check_set();
	}
	while (set.count)
		take(8);
	take(8);
	check_set();
}

/* Takes follow insertions at once, then nearly all blocks are in. */
static void exercise_index(size_t (*size_of)(void))
{
	lay_out();
	exercise_some(BLOCKS, size_of, 100000, false);
	exercise_some(BLOCKS, size_of, 50000, true);
}

static size_t narrow_size(void)
{
	return 8;
}

static size_t exact_size(void)
{
	return 8 + 8 * random_below(&random_state, INDEX_EXACT_MAX / 8);
}

/* Of each kind of bin the first and the last. */
static size_t few_sizes(void)
{
	static const size_t sizes[] = {8, 16, 24, 1016, 1024, 1032, 1152, 1160, 2048, 4096};

	return sizes[random_below(&random_state, COUNT_OF(sizes))];
}

static size_t any_size(void)
{
	return (8 +
		random_below(&random_state, (size_t)1 << (4 + random_below(&random_state, 42)))) &
	       ~(size_t)7;
}

static size_t sized_size(void)
{
	size_t size = one_in(&random_state, 2) ? few_sizes() : any_size();

	return size > INDEX_EXACT_MAX ? size : INDEX_EXACT_MAX + 8;
}

/* The ends of bins, up to the last of all. */
static size_t edge_size(void)
{
	size_t edge = (size_t)1 << (10 + random_below(&random_state, INDEX_DOUBLINGS));

	edge += edge / 8 * random_below(&random_state, 8);
	return edge - 8 + 8 * random_below(&random_state, 3);
}

static size_t one_exact_size(void)
{
	return 24;
}

static size_t one_large_size(void)
{
	return 5000;
}

TEST(index_of_narrow_blocks)
{
	exercise_index(narrow_size);
}

TEST(index_of_exact_sizes)
{
	exercise_index(exact_size);
}

TEST(index_of_one_exact_size)
{
	exercise_index(one_exact_size);
}

TEST(index_of_few_sizes)
{
	exercise_index(few_sizes);
}

TEST(index_of_any_size)
{
	exercise_index(any_size);
}

TEST(index_of_large_sizes)
{
	exercise_index(sized_size);
}

TEST(index_of_sizes_at_the_ends_of_bins)
{
	exercise_index(edge_size);
}

TEST(index_of_one_large_size)
{
	exercise_index(one_large_size);
}

/* Bins that become empty, and the last and the first to do so, again and again. */
TEST(index_of_few_blocks)
{
	static size_t (*const sizes[])(void) = {narrow_size, exact_size, few_sizes, any_size};

	lay_out();
	for (size_t i = 0; i < 100; i++)
		exercise_some(1 + random_below(&random_state, 24), sizes[i % COUNT_OF(sizes)], 1000,
			      false);
}

/* Every bin is found from every size, and no other. */
TEST(every_bin_alone)
{
	lay_out();
	for (size_t bin = 0; bin < INDEX_BINS; bin++) {
		size_t size = bin < INDEX_FIRST_SIZED ? 8 * (bin + 1) : 0;

		if (!size) {
			size_t above = bin - INDEX_FIRST_SIZED;

			size = (8 + above % 8) << (above / 8 + 7);
			size = size == INDEX_EXACT_MAX ? size + 8 : size;
		}
		CHECK(index_bin_of(size) == bin);
		put(1, size);
		CHECK(set.index.bin[bin] == set.block[1]);
		check_set();
		take(size + 8);
		take(8);
		put(0, size);
		take(size);
		CHECK(set.count == 0);
	}
}

/* The treaps alone. */

#define NODES 500

struct treap_block {
	struct block_meta header;
	uint64_t links[2];
};

static struct treap_block nodes[NODES];
static bool is_in[NODES];
static size_t in_count;

/* T1 and T2 below b, in (low, high); the number of blocks. */
static size_t check_treap(struct block_meta *b, const struct block_meta *low,
			  const struct block_meta *high, enum treap_kind kind)
{
	struct block_meta *left, *right;

	if (!b)
		return 0;
	left = treap_get(b, TREAP_LEFT, kind);
	right = treap_get(b, TREAP_RIGHT, kind);
	CHECK((!low || treap_before(low, b, kind)) && (!high || treap_before(b, high, kind)));
	CHECK(!left || treap_priority(left) <= treap_priority(b));
	CHECK(!right || treap_priority(right) <= treap_priority(b));
	return 1 + check_treap(left, low, b, kind) + check_treap(right, b, high, kind);
}

static size_t naive_first_of_size(size_t size)
{
	size_t best = NODES;

	for (size_t i = 0; i < NODES; i++)
		if (is_in[i] && nodes[i].header.size >= size &&
		    (best == NODES || nodes[i].header.size < nodes[best].header.size))
			best = i;
	return best;
}

static void insert_node(struct block_meta **root, size_t i, enum treap_kind kind)
{
	struct block_meta *b = &nodes[i].header;

	memset(&nodes[i], 0xa5, sizeof(nodes[i]));
	b->size = kind == TREAP_SIZED ? 16 + random_below(&random_state, 100) : 8;
	b->status = kind == TREAP_MAPPED ? STATUS_MAPPED : STATUS_FREE;
	treap_insert(root, b, kind);
	is_in[i] = true;
	in_count++;
}

static void remove_node(struct block_meta **root, size_t i, enum treap_kind kind)
{
	CHECK(treap_remove(root, &nodes[i].header, kind));
	CHECK(!treap_remove(root, &nodes[i].header, kind));
	is_in[i] = false;
	in_count--;
}

static void take_node(struct block_meta **root, size_t size, enum treap_kind kind)
{
	size_t best = naive_first_of_size(size);
	struct block_meta *b = treap_take(root, size, kind);

	CHECK(b == (best == NODES ? NULL : &nodes[best].header));
	if (b) {
		is_in[best] = false;
		in_count--;
	}
}

static void exercise_treap(enum treap_kind kind)
{
	struct block_meta *root = NULL;

	set_heap(nodes, sizeof(nodes));
	for (size_t step_nr = 0; step_nr < 20000; step_nr++) {
		size_t i = random_below(&random_state, NODES);

		if (kind == TREAP_MAPPED)
			CHECK(treap_has(&root, &nodes[i].header) == is_in[i]);
		else if (one_in(&random_state, 8))
			take_node(&root,
				  kind == TREAP_NARROW ? 8 : random_below(&random_state, 120),
				  kind);
		if (is_in[i])
			remove_node(&root, i, kind);
		else
			insert_node(&root, i, kind);
		CHECK(check_treap(root, NULL, NULL, kind) == in_count);
	}
}

TEST(treap_of_sized_blocks)
{
	exercise_treap(TREAP_SIZED);
}

TEST(treap_of_narrow_blocks)
{
	exercise_treap(TREAP_NARROW);
}

TEST(treap_of_mapped_blocks)
{
	exercise_treap(TREAP_MAPPED);
}
