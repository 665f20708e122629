// SPDX-License-Identifier: BSD-3-Clause

/*
 * After the rush: a peak of small objects, all of them freed, and then a second of light activity.
 *
 *	idle [MIB]
 *
 * Prints how much of the memory that was in use at the peak still is, in percent.
 */

#include "load.h"
#include "resident.h"

#define SMALLEST 16
#define LARGEST 512

struct object {
	struct object *next;
};

static struct object *objects; /* the newest first */

static void rush(size_t bytes)
{
	uint64_t seed = load_seed(0);

	for (size_t done = 0; done < bytes;) {
		size_t size = load_between(&seed, SMALLEST, LARGEST);
		struct object *object = load_block(size);

		object->next = objects;
		objects = object;
		done += size;
	}
}

static void free_all(void)
{
	while (objects) {
		struct object *next = objects->next;

		free(objects);
		objects = next;
	}
}

static void be_lightly_active(void)
{
	const struct timespec pause = {.tv_nsec = 1000000};
	uint64_t seed = load_seed(1);
	struct timespec start, now;

	clock_gettime(CLOCK_MONOTONIC, &start);
	do {
		for (int i = 0; i < 20; i++)
			free(load_block(load_between(&seed, SMALLEST, LARGEST)));
		nanosleep(&pause, NULL);
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while (now.tv_sec - start.tv_sec + (now.tv_nsec - start.tv_nsec) / 1e9 < 1.0);
}

int main(int argc, char **argv)
{
	size_t peak;

	rush(load_argument(argc, argv, 1, 1024) << 20);
	peak = resident_kib();
	free_all();
	be_lightly_active();
	if (peak == 0)
		return 1;
	printf("%.2f\n", 100.0 * (double)resident_kib() / (double)peak);
	return 0;
}
