// SPDX-License-Identifier: BSD-3-Clause

/*
 * A server whose threads hand their live objects to successors: each lane's thread replaces random
 * ones of the lane's objects for a while, starts the next thread upon them, and ends. So most
 * blocks are freed by another thread than allocated them, and often by one that came later.
 *
 *	server [PAIRS [LANES [LIVE]]]
 */

#include <semaphore.h>

#include "load.h"

#define PAIRS_OF_A_THREAD 20000
#define SMALLEST 8
#define LARGEST 1000

struct lane {
	void **objects;
	uint64_t seed;
	size_t pairs; /* still to do */
};

static size_t live;
static sem_t done;

static void *serve(void *arg);

static void start(struct lane *lane)
{
	pthread_t id;

	if (pthread_create(&id, NULL, serve, lane) != 0)
		exit(1);
	pthread_detach(id);
}

static void *serve(void *arg)
{
	struct lane *lane = arg;
	size_t pairs = lane->pairs < PAIRS_OF_A_THREAD ? lane->pairs : PAIRS_OF_A_THREAD;

	for (size_t i = 0; i < pairs; i++) {
		void **object = &lane->objects[load_below(&lane->seed, live)];

		free(*object);
		*object = load_block(load_between(&lane->seed, SMALLEST, LARGEST));
	}
	lane->pairs -= pairs;
	if (lane->pairs)
		start(lane);
	else
		sem_post(&done);
	return NULL;
}

static void open_lane(struct lane *lane, unsigned int index, size_t pairs)
{
	lane->seed = load_seed(index);
	lane->pairs = pairs;
	lane->objects = load_block(live * sizeof(*lane->objects));
	for (size_t i = 0; i < live; i++)
		lane->objects[i] = load_block(load_between(&lane->seed, SMALLEST, LARGEST));
	start(lane);
}

int main(int argc, char **argv)
{
	static struct lane lanes[LOAD_MAX_THREADS];
	size_t pairs = load_argument(argc, argv, 1, 6000000);
	size_t count = load_argument(argc, argv, 2, 2);

	live = load_argument(argc, argv, 3, 5000);
	if (count > LOAD_MAX_THREADS || sem_init(&done, 0, 0) != 0)
		return 2;
	for (unsigned int i = 0; i < count; i++)
		open_lane(&lanes[i], i, pairs / count);
	for (size_t i = 0; i < count; i++)
		sem_wait(&done);
	return 0;
}
