// SPDX-License-Identifier: BSD-3-Clause

/*
 * Uses the same amount of memory in objects of one size after another:
 *
 *	phases MIB
 *
 * What the last phase has freed must be there for the next, or be returned.
 */

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROUNDS 3

static size_t live;

static void *use(void *arg)
{
	size_t size = *(const size_t *)arg, n = live / size;
	void **objects = calloc(n, sizeof(*objects));

	for (size_t i = 0; objects && i < n; i++) {
		objects[i] = malloc(size);
		if (!objects[i])
			exit(EXIT_FAILURE);
		memset(objects[i], 1, size);
	}
	for (size_t i = 0; objects && i < n; i++)
		free(objects[i]);
	free(objects);
	return NULL;
}

int main(int argc, char **argv)
{
	static size_t sizes[] = {100, 5000, 50000, 500000, 3000000, 10000000, 64, 1000, 30000};

	live = argc > 1 ? strtoul(argv[1], NULL, 10) << 20 : 0;
	for (size_t i = 0; i < ROUNDS * sizeof(sizes) / sizeof(sizes[0]); i++) {
		size_t *size = &sizes[i % (sizeof(sizes) / sizeof(sizes[0]))];
		pthread_t thread;

		use(size);
		if (pthread_create(&thread, NULL, use, size) != 0)
			return EXIT_FAILURE;
		pthread_join(thread, NULL);
	}
	puts("done");
	return EXIT_SUCCESS;
}
