// SPDX-License-Identifier: BSD-3-Clause

#include "tracer.h"

#include "harness.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define SYSCALL_STOP (SIGTRAP | 0x80) /* how PTRACE_O_TRACESYSGOOD marks them */
#define TEXT_SIZE 4096

/* Shared by the traced test, which moves recording, and its tracer, which writes the rest. */
struct trace_log {
	volatile int recording;
	volatile size_t count; /* of all; those beyond TRACE_LOG_SIZE are only counted */
	struct trace_entry entries[TRACE_LOG_SIZE];
};

static struct trace_log *trace_log;

static void record_entry(const struct __ptrace_syscall_info *info)
{
	struct trace_entry *e;

	if (trace_log->count++ >= TRACE_LOG_SIZE)
		return;
	e = &trace_log->entries[trace_log->count - 1];
	e->nr = info->entry.nr;
	for (int i = 0; i < 6; i++)
		e->args[i] = info->entry.args[i];
	e->result = 0;
}

static void record_exit(const struct __ptrace_syscall_info *info)
{
	if (trace_log->count > 0 && trace_log->count <= TRACE_LOG_SIZE)
		trace_log->entries[trace_log->count - 1].result = info->exit.rval;
}

static void record(pid_t pid)
{
	struct __ptrace_syscall_info info;

	if (ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof(info), &info) < 0)
		test_skip("the kernel lacks PTRACE_GET_SYSCALL_INFO");
	if (!trace_log->recording)
		return;
	if (info.op == PTRACE_SYSCALL_INFO_ENTRY)
		record_entry(&info);
	else if (info.op == PTRACE_SYSCALL_INFO_EXIT)
		record_exit(&info);
}

/* Follow pid, which has stopped itself, until it ends; its wait status. */
static int follow(pid_t pid)
{
	int status, sig = 0;

	ptrace(PTRACE_SETOPTIONS, pid, NULL, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL);
	for (;;) {
		ptrace(PTRACE_SYSCALL, pid, NULL, sig);
		if (waitpid(pid, &status, 0) != pid)
			test_fail(__FILE__, __LINE__, "lost the traced test: %s", strerror(errno));
		if (!WIFSTOPPED(status))
			return status;
		sig = WSTOPSIG(status);
		if (sig != SYSCALL_STOP)
			continue; /* a signal, which the test is to have */
		record(pid);
		sig = 0;
	}
}

static void end_as(int status)
{
	if (WIFEXITED(status))
		_exit(WEXITSTATUS(status));
	signal(WTERMSIG(status), SIG_DFL);
	raise(WTERMSIG(status));
	_exit(1);
}

void trace_self(void)
{
	int status;
	pid_t pid;

	trace_log = mmap(NULL, sizeof(*trace_log), PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (trace_log == MAP_FAILED)
		test_fail(__FILE__, __LINE__, "no memory for the log");
	pid = fork();
	if (pid < 0)
		test_fail(__FILE__, __LINE__, "fork failed");
	if (pid == 0) {
		if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
			test_skip("tracing is not permitted: %s", strerror(errno));
		raise(SIGSTOP);
		return;
	}
	if (waitpid(pid, &status, 0) != pid)
		test_fail(__FILE__, __LINE__, "waitpid failed");
	if (WIFSTOPPED(status))
		status = follow(pid);
	end_as(status);
}

void trace_begin(void)
{
	trace_log->count = 0;
	trace_log->recording = 1;
}

void trace_end(void)
{
	trace_log->recording = 0;
}

size_t trace_count(void)
{
	return trace_log->count;
}

const struct trace_entry *trace_entry(size_t i)
{
	return &trace_log->entries[i];
}

static size_t logged(void)
{
	return trace_log->count < TRACE_LOG_SIZE ? trace_log->count : TRACE_LOG_SIZE;
}

size_t trace_count_of(long nr)
{
	size_t count = 0;

	for (size_t i = 0; i < logged(); i++)
		if (trace_log->entries[i].nr == (uint64_t)nr)
			count++;
	return count;
}

size_t trace_count_others(void)
{
	static const long memory[] = {SYS_brk, SYS_mmap, SYS_munmap, SYS_mremap, SYS_madvise};
	size_t count = trace_count();

	for (size_t i = 0; i < sizeof(memory) / sizeof(memory[0]); i++)
		count -= trace_count_of(memory[i]);
	return count;
}

static int print_call(char *s, size_t size, const struct trace_entry *e)
{
	const uint64_t *a = e->args;

	switch ((long)e->nr) {
	case SYS_brk:
		return snprintf(s, size, "brk(0x%" PRIx64 ")", a[0]);
	case SYS_mmap:
		return snprintf(s, size,
				"mmap(0x%" PRIx64 ", %" PRIu64 ", %#x, %#x, %d, %" PRIu64 ")", a[0],
				a[1], (int)a[2], (int)a[3], (int)a[4], a[5]);
	case SYS_munmap:
		return snprintf(s, size, "munmap(%#" PRIx64 ", %" PRIu64 ")", a[0], a[1]);
	case SYS_mremap:
		return snprintf(s, size, "mremap(%#" PRIx64 ", %" PRIu64 ", %" PRIu64 ", %#x)",
				a[0], a[1], a[2], (int)a[3]);
	case SYS_madvise:
		return snprintf(s, size, "madvise(%#" PRIx64 ", %" PRIu64 ", %d)", a[0], a[1],
				(int)a[2]);
	default:
		return snprintf(s, size, "syscall %" PRIu64, e->nr);
	}
}

/* An address in hexadecimal, 0 and errors in decimal. */
static int print_result(char *s, size_t size, int64_t result)
{
	if (result > 0)
		return snprintf(s, size, " = %#" PRIx64, (uint64_t)result);
	return snprintf(s, size, " = %" PRId64, result);
}

const char *trace_text(void)
{
	static char text[TEXT_SIZE];
	size_t n = 0;

	text[0] = '\0';
	for (size_t i = 0; i < logged() && n < sizeof(text) - 256; i++) {
		if (i > 0)
			n += (size_t)snprintf(text + n, sizeof(text) - n, "; ");
		n += (size_t)print_call(text + n, sizeof(text) - n, trace_entry(i));
		n += (size_t)print_result(text + n, sizeof(text) - n, trace_entry(i)->result);
	}
	return text;
}

void trace_expect(const char *file, int line, const char *fmt, ...)
{
	char want[TEXT_SIZE];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(want, sizeof(want), fmt, ap);
	va_end(ap);
	if (strcmp(trace_text(), want) != 0)
		test_fail(file, line, "system calls \"%s\", not \"%s\"", trace_text(), want);
}
