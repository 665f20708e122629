// SPDX-License-Identifier: BSD-3-Clause
// Needs: libosmem.so

/* fork and its relatives. */

#include "libc_common.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>

#include "fork_common.h"
#include "osmem.h"

extern char **environ;

static void expect_good_end(pid_t pid)
{
	int status;

	CHECK(pid > 0);
	CHECK(waitpid(pid, &status, 0) == pid);
	CHECK_MSG(!WIFSIGNALED(status) || WTERMSIG(status) != SIGALRM, "the child hangs");
	CHECK_MSG(WIFEXITED(status) && WEXITSTATUS(status) == 0, "wait status %#x", status);
}

/* Fill and free count blocks of all sizes, growing and shrinking; p has room for their pointers. */
static void use_malloc_of(void **p, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		p[i] = malloc(size_of(i));
		CHECK(p[i] != NULL);
		fill(p[i], size_of(i), (unsigned int)i);
	}
	for (size_t i = 0; i < count; i++) {
		size_t old = size_of(i), size = size_of(i * 7 + 3) + 1;

		p[i] = realloc(p[i], size);
		CHECK(p[i] && is_filled(p[i], old < size ? old : size, (unsigned int)i));
	}
	for (size_t i = 0; i < count; i++)
		free(p[i]);
}

static void use_malloc(void)
{
	static void *p[200];

	use_malloc_of(p, COUNT_OF(p));
}

/* ---- Threads in the background ---- */

/* Fork among threads that are in the middle of things; in the parent they then wait. */
static pid_t fork_amid_noise(void)
{
	pid_t pid;

	is_quiet = false;
	sleep_ms(2);
	pid = fork();
	if (pid != 0)
		is_quiet = true;
	else
		alarm(DEADLOCK_SECONDS * test_patience());
	return pid;
}

TEST(child_of_threaded_program_allocates)
{
	start_noise();
	for (int i = 0; i < 50; i++) {
		pid_t pid = fork_amid_noise();

		if (pid == 0) {
			use_malloc();
			_exit(0);
		}
		expect_good_end(pid);
	}
	end_noise();
}

TEST(child_frees_what_vanished_threads_allocated)
{
	start_noise();
	for (int i = 0; i < 25; i++) {
		pid_t pid = fork_amid_noise();

		if (pid == 0) {
			check_and_free_kept();
			use_malloc();
			malloc_trim(0);
			_exit(0);
		}
		expect_good_end(pid);
	}
	end_noise();
}

TEST(child_starts_threads)
{
	start_noise();
	for (int i = 0; i < 20; i++) {
		pid_t pid = fork_amid_noise();

		if (pid == 0) {
			check_and_free_kept();
			start_noise();
			use_malloc();
			end_noise();
			_exit(0);
		}
		expect_good_end(pid);
	}
	end_noise();
}

static void *fork_in_thread(void *arg)
{
	for (int i = 0; i < 30; i++) {
		pid_t pid = fork();

		if (pid == 0) {
			alarm(DEADLOCK_SECONDS * test_patience());
			use_malloc();
			_exit(0);
		}
		expect_good_end(pid);
	}
	return arg;
}

