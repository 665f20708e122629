// SPDX-License-Identifier: BSD-3-Clause
// Needs: libosmem.so

/*
 * Threads. Every block is filled with a pattern that depends on its size. The thread that frees it,
 * mostly another one, verifies the pattern first. Each test runs over os_* and over the C library's
 * names.
 */

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "osmem.h"

struct family {
	void *(*alloc)(size_t size);
	void *(*zalloc)(size_t nmemb, size_t size);
	void *(*realloc)(void *p, size_t size);
	void (*free)(void *p);
};

static const struct family course = {
	.alloc = os_malloc,
	.zalloc = os_calloc,
	.realloc = os_realloc,
	.free = os_free,
};

static const struct family libc = {
	.alloc = malloc,
	.zalloc = calloc,
	.realloc = realloc,
	.free = free,
};

/*
 * Patterns: a block is an array of words, the first of which is their number. The others are
 * derived from it.
 */

static uintptr_t cookie(uintptr_t words, uintptr_t at)
{
	return (words ^ at) * 0x9e3779b97f4a7c15u;
}

static uintptr_t *make_block(const struct family *f, uint64_t *state)
{
	size_t limit = random_below(state, 100) ? 64 : 20000;
	size_t words = 1 + random_below(state, limit);
	bool zero = random_below(state, 8) == 0;
	uintptr_t *block =
		zero ? f->zalloc(words, sizeof(*block)) : f->alloc(words * sizeof(*block));

	CHECK(block);
	for (size_t i = 0; i < words; i++) {
		CHECK(!zero || block[i] == 0);
		block[i] = i ? cookie(words, i) : words;
	}
	return block;
}

static void check_block(const uintptr_t *block)
{
	for (size_t i = 1; i < block[0]; i++)
		CHECK(block[i] == cookie(block[0], i));
}

static void drop_block(const struct family *f, uintptr_t *block)
{
	if (!block)
		return;
	check_block(block);
	f->free(block);
}

static uintptr_t *resize_block(const struct family *f, uintptr_t *block, size_t words)
{
	size_t kept = block[0] < words ? block[0] : words, old = block[0];

	block = f->realloc(block, words * sizeof(*block));
	CHECK(block && block[0] == old);
	for (size_t i = 1; i < kept; i++)
		CHECK(block[i] == cookie(old, i));
	block[0] = words;
	for (size_t i = 1; i < words; i++)
		block[i] = cookie(words, i);
	return block;
}

/* Boxes: where threads exchange blocks. */

#define BOXES 256

/* Blocks of one allocator at a time. */
static _Atomic(uintptr_t *) boxes[BOXES];

static void swap_box(const struct family *f, uint64_t *state)
{
	uintptr_t *mine = make_block(f, state);

	drop_block(f, atomic_exchange(&boxes[random_below(state, BOXES)], mine));
}

static void empty_boxes(const struct family *f)
{
	for (size_t i = 0; i < BOXES; i++)
		drop_block(f, atomic_exchange(&boxes[i], NULL));
}

/* Threads with a number, which is their seed. */

struct worker {
	pthread_t thread;
	const struct family *family;
	void (*work)(struct worker *w);
	uint64_t state;
	size_t steps;
	uintptr_t *blocks[64];
};

static void *run_worker(void *arg)
{
	struct worker *w = arg;

	w->work(w);
	return NULL;
}

static void start(struct worker *w, const struct family *f, void (*work)(struct worker *w),
		  size_t steps, size_t seed)
{
	w->family = f;
	w->work = work;
	w->steps = steps;
	w->state = seed;
	CHECK(pthread_create(&w->thread, NULL, run_worker, w) == 0);
}

static void join(struct worker *w)
{
	CHECK(pthread_join(w->thread, NULL) == 0);
}

#define WORKERS_MAX 100

static struct worker workers[WORKERS_MAX];

static void run_workers(const struct family *f, void (*work)(struct worker *w), size_t n,
			size_t steps)
{
	for (size_t i = 0; i < n; i++)
		start(&workers[i], f, work, steps, i + 1);
	for (size_t i = 0; i < n; i++)
		join(&workers[i]);
}

static void swap_boxes(struct worker *w)
{
	for (size_t i = 0; i < w->steps; i++)
		swap_box(w->family, &w->state);
}

/* Producers and consumers over a bounded queue. */

