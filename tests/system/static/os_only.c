// SPDX-License-Identifier: BSD-3-Clause

/* Nothing but os_*: children of forks allocate, whatever another thread was in the middle of. */

#include <pthread.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "osmem.h"

static void *allocate(void *arg)
{
	for (;;)
		os_free(os_malloc(50));
	return arg;
}

static int fork_once(void)
{
	int status = -1;
	pid_t pid = fork();

	if (pid == 0) {
		alarm(10);
		os_free(os_malloc(10));
		_exit(0);
	}
	return waitpid(pid, &status, 0) == pid ? status : -1;
}

int main(void)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, allocate, NULL))
		return 1;
	for (int i = 0; i < 500; i++) {
		int status = fork_once();

		if (status) {
			printf("fork %d: wait status %#x\n", i, (unsigned int)status);
			fflush(stdout);
			_exit(1);
		}
	}
	_exit(0);
}
