// SPDX-License-Identifier: BSD-3-Clause

/*
 * Work under a system call filter, or start another program under one:
 *
 *	subject NUMBER ERROR [PROGRAM ARGUMENT…]
 *
 * The kernel answers ERROR, EPERM or ENOSYS, to every system call of that number from now on. The
 * work is what allocators make system calls for: small and large objects, growth, threads, forks,
 * trims, time. If calls of the program itself are refused, it does without them and prints that; at
 * last it prints "done". Exit status 2: there are no filters here.
 */

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <malloc.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define COUNT 3000
#define THREADS 3

void *os_malloc(size_t size) __attribute__((weak));
void *os_realloc(void *p, size_t size) __attribute__((weak));
void os_free(void *p) __attribute__((weak));

static void refuse(int number, int error)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned int)number, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned int)error),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog filter = {sizeof(code) / sizeof(code[0]), code};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0)
		_exit(2);
}

/* What is wrong is no reason to continue. */
static void require(int is_right, const char *what)
{
	if (is_right)
		return;
	printf("%s\n", what);
	fflush(stdout);
	_exit(3);
}

static void *small_objects(void *unused)
{
	static _Thread_local unsigned char *p[COUNT];

	for (int round = 0; round < 2; round++) {
		for (size_t i = 0; i < COUNT; i++) {
			size_t size = i * 37 % 3000 + 1;

			require((p[i] = i % 3 ? malloc(size) : calloc(1, size)) != NULL, "small");
			p[i][0] = p[i][size - 1] = (unsigned char)i;
		}
		for (size_t i = 0; i < COUNT; i++) {
			require(p[i][0] == (unsigned char)i, "content");
			free(p[i]);
		}
	}
	return unused;
}

static void large_objects(void)
{
	unsigned char *p = NULL, *q;

	for (size_t size = 10000; size < 20000000; size *= 2) {
		q = realloc(p, size);
		require(q != NULL, "realloc");
		require(!p || q[size / 4] == 7, "content of realloc");
		p = memset(q, 7, size);
	}
	require((q = realloc(p, 5000000)) && q[4999999] == 7, "shrink");
	require((p = aligned_alloc(1 << 20, 3 << 20)) && (uintptr_t)p % (1 << 20) == 0, "align");
	free(q);
	free(p);
	for (int i = 0; i < 20; i++)
		free(malloc(100000 << i % 6));
}

static void threads(void)
{
	pthread_t thread[THREADS];
	int n = 0;

	while (n < THREADS && pthread_create(&thread[n], NULL, small_objects, NULL) == 0)
		n++;
	for (int i = 0; i < n; i++)
		pthread_join(thread[i], NULL);
	printf("%d threads\n", n);
}

static void forks(void)
{
	int status = -1;
	pid_t child;

	fflush(stdout);
	child = fork();
	if (child == 0) {
		small_objects(NULL);
		_exit(0);
	}
	if (child > 0 && waitpid(child, &status, 0) == child)
		require(status == 0, "child");
	printf("fork: %s\n", child > 0 ? "yes" : "no");
}

static void os_objects(void)
{
	char *p[100];

	for (size_t i = 0; os_malloc && i < 100; i++)
		p[i] = os_malloc(i % 10 ? i * 50 : 200000);
	for (size_t i = 0; os_malloc && i < 100; i += 2)
		p[i] = os_realloc(p[i], 500 + i * 3000);
	for (size_t i = 0; os_malloc && i < 100; i++)
		os_free(p[i]);
}

/* Some periods of the library's clock go by. */
static void pass_time(void)
{
	const struct timespec nap = {0, 8000000};

	for (int i = 0; i < 5; i++) {
		free(malloc(1 << 20));
		small_objects(NULL);
		nanosleep(&nap, NULL);
	}
}

int main(int argc, char **argv)
{
	int error = argc > 2 && strcmp(argv[2], "ENOSYS") == 0 ? ENOSYS : EPERM;

	if (argc > 1)
		refuse(atoi(argv[1]), error);
	if (argc > 3) {
		execv(argv[3], argv + 3);
		return 2;
	}
	small_objects(NULL);
	large_objects();
	threads();
	forks();
	os_objects();
	pass_time();
	malloc_trim(0);
	printf("done\n");
	return EXIT_SUCCESS;
}
