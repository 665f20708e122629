// SPDX-License-Identifier: BSD-3-Clause
// Needs: libosmem.so

/*
 * Sixteen threads allocate, and every one of them forks, vforks and spawns in between, all at once
 * and under signals. The children allocate, free what the thread that forked had, fork in turn, and
 * execute this program again, as true. Nobody hangs, and every block is as its owner left it.
 */

#include "libc_common.h"
#include "signals.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <spawn.h>
#include <sys/wait.h>

extern char **environ;

#define THREADS 16
#define BIRTHS 4 /* of each thread */
#define BLOCKS 40
#define DEADLOCK_SECONDS 30

struct owner {
	pthread_t thread;
	uint64_t state;
	void *blocks[BLOCKS];
	size_t sizes[BLOCKS];
};

static struct owner owners[THREADS];

static void replace(struct owner *o, size_t i)
{
	size_t size = random_next(&o->state) % (random_next(&o->state) % 20 ? 700 : 50000);

	CHECK(is_filled(o->blocks[i], o->sizes[i], (unsigned int)i));
	if (size % 4 == 0) {
		size_t kept = size < o->sizes[i] ? size : o->sizes[i];

		o->blocks[i] = realloc(o->blocks[i], size + 1);
		CHECK(o->blocks[i] && is_filled(o->blocks[i], kept, (unsigned int)i));
	} else {
		free(o->blocks[i]);
		o->blocks[i] = malloc(size);
		CHECK(o->blocks[i]);
	}
	fill(o->blocks[i], size, (unsigned int)i);
	o->sizes[i] = size;
}

static void work(struct owner *o, size_t n)
{
	while (n-- > 0)
		replace(o, random_next(&o->state) % BLOCKS);
}

static void drop(struct owner *o)
{
	for (size_t i = 0; i < BLOCKS; i++) {
		CHECK(is_filled(o->blocks[i], o->sizes[i], (unsigned int)i));
		free(o->blocks[i]);
		o->blocks[i] = NULL;
		o->sizes[i] = 0;
	}
}

static void expect_good_end(pid_t pid)
{
	int status;

	CHECK(pid > 0 && waitpid(pid, &status, 0) == pid);
	CHECK_MSG(!WIFSIGNALED(status) || WTERMSIG(status) != SIGALRM, "a child hangs");
	if (WIFEXITED(status) && WEXITSTATUS(status))
		_exit(WEXITSTATUS(status)); /* the child has said why */
	CHECK_MSG(status == 0, "wait status %#x", status);
}

/* ---- Ways to have a child ---- */

static char *true_argv[] = {(char *)"true", NULL};
static char *preload_environ[2];

/* This program does what true does when it has that name. */
__attribute__((constructor)) static void be_true(void)
{
	if (strcmp(program_invocation_name, true_argv[0]) != 0)
		return;
	free(malloc(100));
	exit(0);
}

/* The program that is executed has the library too. */
static void preload(void)
{
	static char text[4200];
	Dl_info info;

	CHECK(dladdr(dlsym(RTLD_DEFAULT, "malloc"), &info));
	snprintf(text, sizeof(text), "LD_PRELOAD=%s", info.dli_fname);
	preload_environ[0] = text;
}

static void execute(void)
{
	execve(program_invocation_name, true_argv, preload_environ);
	_exit(1);
}

/* A child, which has a child, and so on; the last one executes a program. */
static void grow_up(struct owner *o, int generations)
{
	pid_t pid = 0;

	while (pid == 0) {
		alarm(DEADLOCK_SECONDS * test_patience());
		work(o, 50);
		drop(o);
		work(o, 50);
		if (generations-- == 0)
			execute();
		pid = fork();
	}
	expect_good_end(pid);
	malloc_trim(0);
	_exit(0);
}

static pid_t by_fork(struct owner *o)
{
	pid_t pid = fork();

	if (pid == 0)
		grow_up(o, (int)(random_next(&o->state) % 3));
	return pid;
}

static pid_t by_fork_and_exec(struct owner *o)
{
	pid_t pid = fork();

	(void)o;
	if (pid == 0)
		execute();
	return pid;
}

static pid_t by_vfork(struct owner *o)
{
	pid_t pid = vfork();

	(void)o;
	if (pid == 0) {
		execve(program_invocation_name, true_argv, preload_environ);
		_exit(1);
	}
	return pid;
}

static pid_t by_posix_spawn(struct owner *o)
{
	pid_t pid = -1;

	(void)o;
	CHECK(posix_spawn(&pid, program_invocation_name, NULL, NULL, true_argv, preload_environ) ==
	      0);
	return pid;
}

static pid_t (*const ways[])(struct owner *o) = {by_fork, by_fork_and_exec, by_vfork,
						 by_posix_spawn};

/* ---- The storm ---- */

static void *live(void *arg)
{
	struct owner *o = arg;

	for (size_t i = 0; i < BIRTHS; i++) {
		work(o, 300);
		expect_good_end(ways[random_next(&o->state) % COUNT_OF(ways)](o));
	}
	work(o, 300);
	drop(o);
	return NULL;
}

TEST(sixteen_threads_have_children)
{
	struct timespec pause = {.tv_nsec = 1000000};

	test_timeout(150);
	preload();
	signals_begin(&pause);
	for (size_t i = 0; i < THREADS; i++) {
		owners[i].state = i + 1;
		CHECK(pthread_create(&owners[i].thread, NULL, live, &owners[i]) == 0);
	}
	for (size_t i = 0; i < THREADS; i++)
		CHECK(pthread_join(owners[i].thread, NULL) == 0);
	CHECK(signals_end() > 0);
}
