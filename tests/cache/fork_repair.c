// SPDX-License-Identifier: BSD-3-Clause
// Needs: objects

/*
 * A fork's child repairs what other threads were changing. Derived data is overwritten with
 * garbage, for each lock that may be held. And at full speed: threads allocate and free while
 * others fork.
 */

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include "cache/tcache_core.h"
#include "forks.h"
#include "harness.h"
#include "places.h"
#include "slab/slab_core.h"

/* With one lock held, all data that derives from what it guards is garbage. */

static void set_up(void)
{
	uint64_t state = 1;

	have_had_a_thread();
	for (size_t i = 0; i < 3000; i++)
		step(objects[0], &state);
	check_all("at first");
}

/* The same with two full windows. */
static void set_up_far(void)
{
	struct object *o = objects[1];

	free(malloc(1));
	for (int i = 0; i < 2; i++) {
		const struct window *last = last_window();

		for (take_last_window(); last == last_window(); o++)
			publish(o, malloc(SPAN_MAX), SPAN_MAX);
	}
	set_up();
}

static uint64_t noise = 99;

static void scramble(void *at, size_t size)
{
	unsigned char *byte = at;

	for (size_t i = 0; i < size; i++)
		byte[i] = (unsigned char)random_below(&noise, 256);
}

#define SCRAMBLE(lvalue) scramble(&(lvalue), sizeof(lvalue))

static void for_each_slab(unsigned int class, void (*visit)(struct slab *s))
{
	for (struct segment *g = NULL; (g = segment_next(SET_LIVE, g));)
		for (unsigned int slot = 1; slot < SEGMENT_SLOTS; slot++)
			if (g->cells >> slot & 1 && g->first[slot] == slot &&
			    g->slabs[slot].class == class)
				visit(&g->slabs[slot]);
}

static void scramble_slab(struct slab *s)
{
	SCRAMBLE(s->next);
	SCRAMBLE(s->prev);
	SCRAMBLE(s->group);
	SCRAMBLE(s->shard);
	SCRAMBLE(s->checksum);
	SCRAMBLE(s->free);
	SCRAMBLE(s->summary);
	segment_set_page_map(s, random_below(&noise, 2) ? slab_bin_of(s->class) : 0);
}

static void scramble_class(unsigned int class)
{
	slab_enter(class);
	SCRAMBLE(slab_class_states[class]);
	for (unsigned int shard = 0; shard < SLAB_SHARDS; shard++)
		SCRAMBLE(slab_shard_lists[shard][class]);
	for_each_slab(class, scramble_slab);
}

/* In a grandchild, fork's handler runs as well. */
static void expect_repair(void (*change)(unsigned int nr), unsigned int nr)
{
	pid_t pid = raw_fork();

	if (pid == 0) {
		change(nr);
		become_child();
		look_and_end(0);
	}
	expect_good_end(pid);
}

TEST(each_class_is_rebuilt)
{
	where = "class";
	set_up();
	for (unsigned int class = 1; class < CLASS_END; class += 1)
		if (slab_class_states[class].slabs)
			expect_repair(scramble_class, class);
}

static void scramble_segment(struct segment *g)
{
	struct window *w = window_of(g);
	struct segment_bits *bits = &w->bits[((uintptr_t)g - w->map.start) / SEGMENT_SIZE / 64];
	uint64_t live = bits->words[SET_LIVE];

	SCRAMBLE(g->checksum);
	SCRAMBLE(g->used);
	SCRAMBLE(g->dirty);
	SCRAMBLE(g->runs);
	scramble(segment_page_map(g), SEGMENT_SLOTS * sizeof(uint16_t));
	SCRAMBLE(*bits);
	bits->words[SET_LIVE] = live;
}

static void scramble_store(unsigned int nr)
{
	(void)nr;
	store_lock();
	for (struct segment *g = NULL; (g = segment_next(SET_LIVE, g));)
		scramble_segment(g);
	SCRAMBLE(slab_store.segments);
	SCRAMBLE(slab_store.dirty_pages);
	SCRAMBLE(slab_store.span_pages);
	for (struct window *w = window_first(); w; w = w->next)
		SCRAMBLE(w->summaries);
	SCRAMBLE(slab_store.run_classes);
	SCRAMBLE(slab_store.run_segments);
}

static void scramble_everything(unsigned int nr)
{
	for (unsigned int class = 1; class < CLASS_END; class += 1)
		scramble_class(class);
	scramble_store(nr);
	SCRAMBLE(slab_store.sparse_slots);
	SCRAMBLE(slab_store.idle_slots);
}

TEST(the_store_is_rebuilt)
{
	where = "store";
	set_up();
	expect_repair(scramble_store, 0);
	where = "store and classes";
	expect_repair(scramble_everything, 0);
}

static void scramble_depots(unsigned int shard)
{
	depot_enter(shard);
	for (unsigned int class = 1; class < CLASS_COUNT; class += 1) {
		struct depot *d = &magazine_shards[shard].depots[class];

		SCRAMBLE(d->full_count);
		SCRAMBLE(d->empty_count);
		SCRAMBLE(d->low);
	}
	SCRAMBLE(magazine_sizes[shard].bytes);
}

