// SPDX-License-Identifier: BSD-3-Clause
// Needs: objects

/*
 * Modes in which all calls take the slow path, switched at any moment. Fast and slow paths agree on
 * contents, alignments and errno.
 */

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "broken.h"
#include "cache/tcache_core.h"
#include "caches.h"
#include "harness.h"
#include "slab/slab_core.h"

/* Between threads. */

static pthread_barrier_t barrier;

/* Thread exit. */

static pthread_key_t late_key;

/* Modes. */

static void *switch_modes(void *arg)
{
	for (int i = 0; i < 2000; i++) {
		tcache_set_mode(TCACHE_COUNTS, i % 2 == 0);
		tcache_set_perturb(i % 3 ? 0x5a : 0);
		if (i % 64 == 0)
			usleep(100);
	}
	tcache_set_mode(TCACHE_COUNTS, false);
	tcache_set_perturb(0);
	return arg;
}

/* Switched for all threads, at any moment. */
TEST(modes_switch_while_threads_run)
{
	pthread_t thread;

	own_cache();
	CHECK(pthread_create(&thread, NULL, switch_modes, NULL) == 0);
	for (int i = 0; i < 300; i++) {
		alloc_cells(1000);
		for (size_t j = 0; j < 1000; j++)
			memset(cells[j], (int)j, SIZE);
		for (size_t j = 0; j < 1000; j++)
			CHECK(((unsigned char *)cells[j])[SIZE - 1] == (unsigned char)j);
		free_cells(1000);
	}
	CHECK(pthread_join(thread, NULL) == 0);
	CHECK(tcache_all.modes == 0);
	own_cache();
	check_all();
}

/* Only allocations take the slow path, unless another mode is on. */
TEST(sampling_leaves_the_fast_path_of_free)
{
	struct tcache *tc = own_cache();

	tcache_set_mode(TCACHE_SAMPLES, true);
	CHECK(tcache_thread.fast == &tcache_none && tcache_thread.fast_free == tc);
	tcache_set_mode(TCACHE_COUNTS, true);
	CHECK(tcache_thread.fast == &tcache_none && tcache_thread.fast_free == &tcache_none);
	tcache_set_mode(TCACHE_SAMPLES, false);
	CHECK(tcache_thread.fast == &tcache_none && tcache_thread.fast_free == &tcache_none);
	tcache_set_mode(TCACHE_COUNTS, false);
	CHECK(tcache_thread.fast == tc && tcache_thread.fast_free == tc);
	check_all();
}

static volatile struct tcache_thread *ending;
static struct tcache *fast_at_the_end;

static void note_fast(void *arg)
{
	fast_at_the_end = arg ? tcache_thread.fast : NULL;
}

static void *end_when_told(void *arg)
{
	use_cells(NULL);
	CHECK(pthread_setspecific(late_key, arg) == 0);
	ending = &tcache_thread;
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	return NULL;
}

/* An exiting thread does not reuse its released cache, even if another thread switches modes. */
TEST(modes_switch_while_a_thread_ends)
{
	unsigned int class = class_in_use();
	pthread_t thread;

	CHECK(pthread_key_create(&late_key, note_fast) == 0);
	CHECK(pthread_barrier_init(&barrier, NULL, 2) == 0);
	CHECK(pthread_create(&thread, NULL, end_when_told, &barrier) == 0);
	pthread_barrier_wait(&barrier);
	slab_enter(class); /* the thread will wait here, with its cells of the class */
	pthread_barrier_wait(&barrier);
	while (ending->own != TCACHE_ENDED)
		usleep(1000);
	tcache_set_mode(TCACHE_COUNTS, true);
	tcache_set_mode(TCACHE_COUNTS, false);
	slab_leave(class);
	CHECK(pthread_join(thread, NULL) == 0);
	CHECK(fast_at_the_end == &tcache_none);
	check_all();
}

TEST(perturbed_cells)
{
	tcache_set_perturb(0x5a);
	for (size_t size = 1; size <= CELL_MAX; size += size / 3 + 1) {
		unsigned char *p = malloc(size);

		CHECK(p && is_all(p, size, 0xa5));
		free(p);
		/* Behind the mark of a free cell. */
		CHECK(size < 32 || is_all(p + 16, size - 16, 0x5a));
		p = calloc(1, size);
		CHECK(p && is_all(p, size, 0));
		free(p);
	}
	check_all();
}

