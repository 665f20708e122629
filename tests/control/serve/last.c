// SPDX-License-Identifier: BSD-3-Clause

/*
 * The main thread ends before the others: the last one to end ends the process. With an argument, a
 * forked child does so, and the parent's status is its own.
 */

#include <pthread.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void *last(void *unused)
{
	struct timespec time = {0, 100000000};

	nanosleep(&time, NULL);
	free(malloc(100));
	return unused;
}

int main(int argc, char **argv)
{
	pthread_t thread;
	int status = 0;

	(void)argv;
	alarm(10);
	if (pthread_create(&thread, NULL, last, NULL))
		return 1;
	if (argc > 1 && fork() > 0) {
		wait(&status);
		return status ? 2 : 0;
	}
	if (argc > 1 && pthread_create(&thread, NULL, last, NULL))
		return 1;
	alarm(10);
	pthread_exit(NULL);
}
