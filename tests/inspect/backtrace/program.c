// SPDX-License-Identifier: BSD-3-Clause

/*
 * Commits a misuse in culprit(), which is called in the way that the argument names. The second
 * argument is plugin.so.
 */

#include <dlfcn.h>
#include <malloc.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "osmem.h"

static volatile size_t size = 100;
static void *(*volatile allocate)(size_t size) = malloc;
static void (*volatile release)(void *p) = free;

/* A function that does something after its last call has a frame at that call. */
#define STAY() __asm__ volatile("")

void culprit(void *p) __attribute__((noinline));

void culprit(void *p)
{
	release(p);
	release(p);
	STAY();
}

static void *commit(void *unused)
{
	(void)unused;
	culprit(allocate(size));
	return NULL;
}

static void handle(int signal)
{
	(void)signal;
	commit(NULL);
}

static void in_handler(void)
{
	static char stack[64 << 10];
	stack_t other = {.ss_sp = stack, .ss_size = sizeof(stack)};
	struct sigaction action = {.sa_handler = handle, .sa_flags = SA_ONSTACK};

	sigaltstack(&other, NULL);
	sigaction(SIGUSR1, &action, NULL);
	raise(SIGUSR1);
}

static void in_thread(void *(*function)(void *))
{
	pthread_t thread;

	pthread_create(&thread, NULL, function, NULL);
	pthread_join(thread, NULL);
}

static void in_child(void)
{
	int status;

	if (fork() == 0) {
		commit(NULL);
		_exit(0);
	}
	wait(&status);
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT)
		abort();
}

/* In a slab, where no cell has been yet; reported when the cache is flushed. */
void flushes(void *p) __attribute__((noinline));

void flushes(void *p)
{
	free(p);
	malloc_trim(0);
	STAY();
}

static void *flush(void *unused)
{
	char *p = malloc(1000);

	(void)unused;
	flushes(p + 20 * malloc_usable_size(p));
	return NULL;
}

/* The dynamic loader has its lock for as long as plugin.so's constructor runs. */
sem_t plugin_runs;

static void *load(void *path)
{
	return dlopen(path, RTLD_NOW);
}

static void beside_loader(char *path)
{
	pthread_t thread;

	sem_init(&plugin_runs, 0, 0);
	pthread_create(&thread, NULL, load, path);
	sem_wait(&plugin_runs);
	commit(NULL);
}

int main(int argc, char **argv)
{
	const char *way = argc > 1 ? argv[1] : "";

	if (!strcmp(way, "large"))
		size = 5 << 20;
	if (!strcmp(way, "course")) {
		allocate = os_malloc;
		release = os_free;
	}
	if (!strcmp(way, "handler"))
		in_handler();
	else if (!strcmp(way, "thread"))
		in_thread(commit);
	else if (!strcmp(way, "child"))
		in_child();
	else if (!strcmp(way, "flush"))
		in_thread(flush);
	else if (!strcmp(way, "loader") && argc > 2)
		beside_loader(argv[2]);
	else
		commit(NULL);
	return 0;
}
