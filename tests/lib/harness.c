// SPDX-License-Identifier: BSD-3-Clause

#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define EXIT_FAILED 1
#define EXIT_SKIPPED 77
#define DEFAULT_TIMEOUT 60

static struct test *tests;
static struct test **tests_tail = &tests;
static int report_fd = -1; /* where a child leaves its one-line reason */

void test_register(struct test *t)
{
	*tests_tail = t;
	tests_tail = &t->next;
}

static void report(const char *prefix, const char *fmt, va_list ap)
{
	char line[512];
	int n = snprintf(line, sizeof(line), "%s", prefix);

	n += vsnprintf(line + n, sizeof(line) - (size_t)n, fmt, ap);
	if (n >= (int)sizeof(line))
		n = (int)sizeof(line) - 1;
	if (write(report_fd, line, (size_t)n) != n)
		abort();
}

void test_fail(const char *file, int line, const char *fmt, ...)
{
	const char *base = strrchr(file, '/');
	char where[128];
	va_list ap;

	snprintf(where, sizeof(where), "%s:%d: ", base ? base + 1 : file, line);
	va_start(ap, fmt);
	report(where, fmt, ap);
	va_end(ap);
	_exit(EXIT_FAILED);
}

void test_skip(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	report("", fmt, ap);
	va_end(ap);
	_exit(EXIT_SKIPPED);
}

void test_timeout(unsigned int seconds)
{
	alarm(seconds * test_patience());
}

size_t env_number(const char *name, size_t or_else)
{
	const char *value = getenv(name);

	return value && *value ? strtoul(value, NULL, 0) : or_else;
}

void test_limit(int resource, size_t bytes)
{
	struct rlimit r = {.rlim_cur = bytes, .rlim_max = RLIM_INFINITY}, now;

	CHECK(setrlimit(resource, &r) == 0 && getrlimit(resource, &now) == 0);
	if (now.rlim_cur != r.rlim_cur)
		test_skip("an emulator ignores limits of memory");
}

void limit_addresses(size_t bytes)
{
	test_limit(RLIMIT_AS, bytes);
}

void need_break(size_t bytes)
{
	if (sbrk((intptr_t)bytes) == (void *)-1)
		test_skip("the break cannot be raised by %zu MiB", bytes / MIB);
	CHECK(sbrk(-(intptr_t)bytes) != (void *)-1);
}

/* Read fd to its end into buf, keeping the first size - 1 bytes. */
static void drain(int fd, char *buf, size_t size)
{
	size_t used = 0;
	char scrap[256];
	ssize_t n;

	for (;;) {
		if (used < size - 1)
			n = read(fd, buf + used, size - 1 - used);
		else
			n = read(fd, scrap, sizeof(scrap));
		if (n <= 0)
			break;
		if (used < size - 1)
			used += (size_t)n;
	}
	buf[used] = '\0';
}

/* qemu-user adds a line of its own to those of a program that a signal ends. */
static void drop_emulators_line(char *said)
{
	char *line = strstr(said, "qemu: uncaught target signal");

	if (line)
		*line = '\0';
}

int test_in_child(void (*body)(void *arg), void *arg, char *err, size_t size)
{
	int fds[2], status;
	pid_t pid;

	if (pipe(fds) < 0)
		test_fail(__FILE__, __LINE__, "pipe failed");
	pid = fork();
	if (pid < 0)
		test_fail(__FILE__, __LINE__, "fork failed");
	if (pid == 0) {
		dup2(fds[1], STDERR_FILENO);
		close(fds[0]);
		close(fds[1]);
		body(arg);
		_exit(0);
	}
	close(fds[1]);
	drain(fds[0], err, size);
	close(fds[0]);
	drop_emulators_line(err);
	if (waitpid(pid, &status, 0) != pid)
		test_fail(__FILE__, __LINE__, "waitpid failed");
	return status;
}

struct again {
	const char *options;
	char *const *argv;
};

static void execute(void *arg)
{
	const struct again *a = arg;

	setenv("OSMEM_OPTIONS", a->options, 1);
	dup2(STDERR_FILENO, STDOUT_FILENO);
	execv(program_invocation_name, a->argv);
	_exit(127);
}

int test_again(const char *options, char *const argv[], char *said, size_t size)
{
	struct again a = {options, argv};

	return test_in_child(execute, &a, said, size);
}

/* Some C libraries pass nothing to constructors, so the arguments come from the kernel. */
void test_start_again(const char *options)
{
	static char line[4096], *argv[64];
	const char *given = getenv("OSMEM_OPTIONS");
	int fd;
	ssize_t len;

	if (given && strncmp(given, options, strlen(options)) == 0)
		return;
	fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
	len = read(fd, line, sizeof(line) - 1);
	for (size_t i = 0, at = 0; (ssize_t)at < len && i < COUNT_OF(argv) - 1; i++) {
		argv[i] = line + at;
		at += strlen(line + at) + 1;
	}
	setenv("OSMEM_OPTIONS", options, 1);
	execv(program_invocation_name, argv);
	_exit(127);
}

