// SPDX-License-Identifier: BSD-3-Clause

/*
 * A library whose constructor comes before all others that have a priority: it starts threads that
 * allocate, and forks. Every child can allocate, and so can handlers of the program around a fork.
 */

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define FORKS 100
#define THREADS 3
#define BLOCKS 512

void early(void);

static volatile int stop;

static void churn(unsigned int seed, size_t calls)
{
	void *p[BLOCKS] = {NULL};

	for (size_t i = 0; i < calls && !stop; i++) {
		size_t k = seed >> 20 & (BLOCKS - 1);

		seed = seed * 1664525 + 1013904223;
		free(p[k]);
		p[k] = malloc((seed >> 8) % (seed & 7 ? 3000 : 100000) + 1);
	}
	for (size_t k = 0; k < BLOCKS; k++)
		free(p[k]);
}

static void *churn_in_thread(void *arg)
{
	while (!stop)
		churn((unsigned int)(size_t)arg, 100000);
	return NULL;
}

static void allocate(void)
{
	free(strdup("in a handler"));
	free(malloc(100000));
}

__attribute__((constructor(101))) static void begin(void)
{
	pthread_t threads[THREADS];
	int good = 0;

	pthread_atfork(allocate, allocate, allocate);
	for (size_t i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, churn_in_thread, (void *)(i + 1));
	usleep(20000);
	for (int i = 0; i < FORKS && good == i; i++) {
		int status = 0;
		pid_t pid = fork();

		if (pid == 0) {
			alarm(10);
			churn(99, 5000);
			_exit(7);
		}
		waitpid(pid, &status, 0);
		good += WIFEXITED(status) && WEXITSTATUS(status) == 7;
	}
	stop = 1;
	for (size_t i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	printf("%d children of %d\n", good, FORKS);
}

void early(void)
{
}