#define QUEUE 128

static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	uintptr_t *block[QUEUE];
	size_t put, taken, producers;
} queue = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void produce(struct worker *w)
{
	for (size_t i = 0; i < w->steps; i++) {
		uintptr_t *block = make_block(w->family, &w->state);

		pthread_mutex_lock(&queue.lock);
		while (queue.put - queue.taken == QUEUE)
			pthread_cond_wait(&queue.changed, &queue.lock);
		queue.block[queue.put++ % QUEUE] = block;
		pthread_cond_broadcast(&queue.changed);
		pthread_mutex_unlock(&queue.lock);
	}
	pthread_mutex_lock(&queue.lock);
	queue.producers--;
	pthread_cond_broadcast(&queue.changed);
	pthread_mutex_unlock(&queue.lock);
}

/* The next block, or NULL at the end. */
static uintptr_t *take(void)
{
	uintptr_t *block = NULL;

	pthread_mutex_lock(&queue.lock);
	while (queue.put == queue.taken && queue.producers)
		pthread_cond_wait(&queue.changed, &queue.lock);
	if (queue.put != queue.taken)
		block = queue.block[queue.taken++ % QUEUE];
	pthread_cond_broadcast(&queue.changed);
	pthread_mutex_unlock(&queue.lock);
	return block;
}

static void consume(struct worker *w)
{
	uintptr_t *block;

	while ((block = take()))
		drop_block(w->family, block);
}

static void produce_and_consume(const struct family *f, size_t producers, size_t consumers)
{
	queue.producers = producers;
	for (size_t i = 0; i < producers + consumers; i++)
		start(&workers[i], f, i < producers ? produce : consume, 40000 / producers, i + 1);
	for (size_t i = 0; i < producers + consumers; i++)
		join(&workers[i]);
	CHECK(queue.put == queue.taken && queue.put == 40000 / producers * producers);
}

TEST_BOTH(one_producer_one_consumer)
{
	produce_and_consume(f, 1, 1);
}

TEST_BOTH(one_producer_many_consumers)
{
	produce_and_consume(f, 1, 6);
}

TEST_BOTH(many_producers_one_consumer)
{
	produce_and_consume(f, 6, 1);
}

/* Frees by other threads. */

static uintptr_t *handed_over[20000];

static void make_all(struct worker *w)
{
	for (size_t i = 0; i < w->steps; i++)
		handed_over[i] = make_block(w->family, &w->state);
}

static void drop_odd(struct worker *w)
{
	for (size_t i = 1; i < w->steps; i += 2)
		drop_block(w->family, handed_over[i]);
}

static void drop_even(struct worker *w)
{
	for (size_t i = 0; i < w->steps; i += 2)
		drop_block(w->family, handed_over[i]);
}

TEST_BOTH(freed_by_other_threads)
{
	run_workers(f, make_all, 1, 20000);
	start(&workers[0], f, drop_odd, 20000, 1);
	start(&workers[1], f, drop_even, 20000, 2);
	join(&workers[0]);
	join(&workers[1]);
}

TEST_BOTH(freed_by_the_main_thread)
{
	run_workers(f, make_all, 1, 5000);
	for (size_t i = 0; i < 5000; i++)
		drop_block(f, handed_over[i]);
}

/* Short-lived threads. */

TEST_BOTH(thread_churn)
{
	for (size_t i = 0; i < 10000; i++) {
		start(&workers[0], f, swap_boxes, 10, i + 1);
		join(&workers[0]);
	}
	empty_boxes(f);
}

static void use_own_blocks(struct worker *w)
{
	size_t n = sizeof(w->blocks) / sizeof(w->blocks[0]);

	for (size_t i = 0; i < w->steps; i++) {
		uintptr_t **block = &w->blocks[random_below(&w->state, n)];

		if (!*block) {
			*block = make_block(w->family, &w->state);
		} else if (random_below(&w->state, 3) == 0) {
			*block = resize_block(w->family, *block, 1 + random_below(&w->state, 300));
		} else {
			drop_block(w->family, *block);
			*block = NULL;
		}
		if (i % 16 == 0)
			swap_box(w->family, &w->state);
	}
}