/* As sigabbrev_np, which not every C library has. */
static const char *signal_name(int number)
{
	static const char *const names[] = {
		[SIGABRT] = "ABRT", [SIGALRM] = "ALRM", [SIGBUS] = "BUS",   [SIGFPE] = "FPE",
		[SIGHUP] = "HUP",   [SIGILL] = "ILL",	[SIGINT] = "INT",   [SIGKILL] = "KILL",
		[SIGPIPE] = "PIPE", [SIGPROF] = "PROF", [SIGQUIT] = "QUIT", [SIGSEGV] = "SEGV",
		[SIGSYS] = "SYS",   [SIGTERM] = "TERM", [SIGTRAP] = "TRAP", [SIGUSR1] = "USR1",
		[SIGUSR2] = "USR2", [SIGXCPU] = "XCPU", [SIGXFSZ] = "XFSZ",
	};
	bool is_known = number >= 0 && (size_t)number < COUNT_OF(names) && names[number];

	return is_known ? names[number] : "NAL without a name";
}

const char *test_ending(int status)
{
	static char text[64];

	if (WIFSIGNALED(status))
		snprintf(text, sizeof(text), "died by SIG%s", signal_name(WTERMSIG(status)));
	else
		snprintf(text, sizeof(text), "exited with status %d", WEXITSTATUS(status));
	return text;
}

void test_expect_abort(const char *file, int line, void (*body)(void *arg), void *arg,
		       const char *want)
{
	char err[1024];
	int status = test_in_child(body, arg, err, sizeof(err));
	size_t len = strlen(err);
	bool is_line = len > 0 && err[len - 1] == '\n';

	if (is_line)
		err[--len] = '\0';
	if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGABRT || !is_line ||
	    strcmp(err, want) != 0)
		test_fail(file, line,
			  "expected death by SIGABRT with \"%s\", but it %s and said %s%s%s", want,
			  test_ending(status), len ? "\"" : "", len ? err : "nothing",
			  len ? "\"" : "");
}

static void describe_death(int status, char *why, size_t size)
{
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
		snprintf(why, size, "timed out");
	else if (WIFSIGNALED(status) || !why[0])
		snprintf(why, size, "expected to return, but it %s", test_ending(status));
}

/* 0 passed, EXIT_FAILED or EXIT_SKIPPED; the reason in why. */
static int run_one(const struct test *t, char *why, size_t size)
{
	int fds[2], status;
	pid_t pid;

	if (pipe(fds) < 0)
		return EXIT_FAILED;
	pid = fork();
	if (pid < 0)
		return EXIT_FAILED;
	if (pid == 0) {
		report_fd = fds[1];
		close(fds[0]);
		setpgid(0, 0);
		test_timeout(DEFAULT_TIMEOUT);
		t->run();
		_exit(0);
	}
	close(fds[1]);
	if (waitpid(pid, &status, 0) != pid)
		return EXIT_FAILED;
	kill(-pid, SIGKILL); /* whatever the test left running */
	drain(fds[0], why, size);
	close(fds[0]);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SKIPPED)
		return EXIT_SKIPPED;
	describe_death(status, why, size);
	return EXIT_FAILED;
}

static bool is_wanted(const struct test *t, int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		if (strstr(t->name, argv[i]))
			return true;
	return argc < 2;
}

static bool is_word_of(const char *words, const char *word)
{
	size_t len = strlen(word);

	for (const char *at = words; (at = strstr(at, word)); at += len)
		if ((at == words || at[-1] == ' ') && (at[len] == ' ' || !at[len]))
			return true;
	return false;
}

static bool is_left_out(const char *program, const struct test *t)
{
	const char *words = getenv("TEST_LEFT_OUT");
	char name[256];

	snprintf(name, sizeof(name), "%s.%s", program, t->name);
	return words && (is_word_of(words, program) || is_word_of(words, name));
}

/* The program's name with the folder that it is in: bin/slab/cells is slab/cells. */
static const char *short_name(const char *path)
{
	const char *name = strrchr(path, '/');

	if (name)
		name = memrchr(path, '/', (size_t)(name - path));
	return name ? name + 1 : path;
}

int main(int argc, char **argv)
{
	const char *program = short_name(argv[0]);
	int passed = 0, failed = 0, skipped = 0;
	char why[512];

	setvbuf(stdout, NULL, _IOLBF, 0);
	for (const struct test *t = tests; t; t = t->next) {
		if (!is_wanted(t, argc, argv))
			continue;
		snprintf(why, sizeof(why), "left out");
		switch (is_left_out(program, t) ? EXIT_SKIPPED : run_one(t, why, sizeof(why))) {
		case 0:
			passed++;
			printf("ok %s.%s\n", program, t->name);
			break;
		case EXIT_SKIPPED:
			skipped++;
			printf("skip %s.%s: %s\n", program, t->name, why);
			break;
		default:
			failed++;
			printf("FAIL %s.%s: %s\n", program, t->name, why);
		}
	}
	printf("%d passed, %d failed, %d skipped\n", passed, failed, skipped);
	return failed || !(passed + skipped);
}
