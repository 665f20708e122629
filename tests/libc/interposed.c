// SPDX-License-Identifier: BSD-3-Clause
// Needs: libosmem.so

/*
 * Tools put functions of their own in the place of libc's system calls, and allocate in them. This
 * program has such functions, for all that the library could need: they allocate, and count who
 * calls them. Nobody does while there is nobody but the library to call; it asks the kernel.
 */

#include "libc_common.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdarg.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "osmem.h"
#include "osmem_inspect.h"

#define SUBJECT "subject"
#define NAMES_MAX 40

static volatile bool is_watching;
static _Atomic(size_t) calls;
static char called[NAMES_MAX]; /* by whom it was first is enough */
static _Thread_local bool is_inside;

static void note(const char *name)
{
	if (!is_watching || is_inside)
		return;
	is_inside = true;
	if (calls++ == 0)
		strcpy(called, name);
	for (size_t size = 16; size < 400 * KIB; size *= 3)
		free(realloc(malloc(size), size * 2));
	is_inside = false;
}

/* name, whose parameters are in parentheses, with what the kernel is to be given. */
#define INTERPOSE(type, name, parameters, ...)                                                     \
	__attribute__((visibility("default"))) type name parameters;                               \
	__attribute__((visibility("default"))) type name parameters                                \
	{                                                                                          \
		type result = (type)syscall(__VA_ARGS__);                                          \
                                                                                                   \
		note(#name);                                                                       \
		return result;                                                                     \
	}

INTERPOSE(void *, mmap, (void *at, size_t size, int access, int flags, int fd, off_t offset),
	  SYS_mmap, at, size, (long)access, (long)flags, (long)fd, offset)
INTERPOSE(void *, mremap, (void *p, size_t old_size, size_t size, int flags, ...), SYS_mremap, p,
	  old_size, size, (long)flags, 0L)
INTERPOSE(int, munmap, (void *p, size_t size), SYS_munmap, p, size)
INTERPOSE(int, madvise, (void *p, size_t size, int advice), SYS_madvise, p, size, advice)
INTERPOSE(int, mprotect, (void *p, size_t size, int access), SYS_mprotect, p, size, access)
INTERPOSE(int, mincore, (void *p, size_t size, unsigned char *resident), SYS_mincore, p, size,
	  resident)
INTERPOSE(int, clock_gettime, (clockid_t clock, struct timespec *now), SYS_clock_gettime, clock,
	  now)
INTERPOSE(int, close, (int fd), SYS_close, fd)
INTERPOSE(ssize_t, read, (int fd, void *to, size_t size), SYS_read, fd, to, size)
INTERPOSE(ssize_t, write, (int fd, const void *from, size_t size), SYS_write, fd, from, size)
INTERPOSE(int, fstat, (int fd, struct stat *st), SYS_fstat, fd, st)
INTERPOSE(int, flock, (int fd, int how), SYS_flock, fd, how)
INTERPOSE(int, ftruncate, (int fd, off_t size), SYS_ftruncate, fd, size)
INTERPOSE(int, fallocate, (int fd, int how, off_t at, off_t size), SYS_fallocate, fd, how, at, size)
#ifndef __GLIBC__
typedef int __rlimit_resource_t, __rusage_who_t;
#endif

INTERPOSE(int, getrlimit, (__rlimit_resource_t which, struct rlimit *limit), SYS_prlimit64, 0L,
	  which, NULL, limit)
INTERPOSE(int, getrusage, (__rusage_who_t who, struct rusage *usage), SYS_getrusage, who, usage)
INTERPOSE(pid_t, gettid, (void), SYS_gettid)

__attribute__((visibility("default"))) int open(const char *path, int flags, ...)
{
	va_list args;
	int fd;

	va_start(args, flags);
	fd = (int)syscall(SYS_openat, (long)AT_FDCWD, path, flags, va_arg(args, int));
	va_end(args);
	note("open");
	return fd;
}

__attribute__((visibility("default"))) int fcntl(int fd, int command, ...)
{
	va_list args;
	int result;

	va_start(args, command);
	result = (int)syscall(SYS_fcntl, fd, command, va_arg(args, long));
	va_end(args);
	note("fcntl");
	return result;
}

/* All that the library does: blocks of all sizes, sweeps, trims, figures; with threads or not. */

#define ROUNDS 60
#define BLOCKS 500
#define THREADS 3

static void churn(unsigned int seed)
{
	uint64_t state = seed;
	char *p[BLOCKS] = {NULL};

	for (size_t i = 0; i < ROUNDS * BLOCKS; i++) {
		size_t k = random_next(&state) % BLOCKS, size = random_next(&state) % 3000;

		if (i % 64 == 0)
			size *= 1500; /* up to 4.3 MiB */
		if (i % 3 == 0) {
			p[k] = realloc(p[k], size + 1);
		} else {
			free(p[k]);
			p[k] = i % 2 ? calloc(1, size + 1) : malloc(size + 1);
		}
		CHECK(p[k] != NULL);
		p[k][0] = p[k][size] = 1;
		if (i % (20 * BLOCKS) == 0)
			sleep_ms(160); /* a sweep is due */
	}
	for (size_t k = 0; k < BLOCKS; k++)
		free(p[k]);
}

static void *churn_in_thread(void *arg)
{
	churn((unsigned int)(uintptr_t)arg);
	return NULL;
}

/* Nor are libc's points of cancellation: a thread may be cancelled, but not inside of malloc. */
static void *churn_cancelled(void *arg)
{
	pthread_cancel(pthread_self());
	for (size_t i = 0; i < 50000; i++)
		free(malloc(i));
	*(bool *)arg = true;
	return NULL;
}

static void use_library(void)
{
	pthread_t threads[THREADS];
	struct osmem_stats stats;
	bool is_through = false;
	const char *fault;
	void *p = os_malloc(200 * KIB);

	churn(1);
	p = os_realloc(p, 900 * KIB);
	os_free(p);
	is_watching = false; /* libc's threads have stacks to map */
	for (size_t i = 0; i < THREADS; i++)
		CHECK(!pthread_create(&threads[i], NULL, churn_in_thread, (void *)(i + 2)));
	is_watching = true;
	for (size_t i = 0; i < THREADS; i++)
		CHECK(!pthread_join(threads[i], NULL));
	CHECK(!pthread_create(&threads[0], NULL, churn_cancelled, &is_through));
	CHECK(!pthread_join(threads[0], NULL));
	CHECK(is_through);
	malloc_trim(0);
	osmem_get_stats(&stats, sizeof(stats));
	fault = osmem_check();
	CHECK_MSG(!fault, "%s", fault);
}

/* This program again, with OSMEM_OPTIONS. */
__attribute__((constructor(1001))) static void be_subject(void)
{
	if (strcmp(program_invocation_name, SUBJECT) != 0)
		return;
	is_watching = true;
	use_library();
	is_watching = false;
	if (calls)
		dprintf(STDERR_FILENO, "%zu calls, first of %s", (size_t)calls, called);
	_exit(calls != 0);
}

static void expect_no_calls(const char *options)
{
	char *arguments[] = {SUBJECT, NULL}, err[500];
	int status = test_again(options, arguments, err, sizeof(err));

	CHECK_MSG(WIFEXITED(status) && WEXITSTATUS(status) == 0, "wait status %#x: %s", status,
		  err);
}

TEST(system_calls_of_tools_are_not_called)
{
	expect_no_calls("");
}

TEST(system_calls_of_tools_are_not_called_hardened)
{
	expect_no_calls("hardened");
}

TEST(system_calls_of_tools_are_not_called_while_tracing)
{
	char path[] = "/tmp/osmem-XXXXXX", options[60];
	int fd = mkstemp(path);

	CHECK(fd >= 0);
	snprintf(options, sizeof(options), "trace=%s", path);
	expect_no_calls(options);
	CHECK(unlink(path) == 0);
}