/* Sixteen threads at a time; each leaves its blocks to its successor. */
TEST_BOTH(dying_threads_hand_their_blocks_on)
{
	size_t n = 16;

	for (size_t generation = 0; generation < 8; generation++)
		run_workers(f, use_own_blocks, n, 5000);
	for (size_t i = 0; i < n; i++)
		for (size_t j = 0; j < sizeof(workers[i].blocks) / sizeof(workers[i].blocks[0]);
		     j++)
			drop_block(f, workers[i].blocks[j]);
	empty_boxes(f);
}

TEST_BOTH(a_hundred_threads)
{
	run_workers(f, swap_boxes, 100, 1000);
	empty_boxes(f);
}

/* Each thread has blocks of its own, of both allocators. */
static void alternate(struct worker *w)
{
	for (size_t i = 0; i < w->steps; i++) {
		drop_block(&course, make_block(&course, &w->state));
		drop_block(&libc, make_block(&libc, &w->state));
	}
}

TEST(both_families_at_once)
{
	for (size_t i = 0; i < 6; i++)
		start(&workers[i], &libc, alternate, 3000, i + 1);
	for (size_t i = 0; i < 6; i++)
		join(&workers[i]);
}

/* Two threads take turns: one grows a block, the other shrinks it. */

static _Atomic(uintptr_t *) ball;

static void play(struct worker *w)
{
	for (size_t i = 0; i < w->steps;) {
		uintptr_t *block = atomic_exchange(&ball, NULL);

		if (!block)
			continue;
		block = resize_block(w->family, block, 1 + random_below(&w->state, 1 << (i % 16)));
		atomic_store(&ball, block);
		i++;
		if (i % 4 == 0)
			usleep(1); /* the other's turn */
	}
}

TEST_BOTH(realloc_ping_pong)
{
	uint64_t state = 1;

	atomic_store(&ball, make_block(f, &state));
	run_workers(f, play, 2, 1000);
	drop_block(f, atomic_load(&ball));
}

/* Fork. A child has only the thread that forked, and what the others were changing. */

static atomic_bool is_over, is_quiet;

/* Threads matter at the moment of the fork only; while a child is checked, they would slow it. */
static void swap_until_over(struct worker *w)
{
	while (!atomic_load(&is_over)) {
		swap_boxes(w);
		while (atomic_load(&is_quiet) && !atomic_load(&is_over))
			usleep(500);
	}
}

/* All calls work, and every reachable block is intact. */
static void check_in_child(const struct family *f)
{
	const struct family *other = f == &course ? &libc : &course;
	uint64_t state = (uint64_t)getpid();

	for (int i = 0; i < 200; i++)
		swap_box(f, &state);
	empty_boxes(f);
	for (int i = 0; i < 200; i++)
		swap_box(other, &state);
	empty_boxes(other);
	run_workers(&libc, use_own_blocks, 2, 100);
	_exit(0);
}

static void fork_once(const struct family *f)
{
	int status;
	pid_t pid;

	atomic_store(&is_quiet, false);
	usleep(1000);
	pid = fork();
	CHECK(pid >= 0);
	atomic_store(&is_quiet, pid != 0);
	if (pid == 0) {
		memset(workers, 0, sizeof(workers));
		alarm(30 * test_patience());
		check_in_child(f);
	}
	CHECK(waitpid(pid, &status, 0) == pid);
	if (WIFEXITED(status) && WEXITSTATUS(status))
		_exit(WEXITSTATUS(status)); /* the child has printed the reason */
	CHECK_MSG(status == 0, "a child was killed by signal %d", WTERMSIG(status));
}

static void fork_repeatedly(struct worker *w)
{
	for (size_t i = 0; i < w->steps; i++)
		fork_once(w->family);
}

static void fork_among(const struct family *f, size_t forkers, size_t forks)
{
	for (size_t i = 0; i < 4; i++)
		start(&workers[i], f, swap_until_over, 20, i + 1);
	for (size_t i = 4; i < 4 + forkers; i++)
		start(&workers[i], f, fork_repeatedly, forks, i + 1);
	for (size_t i = 4; i < 4 + forkers; i++)
		join(&workers[i]);
	atomic_store(&is_over, true);
	for (size_t i = 0; i < 4; i++)
		join(&workers[i]);
	empty_boxes(f);
}

TEST_BOTH(fork_while_others_allocate)
{
	fork_among(f, 1, 60);
}

TEST_BOTH(fork_from_several_threads)
{
	fork_among(f, 4, 15);
}
