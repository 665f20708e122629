// SPDX-License-Identifier: BSD-3-Clause

/*
 * What each of many threads costs: a pool that is far larger than its work.
 *
 *	threads [THREADS [hold|burst|once [SIZES [SECONDS]]]]
 *
 * hold: each thread allocates one object of each of SIZES sizes and keeps them. once: it frees them
 * at once. burst: it allocates 1000 objects of load_size's sizes and frees them all. Then they
 * sleep, or with SECONDS allocate and free one object five times a second for so long. Prints KiB
 * for each thread beyond what there was when all threads had begun.
 */

#include <stdatomic.h>
#include <stdbool.h>

#include "load.h"
#include "resident.h"

#define BURST 1000
#define STACK 65536
#define PAUSE_MS 200

static pthread_barrier_t ready, begun, done;
static size_t sizes, seconds;
static const char *kind;

/* Four steps from each power of two to the next. */
static size_t size_at(size_t i)
{
	return (4 + i % 4) << (i / 4 + 3);
}

static void allocate_and_free(void **objects, uint64_t *seed)
{
	bool is_burst = strcmp(kind, "burst") == 0;
	size_t count = is_burst ? BURST : sizes;

	for (size_t i = 0; i < count; i++)
		objects[i] = load_block(is_burst ? load_size(seed) : size_at(i));
	if (strcmp(kind, "hold") == 0)
		return;
	for (size_t i = 0; i < count; i++)
		free(objects[i]);
}

static void be_lightly_active(uint64_t *seed)
{
	const struct timespec pause = {.tv_nsec = PAUSE_MS * 1000000};

	for (size_t i = 0; i < seconds * 1000 / PAUSE_MS; i++) {
		free(load_block(load_size(seed)));
		nanosleep(&pause, NULL);
	}
}

static void *work(void *arg)
{
	uint64_t seed = load_seed((unsigned int)(uintptr_t)arg);
	void *objects[BURST];

	memset(objects, 1, sizeof(objects)); /* so that the stack is there before */
	pthread_barrier_wait(&ready);
	pthread_barrier_wait(&begun);
	allocate_and_free(objects, &seed);
	be_lightly_active(&seed);
	pthread_barrier_wait(&done);
	pause(); /* the process ends meanwhile */
	return NULL;
}

static void start(size_t count)
{
	pthread_attr_t attributes;
	pthread_t id;

	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, STACK);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	for (size_t i = 0; i < count; i++)
		if (pthread_create(&id, &attributes, work, (void *)i) != 0)
			exit(1);
}

int main(int argc, char **argv)
{
	size_t count = load_argument(argc, argv, 1, 1000), base;

	kind = argc > 2 ? argv[2] : "hold";
	sizes = load_argument(argc, argv, 3, 20);
	seconds = load_argument(argc, argv, 4, 0);
	if (sizes > BURST)
		return 2;
	pthread_barrier_init(&ready, NULL, (unsigned int)count + 1);
	pthread_barrier_init(&begun, NULL, (unsigned int)count + 1);
	pthread_barrier_init(&done, NULL, (unsigned int)count + 1);
	start(count);
	pthread_barrier_wait(&ready);
	base = resident_kib();
	pthread_barrier_wait(&begun);
	pthread_barrier_wait(&done);
	printf("%.2f\n", ((double)resident_kib() - (double)base) / (double)count);
	return 0;
}
