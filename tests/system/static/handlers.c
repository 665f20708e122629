// SPDX-License-Identifier: BSD-3-Clause

/* Fork handlers of the program's own, registered before main, that allocate from both heaps. */

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "osmem.h"

static int calls;

static void allocate(void)
{
	os_free(os_malloc(10));
	free(malloc(10));
	calls++;
}

__attribute__((constructor)) static void register_handlers(void)
{
	if (pthread_atfork(allocate, allocate, allocate))
		_exit(2);
}

static void *idle(void *arg)
{
	for (;;)
		pause();
	return arg;
}

int main(void)
{
	pthread_t thread;

	alarm(10);
	if (pthread_create(&thread, NULL, idle, NULL))
		return 1;
	allocate();
	for (int i = 0; i < 20; i++) {
		int status = -1;
		pid_t pid = fork();

		if (pid == 0) {
			alarm(10);
			allocate();
			_exit(calls == 2 * i + 4 ? 0 : 3);
		}
		if (waitpid(pid, &status, 0) != pid || status)
			return 4;
	}
	return calls == 41 ? 0 : 5;
}
