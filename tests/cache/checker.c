// SPDX-License-Identifier: BSD-3-Clause
// Needs: objects

/* tcache_check() reports each broken invariant by its number. */

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "broken.h"
#include "cache/tcache_core.h"
#include "caches.h"
#include "harness.h"

/* Between threads. */

static pthread_barrier_t barrier;

/* The checker. */

#define BREAK(lvalue, wrong, number) BREAK_BY(tcache_check, lvalue, wrong, number)

static unsigned int broken_class;
static unsigned int capacity;
static struct bin *bin; /* half full */
static struct magazine *spare; /* full */
static struct depot *depot; /* two full magazines and an empty one */
static struct tcache *cache;

static void set_up(void)
{
	broken_class = class_in_use();
	capacity = magazine_capacity(broken_class);
	cache = own_cache();
	alloc_cells(5u * capacity);
	free_cells(5u * capacity);
	CHECK((cells[0] = malloc(SIZE)));
	bin = &cache->bins[broken_class];
	spare = cache->spares[broken_class];
	depot = &magazine_shards[cache->shard].depots[broken_class];
	CHECK(spare && spare->count == capacity && depot->full_count >= 2);
	check_all();
}

TEST(m1_end_of_a_magazine)
{
	set_up();
	BREAK(magazine_of(bin->top)->cells[capacity], cells[0], "M1");
	BREAK(spare->cells[capacity], cells[0], "M1");
	BREAK(depot->full->cells[capacity], cells[0], "M1");
}

TEST(m2_full_magazines)
{
	set_up();
	BREAK(depot->full->count, capacity - 1, "M2");
	BREAK(depot->full->cells[3], MAGAZINE_END, "M2");
	BREAK(depot->full_count, depot->full_count + 1, "M2");
	BREAK(depot->empty_count, depot->empty_count + 1, "M2");
	BREAK(depot->full, depot->full->next, "M2");
	BREAK(depot->low, depot->full_count + 1, "M2");
}

TEST(m3_cells_in_magazines)
{
	set_up();
	BREAK(bin->top[0], bin->top[1], "M3");
	BREAK(bin->top[0], spare->cells[0], "M3");
	BREAK(depot->full->cells[0], depot->full->next->cells[0], "M3");
	BREAK(bin->top[0], (char *)bin->top[0] + 8, "M3");
	BREAK(bin->top[0], (void *)&cells, "M3");
	BREAK(spare->cells[5], malloc(SIZE + 100), "M3");
}

TEST(m4_marks)
{
	set_up();
	BREAK(*cell_word(bin->top[1]), 0, "M4");
	BREAK(*cell_word(spare->cells[0]), 0, "M4");
	BREAK(*cell_word(depot->full->cells[0]), 0, "M4");
}

TEST(m3_cell_in_the_store)
{
	void *cell;

	set_up();
	cell = bin->top[0];
	slab_enter(broken_class);
	slab_give_locked(broken_class, &cell, 1);
	slab_leave(broken_class);
	expect_fault(tcache_check, "M3");
}

TEST(c1_bins)
{
	set_up();
	BREAK(bin->magic, bin->magic + 1, "C1");
	BREAK(bin->top, &magazine_of(bin->top)->cells[capacity] + 1, "C1");
}

TEST(c2_spares)
{
	set_up();
	BREAK(spare->count, 1, "C2");
	BREAK(cache->spares[broken_class], magazine_of(bin->top), "C2");
}

static void *wait_for_the_end(void *arg)
{
	own_cache();
	pthread_barrier_wait(&barrier);
	pause();
	return arg;
}

TEST(c3_list_of_caches)
{
	pthread_t thread;

	set_up();
	CHECK(pthread_barrier_init(&barrier, NULL, 2) == 0);
	CHECK(pthread_create(&thread, NULL, wait_for_the_end, NULL) == 0);
	pthread_barrier_wait(&barrier);
	BREAK(tcache_all.count, 3, "C3");
	BREAK(tcache_all.first->next->prev, NULL, "C3");
	BREAK(tcache_all.first->next, NULL, "C3");
}
