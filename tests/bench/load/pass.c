// SPDX-License-Identifier: BSD-3-Clause

/*
 * Producers and consumers: messages are allocated by some threads and freed by others, as in
 * pipelines, loggers and event loops with workers. Every producer has a ring to every consumer.
 *
 *	pass [MESSAGES [PRODUCERS [CONSUMERS [SIZE]]]]
 *
 * Sizes are load_size's if SIZE is 0.
 */

#include <sched.h>
#include <stdatomic.h>

#include "load.h"

#define SLOTS 1024
#define STEP 32 /* how many messages are handed over at a time; divides SLOTS */
#define MAX_SIDE 16

struct ring {
	_Alignas(128) atomic_size_t written;
	_Alignas(128) atomic_size_t taken;
	_Alignas(128) void *slots[SLOTS];
};

static struct ring rings[MAX_SIDE][MAX_SIDE]; /* [producer][consumer] */
static size_t producers, consumers, steps, size; /* steps: in each ring */

static void put_step(struct ring *ring, uint64_t *seed)
{
	size_t at = atomic_load_explicit(&ring->written, memory_order_relaxed);

	while (at - atomic_load_explicit(&ring->taken, memory_order_acquire) > SLOTS - STEP)
		sched_yield();
	for (size_t i = 0; i < STEP; i++)
		ring->slots[(at + i) % SLOTS] = load_block(size ? size : load_size(seed));
	atomic_store_explicit(&ring->written, at + STEP, memory_order_release);
}

static void take_step(struct ring *ring)
{
	size_t at = atomic_load_explicit(&ring->taken, memory_order_relaxed);

	while (atomic_load_explicit(&ring->written, memory_order_acquire) == at)
		sched_yield();
	for (size_t i = 0; i < STEP; i++)
		free(ring->slots[(at + i) % SLOTS]);
	atomic_store_explicit(&ring->taken, at + STEP, memory_order_release);
}

/* The first threads produce, the others consume. */
static void work(unsigned int index)
{
	uint64_t seed = load_seed(index);

	for (size_t n = 0; n < steps; n++) {
		if (index < producers) {
			for (size_t c = 0; c < consumers; c++)
				put_step(&rings[index][c], &seed);
		} else {
			for (size_t p = 0; p < producers; p++)
				take_step(&rings[p][index - producers]);
		}
	}
}

int main(int argc, char **argv)
{
	size_t messages = load_argument(argc, argv, 1, 8000000);

	producers = load_argument(argc, argv, 2, 1);
	consumers = load_argument(argc, argv, 3, 1);
	size = load_argument(argc, argv, 4, 64);
	if (producers > MAX_SIDE || consumers > MAX_SIDE)
		return 2;
	steps = messages / producers / consumers / STEP;
	load_threads(producers + consumers, work);
	return 0;
}
