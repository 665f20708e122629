// SPDX-License-Identifier: BSD-3-Clause

/* A small program that knows nothing of the library: linked with it, or preloaded with it. */

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT 1000

/* Sums up what it wrote to objects of all sizes that grow and move. */
static void *work(void *arg)
{
	static _Thread_local char *kept[COUNT];
	size_t *sum = arg;

	for (size_t i = 0; i < COUNT; i++) {
		kept[i] = malloc(i + 1);
		memset(kept[i], (int)i, i + 1);
		kept[i] = realloc(kept[i], 10 * i + 1);
	}
	for (size_t i = 0; i < COUNT; i++) {
		*sum += (unsigned char)kept[i][i];
		free(kept[i]);
	}
	return NULL;
}

int main(void)
{
	size_t sums[2] = {0, 0};
	pthread_t thread;

	if (pthread_create(&thread, NULL, work, &sums[1]) != 0)
		return 1;
	work(&sums[0]);
	pthread_join(thread, NULL);
	printf("%zu and %zu\n", sums[0], sums[1]);
	return 0;
}