/* Allocation. */

TEST(calloc_is_zero_after_reuse_at_all_sizes)
{
	for (size_t size = 1; size <= CELL_MAX; size += size < 2100 ? 1 : 97) {
		for (int round = 0; round < 3; round++) {
			unsigned char *p = round ? calloc(1, size) : malloc(size), *q;

			q = round ? calloc(size, 1) : malloc(size);
			CHECK(p && q && p != q);
			CHECK(!round || (is_all(p, size, 0) && is_all(q, size, 0)));
			memset(p, 0xff, malloc_usable_size(p));
			memset(q, 0xff, malloc_usable_size(q));
			free(p);
			free(q);
		}
	}
	malloc_trim(0);
	for (size_t size = 1; size <= CELL_MAX; size += 97) {
		unsigned char *p = calloc(1, size);

		CHECK(p && is_all(p, size, 0));
	}
	check_all();
}

TEST(all_alignments_and_sizes)
{
	for (size_t align = 16; align <= 256 * KIB; align *= 2) {
		for (size_t size = 1; size <= 2 * CELL_MAX; size += size / 9 + 1) {
			unsigned char *p = memalign(align, size), *q = aligned_alloc(align, size);

			CHECK(p && (uintptr_t)p % align == 0 && malloc_usable_size(p) >= size);
			CHECK(q && (uintptr_t)q % align == 0 && q != p);
			memset(p, 1, size);
			memset(q, 2, size);
			CHECK(p[size - 1] == 1 && q[size - 1] == 2);
			free(p);
			free(q);
		}
	}
	check_all();
}

/* System calls that fail. */

static bool has_roomy_segment(void)
{
	return segment_next(SET_ROOMY, NULL);
}

/* The next magazine is the first cell of a new segment. */
static void use_up_magazines(void)
{
	struct slab_class *state = &slab_class_states[CLASS_MAGAZINE];
	void *cell;

	while (has_roomy_segment())
		CHECK(malloc(SLAB_CELL_MAX));
	while (state->partial_count || slab_lists(state, 0)->carving)
		CHECK(slab_take_locked(CLASS_MAGAZINE, 0, &cell, 1, NULL) == 1);
}

static void check_errno_of_free(void (*obstruct)(void))
{
	for (size_t i = 0; i < COUNT_OF(cells); i++)
		CHECK((cells[i] = malloc(16)));
	use_up_magazines();
	obstruct();
	for (size_t i = 0; i < COUNT_OF(cells); i++) {
		errno = 4711;
		free(cells[i]);
		CHECK_MSG(errno == 4711, "free %zu: errno %d", i, errno);
	}
}

static void refuse_memory(void)
{
	limit_addresses(MIB);
}

/* Reserve the place of a segment, unless it is taken. */
static bool take_place(uintptr_t at)
{
	void *p = mmap((void *)at, SEGMENT_SIZE, PROT_NONE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);

	return p != MAP_FAILED;
}

static void take_next_places(void)
{
	size_t taken = 0;

	for (size_t i = 0; i < 20; i++) {
		taken += take_place(slab_store.below - i * SEGMENT_SIZE);
		taken += take_place(slab_store.above + i * SEGMENT_SIZE);
	}
	CHECK(taken);
}

TEST(free_preserves_errno_without_a_magazine)
{
	check_errno_of_free(refuse_memory);
}

TEST(free_preserves_errno_where_the_next_place_is_taken)
{
	check_errno_of_free(take_next_places);
}

/* The slow path is in force at every moment: hardened mode relies on it. */

static atomic_bool are_modes_over;

static void *switch_a_mode(void *arg)
{
	for (int i = 0; i < 3000000; i++)
		tcache_set_mode(TCACHE_PERTURBS, i % 2);
	are_modes_over = true;
	return arg;
}

TEST(one_mode_is_on_while_another_is_switched)
{
	struct tcache *_Atomic *fast = (void *)&tcache_thread.fast;
	pthread_t thread;

	own_cache();
	tcache_set_mode(TCACHE_COUNTS, true);
	CHECK(pthread_create(&thread, NULL, switch_a_mode, NULL) == 0);
	while (!are_modes_over)
		CHECK(*fast == &tcache_none);
	CHECK(pthread_join(thread, NULL) == 0);
	tcache_set_mode(TCACHE_PERTURBS | TCACHE_COUNTS, false);
	CHECK(*fast == tcache_thread.own);
}
