// SPDX-License-Identifier: BSD-3-Clause

/* Loaded in a namespace of its own: threads of another libc, which call the program back. */

#include <pthread.h>
#include <stddef.h>

#define THREADS 3

static pthread_t threads[THREADS];

int guest_start(void *(*work)(void *), void *const args[THREADS]);
int guest_join(void);

int guest_start(void *(*work)(void *), void *const args[THREADS])
{
	for (int i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], NULL, work, args[i]) != 0)
			return -1;
	return 0;
}

int guest_join(void)
{
	for (int i = 0; i < THREADS; i++)
		if (pthread_join(threads[i], NULL) != 0)
			return -1;
	return 0;
}