TEST(far_windows_are_rebuilt)
{
	set_up_far();
	where = "class in a far window";
	for (unsigned int class = 1; class < CLASS_END; class += 1)
		if (slab_class_states[class].slabs)
			expect_repair(scramble_class, class);
	where = "everything in far windows";
	expect_repair(scramble_everything, 0);
}

TEST(depots_are_counted)
{
	where = "depots";
	set_up();
	for (unsigned int shard = 0; shard < SLAB_SHARDS; shard++)
		expect_repair(scramble_depots, shard);
}

static void scramble_caches(unsigned int nr)
{
	(void)nr;
	lock_acquire(&tcache_all.lock);
	for (struct tcache *tc = tcache_all.first; tc; tc = tc->next)
		SCRAMBLE(tc->prev);
	SCRAMBLE(tcache_all.count);
	SCRAMBLE(slab_shard_users);
}

static pthread_barrier_t barrier;

static void *live_until_told(void *arg)
{
	free(malloc(1));
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	return arg;
}

TEST(caches_are_counted)
{
	pthread_t threads[3];

	where = "caches";
	CHECK(pthread_barrier_init(&barrier, NULL, COUNT_OF(threads) + 1) == 0);
	for (size_t i = 0; i < COUNT_OF(threads); i++)
		CHECK(pthread_create(&threads[i], NULL, live_until_told, NULL) == 0);
	pthread_barrier_wait(&barrier);
	set_up();
	expect_repair(scramble_caches, 0);
	pthread_barrier_wait(&barrier);
	for (size_t i = 0; i < COUNT_OF(threads); i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
}

/* Another thread has switched a mode on, but has not yet set this one's fast. */
TEST(modes_are_told)
{
	pid_t pid;

	where = "modes";
	free(malloc(1));
	CHECK(tcache_thread.fast == tcache_thread.own);
	pid = raw_fork();
	if (pid == 0) {
		tcache_all.modes |= TCACHE_COUNTS;
		become_child();
		CHECK(tcache_thread.fast == &tcache_none);
		look_and_end(0);
	}
	expect_good_end(pid);
}

/* The page caches of other threads are released. */
static void *keep_everything(void *arg)
{
	uint64_t state = (uintptr_t)arg;

	for (int i = 0; i < 2000; i++)
		step(objects[1], &state);
	for (size_t i = 0; i < OBJECTS; i++)
		free(take_back(&objects[1][i]));
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	return NULL;
}

TEST(caches_of_other_threads_are_given_back)
{
	struct tcache_stats stats;
	pthread_t thread;
	pid_t pid;

	where = "others";
	CHECK(pthread_barrier_init(&barrier, NULL, 2) == 0);
	CHECK(pthread_create(&thread, NULL, keep_everything, (void *)5) == 0);
	pthread_barrier_wait(&barrier);
	tcache_get_stats(&stats);
	CHECK(stats.cached_cells && stats.spans && stats.caches >= 1);
	pid = fork();
	if (pid == 0) {
		tcache_get_stats(&stats);
		CHECK(stats.caches <= 1 && !stats.spans);
		look_and_end(0);
	}
	expect_good_end(pid);
	pthread_barrier_wait(&barrier);
	CHECK(pthread_join(thread, NULL) == 0);
	check_all("in the parent");
}

/* At full speed. */

static atomic_bool is_over;

static void *work(void *arg)
{
	uintptr_t nr = (uintptr_t)arg;
	uint64_t state = nr;

	while (!is_over)
		step(objects[nr], &state);
	return NULL;
}

/* Threads that start, allocate and exit. */
static void *work_briefly(void *arg)
{
	uint64_t state = (uintptr_t)arg;

	for (int i = 0; i < 100; i++)
		free(malloc(sizes[random_below(&state, COUNT_OF(sizes) - 2)]));
	return NULL;
}

static void *come_and_go(void *arg)
{
	for (uintptr_t i = (uintptr_t)arg; !is_over; i++) {
		pthread_t thread;

		CHECK(pthread_create(&thread, NULL, work_briefly, (void *)i) == 0);
		CHECK(pthread_join(thread, NULL) == 0);
	}
	return NULL;
}

#define FORKS 150

static void *fork_often(void *arg)
{
	for (int i = 0; i < FORKS; i++) {
		pid_t pid = fork();

		if (pid == 0)
			look_and_end(WORKERS + 2);
		expect_good_end(pid);
	}
	return arg;
}

TEST(at_full_speed)
{
	pthread_t workers[WORKERS], other;

	where = "full speed";
	test_timeout(120);
	for (uintptr_t i = 0; i < WORKERS; i++)
		CHECK(pthread_create(&workers[i], NULL, i ? work : come_and_go, (void *)i) == 0);
	CHECK(pthread_create(&other, NULL, fork_often, NULL) == 0);
	fork_often(NULL);
	CHECK(pthread_join(other, NULL) == 0);
	is_over = true;
	for (size_t i = 0; i < WORKERS; i++)
		CHECK(pthread_join(workers[i], NULL) == 0);
	check_all("in the parent");
	drop_all();
	check_lost(0);
}
