// SPDX-License-Identifier: BSD-3-Clause
// Needs: objects

/*
 * utils/printf.c where a printf is hard to have: in a process that may do nothing but write, and in
 * a signal handler on a small stack.
 */

#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/seccomp.h>

#include "printf_same.h"

#define STACK_NEED 3072 /* what printf.h promises */

/* Nothing but write */

static void enter_strict_mode(void)
{
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) != 0)
		_exit(1);
}

static void print_in_strict_mode(void *arg)
{
	static char text[TEXT_MAX];

	(void)arg;
	dup2(STDERR_FILENO, STDOUT_FILENO);
	enter_strict_mode();
	snprintf_(text, sizeof(text), EVERYTHING, EVERYTHING_ARGS);
	printf_(EVERYTHING, EVERYTHING_ARGS);
	syscall(SYS_exit, 0);
}

static void allocate_in_strict_mode(void *arg)
{
	void *volatile p;

	(void)arg;
	enter_strict_mode();
	p = malloc(100);
	(void)p;
	syscall(SYS_exit, 0);
}

/*
 * Strict mode kills whoever makes any system call but read, write and exit: memory that has to come
 * from the kernel, or a lock that has to be waited for. The first test, so that there is no memory
 * left over from others.
 */
TEST(only_writes)
{
	static char want[TEXT_MAX], got[TEXT_MAX];
	int status;

	snprintf_(want, sizeof(want), EVERYTHING, EVERYTHING_ARGS);
	status = test_in_child(allocate_in_strict_mode, NULL, got, sizeof(got));
	if (WIFEXITED(status))
		test_skip("malloc is not stopped: exit status %d", WEXITSTATUS(status));
	status = test_in_child(print_in_strict_mode, NULL, got, sizeof(got));
	CHECK_MSG(status == 0, "wait status 0x%x", status);
	CHECK(strcmp(got, want) == 0);
}

/* Where the text goes */

/* Let fd 1 be the writing end of a new pipe; returns the reading end. */
static int pipe_stdout(void)
{
	int fds[2];

	CHECK(pipe(fds) == 0);
	CHECK(dup2(fds[1], STDOUT_FILENO) == STDOUT_FILENO);
	close(fds[1]);
	return fds[0];
}

__attribute__((format(__printf__, 1, 2))) static int call_vprintf(const char *format, ...)
{
	va_list va;
	int len;

	va_start(va, format);
	len = vprintf_(format, va);
	va_end(va);
	return len;
}

TEST(printf_writes_to_fd_1)
{
	int fd = pipe_stdout();
	char got[64] = "";

	CHECK(printf_("%s %d\n", "text", 42) == 8);
	CHECK(call_vprintf("%5.1f", 1.25) == 5);
	_putchar('!');
	CHECK(read(fd, got, sizeof(got) - 1) == 14);
	CHECK(strcmp(got, "text 42\n  1.2!") == 0);
}

TEST(putchar_keeps_errno)
{
	close(STDOUT_FILENO);
	errno = ENOTTY;
	_putchar('x');
	CHECK(errno == ENOTTY);
	CHECK(printf_("%d", 42) == 2);
	CHECK(errno == ENOTTY);
}

/* Signals */

static volatile sig_atomic_t signals;

static void count_signal(int sig)
{
	(void)sig;
	signals++;
}

static void handle(int sig, void (*handler)(int), int flags)
{
	struct sigaction action = {.sa_handler = handler, .sa_flags = flags};

	CHECK(sigaction(sig, &action, NULL) == 0);
}

/* Exit with 0 if what comes through fd is the numbers from 0 to count; interrupt who sends them. */
static void read_numbers(int fd, int count)
{
	FILE *in = fdopen(fd, "r");
	int number;

	for (int i = 0; i < count; i++) {
		if (i % 100 == 0) {
			usleep(300);
			kill(getppid(), SIGUSR1);
		}
		if (fscanf(in, "%d", &number) != 1 || number != i)
			_exit(1);
	}
	_exit(fgetc(in) == '\n' && fgetc(in) == EOF ? 0 : 1);
}

