// SPDX-License-Identifier: BSD-3-Clause

/*
 * A server whose threads hand their live objects to successors: each lane's thread replaces random
 * ones of the lane's objects for a while, starts the next thread upon them, and ends. So most
 * blocks are freed by another thread than allocated them, and often by one that came later.
 *
 *	server [PAIRS [LANES [LIVE [sized]]]]
 *
 * sized: they are C++ objects, whose size operator delete is told, where the allocator or a library
 * has these operators.
 */

#include <dlfcn.h>
#include <semaphore.h>

#include "load.h"

#define PAIRS_OF_A_THREAD 20000
#define SMALLEST 8
#define LARGEST 1000

struct object {
	size_t size;
};

struct lane {
	struct object **objects;
	uint64_t seed;
	size_t pairs; /* still to do */
};

static size_t live;
static sem_t done;
static void *(*operator_new)(size_t size) = malloc;
static void (*operator_delete)(void *object, size_t size); /* or NULL: free */

static void use_operators(void)
{
	void *new_of_size = dlsym(RTLD_DEFAULT, "_Znwm");
	void *delete_of_size = dlsym(RTLD_DEFAULT, "_ZdlPvm");

	if (new_of_size && delete_of_size) {
		memcpy(&operator_new, &new_of_size, sizeof(operator_new));
		memcpy(&operator_delete, &delete_of_size, sizeof(operator_delete));
	}
}

static struct object *object_new(uint64_t *seed)
{
	size_t size = load_between(seed, SMALLEST, LARGEST);
	struct object *object = load_touch(operator_new(size), size);

	object->size = size;
	return object;
}

static void object_delete(struct object *object)
{
	if (operator_delete)
		operator_delete(object, object->size);
	else
		free(object);
}

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
		struct object **object = &lane->objects[load_below(&lane->seed, live)];

		object_delete(*object);
		*object = object_new(&lane->seed);
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
		lane->objects[i] = object_new(&lane->seed);
	start(lane);
}

int main(int argc, char **argv)
{
	static struct lane lanes[LOAD_MAX_THREADS];
	size_t pairs = load_argument(argc, argv, 1, 6000000);
	size_t count = load_argument(argc, argv, 2, 2);

	live = load_argument(argc, argv, 3, 5000);
	if (argc > 4 && strcmp(argv[4], "sized") == 0)
		use_operators();
	if (count > LOAD_MAX_THREADS || sem_init(&done, 0, 0) != 0)
		return 2;
	for (unsigned int i = 0; i < count; i++)
		open_lane(&lanes[i], i, pairs / count);
	for (size_t i = 0; i < count; i++)
		sem_wait(&done);
	return 0;
}
