// SPDX-License-Identifier: BSD-3-Clause
// Needs: libosmem.so

/*
 * Forks that overlap without an end, while other threads are inside stdio: they hold the locks that
 * libc waits for before it forks, and allocate meanwhile. Memory stays what is live and not much
 * more, nobody hangs, and children can use stdio and malloc. The program executes itself for
 * OSMEM_OPTIONS.
 */

#include "arguments.h"
#include "libc_common.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>

#define SUBJECT "subject"
#define SECONDS 3
#define LINE_MAX_BYTES (50 * KIB)
#define GROWTH_MAX (64 * MIB)

enum {
	FORKERS = 4,
	READERS = 6,
};

static volatile bool stop;
static char path[] = "/tmp/osmem-forks-XXXXXX";
static _Atomic(size_t) children;

/* With musl, other threads may have held the locks of streams for good. */
static bool flush(void)
{
#ifdef __GLIBC__
	return fflush(NULL) == 0;
#else
	return true;
#endif
}

static void __attribute__((noreturn)) be_child(void)
{
	FILE *f;
	char *text = NULL;
	size_t size = 0;

	alarm(20 * test_patience());
	f = fopen(path, "r");
	if (!f || getline(&text, &size, f) != (ssize_t)LINE_MAX_BYTES + 1 || !flush())
		_exit(2);
	text = realloc(text, 2 * size);
	_exit(text ? 0 : 3);
}

static void *keep_forking(void *arg)
{
	while (!stop) {
		pid_t pid = fork();
		int status = -1;

		if (pid == 0) {
			if (children % 4)
				_exit(0);
			be_child();
		}
		if (pid < 0 || waitpid(pid, &status, 0) != pid || status) {
			dprintf(STDERR_FILENO, "a child ends with wait status %#x", status);
			_exit(1);
		}
		children++;
	}
	return arg;
}

static void *keep_reading(void *arg)
{
	FILE *f = fopen(path, "r");

	while (!stop) {
		char *text = NULL;
		size_t size = 0;

		rewind(f);
		if (getline(&text, &size, f) != (ssize_t)LINE_MAX_BYTES + 1) {
			dprintf(STDERR_FILENO, "getline: %m");
			_exit(1);
		}
		free(text);
	}
	fclose(f);
	return arg;
}

static void *keep_flushing(void *arg)
{
	while (!stop)
		fflush(NULL);
	return arg;
}

static void look_at_memory(void)
{
	size_t first = resident_bytes();
	double end = seconds() + SECONDS;

	while (seconds() < end) {
		size_t now = resident_bytes();

		if (now > first + GROWTH_MAX) {
			dprintf(STDERR_FILENO, "memory has grown by %zu MiB", (now - first) / MIB);
			_exit(1);
		}
		sleep_ms(2);
	}
}

/* Priority 1001: behind the check that malloc is ours. */
__attribute__((constructor(1001))) static void be_subject(void)
{
	int argc;
	char **argv = program_arguments(&argc);
	pthread_t threads[FORKERS + READERS + 1];
	size_t n = 0;

	if (argc < 2 || strcmp(argv[0], SUBJECT) != 0)
		return;
	strcpy(path, argv[1]);
	while (n < FORKERS)
		pthread_create(&threads[n++], NULL, keep_forking, NULL);
	while (n < FORKERS + READERS)
		pthread_create(&threads[n++], NULL, keep_reading, NULL);
	pthread_create(&threads[n++], NULL, keep_flushing, NULL);
	look_at_memory();
	stop = true;
	while (n > 0)
		pthread_join(threads[--n], NULL);
	if (children < FORKERS)
		dprintf(STDERR_FILENO, "only %zu forks", (size_t)children);
	_exit(children < FORKERS);
}

static void forks_with(const char *options)
{
	char *arguments[] = {SUBJECT, path, NULL}, err[500];
	int status, fd = mkstemp(path);

	CHECK(fd >= 0);
	for (size_t i = 0; i < LINE_MAX_BYTES; i++)
		CHECK(write(fd, "x", 1) == 1);
	CHECK(write(fd, "\n", 1) == 1);
	status = test_again(options, arguments, err, sizeof(err));
	unlink(path);
	CHECK_MSG(WIFEXITED(status) && WEXITSTATUS(status) == 0, "wait status %#x: %s", status,
		  err);
}

TEST(forks_that_overlap)
{
	forks_with("");
}

TEST(forks_that_overlap_hardened)
{
	forks_with("hardened");
}
