// SPDX-License-Identifier: BSD-3-Clause

/*
 * Two workers that replace objects at random, while the main thread gives memory back with
 * malloc_trim every 5 ms: a server whose operator is anxious.
 *
 *	trim [MS]
 *
 * Prints the time that a replacement takes meanwhile over what it takes without malloc_trim, in
 * percent. Each is measured for MS, in turns of 100 ms.
 */

#include <malloc.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "load.h"

#define WORKERS 2
#define LIVE 20000
#define TURN_MS 100
#define TRIM_MS 5

static atomic_bool is_over;
static atomic_size_t replaced[WORKERS];

static void *work(void *arg)
{
	atomic_size_t *count = arg;
	uint64_t seed = load_seed((unsigned int)(count - replaced));
	void **objects = load_checked(calloc(LIVE, sizeof(*objects)));

	while (!is_over) {
		void **object = &objects[load_below(&seed, LIVE)];

		free(*object);
		*object = load_block(load_size(&seed));
		atomic_store_explicit(count, *count + 1, memory_order_relaxed);
	}
	return NULL;
}

static double now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static size_t replaced_so_far(void)
{
	size_t sum = 0;

	for (int i = 0; i < WORKERS; i++)
		sum += replaced[i];
	return sum;
}

/* How many objects the workers replace in a millisecond of it. */
static double take_turn(bool is_trimming)
{
	const struct timespec pause = {.tv_nsec = TRIM_MS * 1000000};
	size_t before = replaced_so_far();
	double start = now_ms();

	for (int ms = 0; ms < TURN_MS; ms += TRIM_MS) {
		if (is_trimming)
			malloc_trim(0);
		nanosleep(&pause, NULL);
	}
	return (double)(replaced_so_far() - before) / (now_ms() - start);
}

int main(int argc, char **argv)
{
	size_t turns = load_argument(argc, argv, 1, 1000) / TURN_MS;
	double plain = 0, trimming = 0;
	pthread_t ids[WORKERS];

	for (int i = 0; i < WORKERS; i++)
		if (pthread_create(&ids[i], NULL, work, &replaced[i]) != 0)
			return 1;
	take_turn(false); /* the objects are made meanwhile */
	for (size_t i = 0; i < turns || i == 0; i++) {
		plain += take_turn(false);
		trimming += take_turn(true);
	}
	is_over = true;
	for (int i = 0; i < WORKERS; i++)
		pthread_join(ids[i], NULL);
	printf("%.1f\n", 100 * plain / trimming);
	return 0;
}
