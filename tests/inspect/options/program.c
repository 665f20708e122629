// SPDX-License-Identifier: BSD-3-Clause

/*
 * Calls that ../options.sh knows the number of: those of one round, as often as the first
 * argument says, in as many threads as the second says. It is linked with the archive, too.
 *
 *	secure    says instead whether the kernel takes this process for a privileged one
 *	hold      keeps 40 objects of 100 KiB, and forks a child that does nothing
 *	twice N   frees an object, and N times more
 *	no-files  can open no file in the end, as a process without /proc
 */

#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "osmem.h"

#define LARGE (5 << 20)

static volatile size_t huge = SIZE_MAX / 2 + 1;

static void *one_round(void)
{
	void *p = os_malloc(100), *q = os_calloc(3, 5), *aligned = NULL;

	p = os_realloc(p, 300);
	os_free(p);
	os_free(q);
	p = malloc(1000);
	q = calloc(7, 9);
	p = realloc(p, 5000);
	if (malloc(huge) || posix_memalign(&aligned, 256, 70) != 0)
		abort();
	free(p);
	free(q);
	free(aligned);
	free(malloc(LARGE));
	return NULL;
}

static void *rounds(void *count)
{
	for (intptr_t i = 0; i < (intptr_t)count; i++)
		one_round();
	return NULL;
}

static int say_secure(void)
{
	const char *text = getauxval(AT_SECURE) ? "secure\n" : "not secure\n";

	one_round();
	return write(STDOUT_FILENO, text, strlen(text)) < 0;
}

/* volatile: the compiler knows malloc. */
static void *volatile held[40];

static int hold(void)
{
	int status;
	pid_t child;

	for (size_t i = 0; i < sizeof(held) / sizeof(*held); i++)
		held[i] = malloc(100 << 10);
	child = fork();
	if (child == 0)
		return 0;
	return waitpid(child, &status, 0) != child || status;
}

static int free_again(int times)
{
	void *volatile p = malloc(100);

	for (int i = 0; i <= times; i++)
		free(p);
	return 0;
}

int main(int argc, char **argv)
{
	int n = argc > 2 ? atoi(argv[2]) : 0;
	pthread_t threads[8];

	if (argc < 2)
		return 2;
	if (!strcmp(argv[1], "secure"))
		return say_secure();
	if (!strcmp(argv[1], "hold"))
		return hold();
	if (!strcmp(argv[1], "twice"))
		return free_again(n);
	if (!strcmp(argv[1], "no-files"))
		return setrlimit(RLIMIT_NOFILE, &(struct rlimit){0, 0});
	if (!n)
		rounds((void *)(intptr_t)atoi(argv[1]));
	for (int i = 0; i < n; i++)
		if (pthread_create(&threads[i], NULL, rounds, (void *)(intptr_t)atoi(argv[1])))
			return 1;
	for (int i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
	return 0;
}