TEST(threads_fork_at_the_same_time)
{
	pthread_t threads[3];

	start_noise();
	for (size_t i = 0; i < COUNT_OF(threads); i++)
		CHECK(pthread_create(&threads[i], NULL, fork_in_thread, NULL) == 0);
	for (size_t i = 0; i < COUNT_OF(threads); i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
	end_noise();
}

/*
 * Each generation starts threads, forks among them, and the child carries on. The threads hold
 * nothing then, but they have cached what they freed: were that lost, the last generation would be
 * the biggest.
 */
enum {
	IDLE_BLOCKS = 300
};

static pthread_barrier_t all_idle;

static void *use_and_idle(void *arg)
{
	use_malloc_of(arg, IDLE_BLOCKS);
	pthread_barrier_wait(&all_idle);
	for (;;)
		pause();
	return NULL;
}

static void idle_threads(void)
{
	static void *p[NOISY][IDLE_BLOCKS];
	pthread_t thread;

	pthread_barrier_init(&all_idle, NULL, NOISY + 1);
	for (size_t i = 0; i < NOISY; i++)
		CHECK(pthread_create(&thread, NULL, use_and_idle, p[i]) == 0);
	pthread_barrier_wait(&all_idle);
}

TEST(generations_of_forks_do_not_grow)
{
	size_t early = 0;

	for (int generation = 0; generation < 40; generation++) {
		pid_t pid;

		idle_threads();
		if (generation == 10)
			early = resident_bytes();
		pid = fork();
		if (pid != 0) {
			expect_good_end(pid);
			_exit(0);
		}
	}
	CHECK_MSG(resident_bytes() < early + 8 * MIB, "%zu KiB, early %zu KiB",
		  resident_bytes() / KIB, early / KIB);
}

/* ---- Threads that hold stdio's locks ---- */

static void *flush_all(void *arg)
{
	while (!stop) {
		wait_while_quiet();
		fflush(NULL);
	}
	return arg;
}

static void *print_on_fresh_files(void *arg)
{
	while (!stop) {
		wait_while_quiet();
		FILE *f = fopen("/dev/null", "w");

		if (f) {
			fprintf(f, "%d %s\n", 1, "text");
			fclose(f);
		}
	}
	return arg;
}

static void *read_lines(void *arg)
{
	while (!stop) {
		wait_while_quiet();
		FILE *f = fopen("/proc/self/maps", "r");
		char *line = NULL;
		size_t size = 0;

		while (f && getline(&line, &size, f) > 0)
			continue;
		free(line);
		if (f)
			fclose(f);
	}
	return arg;
}

static void *print_to_memory(void *arg)
{
	while (!stop) {
		wait_while_quiet();
		char *text = NULL;
		size_t size;
		FILE *f = open_memstream(&text, &size);

		for (int i = 0; f && i < 200; i++)
			fprintf(f, "line %d of some text\n", i);
		if (f)
			fclose(f);
		free(text);
	}
	return arg;
}

TEST(fork_while_threads_hold_stdio_locks)
{
	void *(*const bodies[])(void *) = {flush_all, print_on_fresh_files, read_lines,
					   print_to_memory};
	pthread_t threads[COUNT_OF(bodies)];
	double end = seconds() + 8;

	test_timeout(100);
	for (size_t i = 0; i < COUNT_OF(bodies); i++)
		CHECK(pthread_create(&threads[i], NULL, bodies[i], NULL) == 0);
	for (int i = 0; i < 250 && seconds() < end; i++) {
		pid_t pid = fork_amid_noise();

		if (pid == 0) {
			free(malloc(100));
			free(malloc(100000));
			_exit(0);
		}
		expect_good_end(pid);
	}
	stop = true;
	for (size_t i = 0; i < COUNT_OF(bodies); i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
}

/* ---- A program's own fork handlers ---- */

static void *handler_block;

static void allocate_in_handler(void)
{
	void *p = malloc(3000);

	CHECK(p != NULL);
	free(handler_block);
	handler_block = p;
}

TEST(fork_handlers_of_the_program_may_allocate)
{
	CHECK(!pthread_atfork(allocate_in_handler, allocate_in_handler, allocate_in_handler));
	start_noise();
	for (int i = 0; i < 50; i++) {
		pid_t pid = fork_amid_noise();

		if (pid == 0) {
			CHECK(handler_block != NULL);
			allocate_in_handler();
			_exit(0);
		}
		CHECK(handler_block != NULL);
		expect_good_end(pid);
	}
	end_noise();
}

/* ---- A fork that fails ---- */

/* This thread may make no more processes; others may. */
static void forbid_fork(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
#ifdef SYS_fork /* what musl calls where there is one */
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_fork, 1, 0),
#endif
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EAGAIN),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {.len = COUNT_OF(code), .filter = code};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
		test_skip("no seccomp filters here");
}

TEST(fork_that_is_refused)
{
	void *p[100];

	start_noise();
	forbid_fork();
	for (int i = 0; i < 100; i++) {
		errno = 0;
		CHECK(fork() == -1 && errno == EAGAIN);
		/* What is small is a cell, and so the heaps are open again. */
		p[i] = malloc(100);
		CHECK(p[i] && malloc_usable_size(p[i]) < 128);
		use_malloc();
		os_free(os_malloc(100));
	}
	for (int i = 0; i < 100; i++)
		free(p[i]);
	end_noise();
}

/* ---- vfork, posix_spawn, clone ---- */

TEST(vfork_and_exec)
{
	char *const argv[] = {(char *)"true", NULL};

	start_noise();
	for (int i = 0; i < 25; i++) {
		pid_t pid = vfork();

		if (pid == 0) {
			execve("/bin/true", argv, environ);
			_exit(1);
		}
		expect_good_end(pid);
		use_malloc();
	}
	end_noise();
}

TEST(posix_spawn_and_popen)
{
	char *const argv[] = {(char *)"true", NULL};

	start_noise();
	for (int i = 0; i < 15; i++) {
		pid_t pid = 0;
		FILE *f = popen("echo text", "r");
		char line[16] = "";

		CHECK(f && fgets(line, sizeof(line), f) && !strcmp(line, "text\n"));
		CHECK(pclose(f) == 0);
		CHECK(posix_spawn(&pid, "/bin/true", NULL, NULL, argv, environ) == 0);
		expect_good_end(pid);
		CHECK(system("true") == 0);
	}
	end_noise();
}

/* Past libc, so no fork handler runs; with one thread nothing is held. */
TEST(clone_without_libc)
{
	use_malloc();
	for (int i = 0; i < 50; i++) {
		pid_t pid = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);

		if (pid == 0) {
			use_malloc();
			_exit(0);
		}
		expect_good_end(pid);
		use_malloc();
	}
}
