// SPDX-License-Identifier: BSD-3-Clause

/*
 * mallopt and malloc in one thread while another one forks: neither waits for the fork. The
 * program's objects come before the archive's, so its handler is registered first and runs last
 * before the fork.
 */

#include <pthread.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "compat.h"
#include "osmem_inspect.h"

static pthread_barrier_t fork_begins, fork_goes_on;
static const char *wrong;

static void require(int ok, const char *what)
{
	if (!ok && !wrong)
		wrong = what;
}

static size_t mappings(void)
{
	struct osmem_stats stats;

	osmem_get_stats(&stats, sizeof(stats));
	return stats.libc.mapped_blocks;
}

static void wait_for_options(void)
{
	pthread_barrier_wait(&fork_begins);
	pthread_barrier_wait(&fork_goes_on);
}

__attribute__((constructor(101))) static void register_handler(void)
{
	pthread_atfork(wait_for_options, NULL, NULL);
}

static void *set_options(void *arg)
{
	unsigned char *p;

	pthread_barrier_wait(&fork_begins);
	require(mallopt(M_PERTURB, 0x5a) == 1, "M_PERTURB is refused");
	require(mallopt(M_MMAP_THRESHOLD, 64 << 10) == 1, "M_MMAP_THRESHOLD is refused");
	p = malloc(64);
	require(p && p[0] == 0xa5 && p[63] == 0xa5, "M_PERTURB has no effect");
	pthread_barrier_wait(&fork_goes_on);
	return arg;
}

/* In the parent and in the child. */
static void check_options(void)
{
	size_t before = mappings();
	unsigned char *p = malloc(1 << 20);

	require(p && mappings() == before + 1, "M_MMAP_THRESHOLD is lost");
	require(p && p[1000] == 0xa5, "M_PERTURB is lost");
	free(p);
}

static int report(void)
{
	for (const char *c = wrong; c && *c; c++)
		if (write(STDOUT_FILENO, c, 1) != 1)
			break;
	return wrong ? 1 : 0;
}

int main(void)
{
	pthread_t thread;
	int status = -1;
	pid_t pid;

	alarm(10);
	pthread_barrier_init(&fork_begins, NULL, 2);
	pthread_barrier_init(&fork_goes_on, NULL, 2);
	if (pthread_create(&thread, NULL, set_options, NULL))
		return 2;
	pid = fork();
	check_options();
	if (pid == 0)
		_exit(report());
	require(waitpid(pid, &status, 0) == pid && status == 0, "the child fails");
	return report();
}