/* Writes to a full pipe are interrupted, and no character is lost. */
TEST(putchar_retries)
{
	int fd = pipe_stdout(), status;
	pid_t reader;

	fcntl(fd, F_SETPIPE_SZ, 4096);
	handle(SIGUSR1, count_signal, 0); /* no SA_RESTART */
	reader = fork();
	CHECK(reader >= 0);
	if (reader == 0) {
		close(STDOUT_FILENO);
		read_numbers(fd, 10000);
	}
	close(fd); /* so that a reader who gives up ends this, too */
	for (int i = 0; i < 10000; i++)
		CHECK(printf_("%d\n", i) > 0);
	close(STDOUT_FILENO);
	while (waitpid(reader, &status, 0) < 0)
		CHECK(errno == EINTR);
	CHECK(status == 0);
	CHECK(signals > 5);
}

static char everything[TEXT_MAX]; /* as it must be */

static void print_everything(int sig)
{
	char got[TEXT_MAX];

	(void)sig;
	snprintf_(got, sizeof(got), EVERYTHING, EVERYTHING_ARGS);
	if (strcmp(got, everything) != 0)
		abort();
	signals++;
}

/* A handler prints while what it interrupts is printing. */
TEST(reentrant)
{
	pid_t signaller;

	snprintf_(everything, sizeof(everything), EVERYTHING, EVERYTHING_ARGS);
	handle(SIGUSR1, print_everything, 0);
	signaller = fork();
	CHECK(signaller >= 0);
	while (signaller == 0) {
		kill(getppid(), SIGUSR1);
		usleep(200);
	}
	while (signals < 200) {
		char got[TEXT_MAX];

		snprintf_(got, sizeof(got), EVERYTHING, EVERYTHING_ARGS);
		CHECK(strcmp(got, everything) == 0);
	}
	kill(signaller, SIGKILL);
}

/* Of the sanitizers' run-time library, where there is one. */
extern void __sanitizer_print_stack_trace(void) __attribute__((weak));

static char on_small_stack[TEXT_MAX];
static char *volatile handler_frame;

static void print_on_small_stack(int sig)
{
	(void)sig;
	handler_frame = __builtin_frame_address(0);
	snprintf_(on_small_stack, sizeof(on_small_stack), EVERYTHING, EVERYTHING_ARGS);
}

/* A stack of size bytes, filled with '~', right above a page that must not be touched. */
static char *small_stack(size_t size)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *p =
		mmap(NULL, page + size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(p != MAP_FAILED);
	CHECK(mprotect(p, page, PROT_NONE) == 0);
	memset(p + page, '~', size);
	return p + page;
}

TEST(small_signal_stack)
{
	size_t frame = getauxval(AT_MINSIGSTKSZ) ? getauxval(AT_MINSIGSTKSZ) : MINSIGSTKSZ;
	stack_t stack = {.ss_size = frame + STACK_NEED + 256}; /* the handler needs some too */
	char *lowest;

	if (__sanitizer_print_stack_trace)
		test_skip("sanitizers need a larger stack");
	/* Once before, so that the dynamic linker has resolved what it calls. */
	snprintf_(everything, sizeof(everything), EVERYTHING, EVERYTHING_ARGS);
	lowest = stack.ss_sp = small_stack(stack.ss_size);
	CHECK(sigaltstack(&stack, NULL) == 0);
	handle(SIGUSR1, print_on_small_stack, SA_ONSTACK);
	CHECK(raise(SIGUSR1) == 0);
	CHECK(strcmp(on_small_stack, everything) == 0);
	while (*lowest == '~')
		lowest++;
	CHECK_MSG(handler_frame - lowest < STACK_NEED, "%ld bytes", (long)(handler_frame - lowest));
}
