// SPDX-License-Identifier: BSD-3-Clause
// Needs: objects

/*
 * What follows a report: the program's handler or the default action, on whatever stack, in
 * whatever process.
 */

#include <elf.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "guard_common.h"
#include "registers.h"

#define SAID (32 * KIB)

static volatile char sink;
static char said[SAID];

static __attribute__((noinline)) void read_byte(void *p)
{
	sink = *(volatile char *)p;
}

static char *freed_block(void)
{
	char *p;

	guards_begin();
	p = guarded(100);
	free(p);
	return p;
}

/* The report has its three stacks and is not cut off. */
static void expect_report(void)
{
	const char *freed = strstr(said, "osmem: the block was freed in thread ");

	CHECK_MSG(strncmp(said, "osmem: use after free: a read at ", 33) == 0, "said \"%s\"", said);
	CHECK_MSG(strstr(said, "osmem: the access was in thread ") && freed &&
			  strstr(freed, "osmem:   #0 "),
		  "said \"%s\"", said);
	CHECK(said[strlen(said) - 1] == '\n');
}

static int run_child(void (*body)(void *p), void *p)
{
	return test_in_child(body, p, said, sizeof(said));
}

/* ---- The program's handler ---- */

static char *block;

static void check_and_exit(int number, siginfo_t *info, void *context)
{
	bool is_right = number == SIGSEGV && info->si_code == SEGV_ACCERR &&
			info->si_addr == block && errno == 12345 &&
			registers_interrupted(context).pc;

	syscall(SYS_exit_group, is_right ? 7 : 8);
}

/* The dynamic linker binds what the handler calls here: that takes 3 KiB of stack. */
static void set_handler(int flags)
{
	struct sigaction action = {.sa_sigaction = check_and_exit, .sa_flags = flags | SA_SIGINFO};

	CHECK(sigaction(SIGSEGV, &action, NULL) == 0 && syscall(SYS_getpid) > 0);
}

static void handled(void *p)
{
	set_handler(0);
	errno = 12345;
	read_byte(p);
}

TEST(the_programs_handler_runs_after_a_report)
{
	int status;

	block = freed_block();
	status = run_child(handled, block);
	CHECK_MSG(WIFEXITED(status) && WEXITSTATUS(status) == 7, "it %s", test_ending(status));
	expect_report();
}

/* ---- Small stacks ---- */

/* As small as the kernel takes it, and a KiB. */
static void on_small_alternate(void *p)
{
	size_t size = getauxval(AT_MINSIGSTKSZ) + 1024;
	char *at =
		mmap(NULL, 16 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	stack_t stack = {.ss_size = size < 2048 ? 2048 : size};

	CHECK(at != MAP_FAILED && mprotect(at, 4 * PAGE, PROT_NONE) == 0);
	stack.ss_sp = at + 4 * PAGE;
	CHECK(sigaltstack(&stack, NULL) == 0);
	set_handler(SA_ONSTACK);
	errno = 12345;
	read_byte(p);
}

TEST(a_report_on_a_small_alternate_stack)
{
	int status;

	block = freed_block();
	status = run_child(on_small_alternate, block);
	CHECK_MSG(WIFEXITED(status) && WEXITSTATUS(status) == 7, "it %s: %s", test_ending(status),
		  said);
	expect_report();
}

static void *read_deep(void *p)
{
	volatile char room[6 * KIB]; /* of 16 KiB, of which libc uses some */

	room[0] = 1;
	errno = 12345;
	read_byte(p);
	return (void *)(uintptr_t)room[0];
}

static void in_small_thread(void *p)
{
	pthread_attr_t attr;
	pthread_t thread;

	set_handler(0);
	CHECK(pthread_attr_init(&attr) == 0 && pthread_attr_setstacksize(&attr, 16 * KIB) == 0);
	CHECK(pthread_create(&thread, &attr, read_deep, p) == 0);
	pthread_join(thread, NULL);
}

TEST(a_report_on_a_small_stack)
{
	int status;

	block = freed_block();
	status = run_child(in_small_thread, block);
	CHECK_MSG(WIFEXITED(status) && WEXITSTATUS(status) == 7, "it %s: %s", test_ending(status),
		  said);
	expect_report();
}

/* ---- The default action ---- */

struct stop {
	unsigned long registers[64]; /* all there are */
	uintptr_t address;
	int number;
};

static struct stop next_stop(pid_t pid, int deliver)
{
	struct stop stop = {0};
	struct iovec registers = {stop.registers, sizeof(stop.registers)};
	siginfo_t info;
	int status;

	CHECK(ptrace(PTRACE_CONT, pid, NULL, (void *)(uintptr_t)deliver) == 0);
	CHECK(waitpid(pid, &status, 0) == pid);
	if (!WIFSTOPPED(status))
		return (struct stop){.number = WIFSIGNALED(status) ? -WTERMSIG(status) : 0};
	CHECK(ptrace(PTRACE_GETREGSET, pid, (void *)NT_PRSTATUS, &registers) == 0);
	CHECK(ptrace(PTRACE_GETSIGINFO, pid, NULL, &info) == 0);
	stop.address = (uintptr_t)info.si_addr;
	stop.number = WSTOPSIG(status);
	return stop;
}

/* So a core has the registers, the stack and the signal of the fault. */
TEST(the_process_ends_at_the_instruction)
{
	struct stop first, second, third;
	char *p = freed_block();
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		close(STDERR_FILENO);
		if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
			_exit(9);
		raise(SIGSTOP);
		read_byte(p);
		_exit(1);
	}
	CHECK(waitpid(pid, &status, 0) == pid);
	if (!WIFSTOPPED(status))
		test_skip("ptrace is not allowed");
	first = next_stop(pid, 0);
	CHECK(first.number == SIGSEGV && first.address == (uintptr_t)p);
	second = next_stop(pid, SIGSEGV);
	CHECK(second.number == SIGSEGV && second.address == (uintptr_t)p);
	CHECK(memcmp(second.registers, first.registers, sizeof(first.registers)) == 0);
	third = next_stop(pid, SIGSEGV);
	CHECK_MSG(third.number == -SIGSEGV, "%d", third.number);
}

TEST(the_status_is_that_of_the_signal)
{
	int status;

	block = freed_block();
	status = run_child(read_byte, block);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
	expect_report();
}

/* ---- Processes ---- */

/* A child inherits blocks, live and freed, and goes on with them alone. */
static void use_in_child(void *p)
{
	char *q[GUARD_SLOTS - 1];

	memset(p, 1, 100);
	for (int round = 0; round < 3; round++) {
		for (size_t i = 0; i < COUNT_OF(q); i++)
			memset(q[i] = guarded(200), 2, 200);
		CHECK(!guard_alloc(1, 16));
		for (size_t i = 0; i < COUNT_OF(q); i++)
			free(q[i]);
	}
	free(p);
	CHECK(!guard_check());
	read_byte(p);
}

TEST(a_child_has_its_own_blocks)
{
	char *p;

	guards_begin();
	p = guarded(100);
	memset(p, 7, 100);
	for (int i = 0; i < 3; i++) {
		int status = run_child(use_in_child, p);

		CHECK_MSG(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV, "it %s: %s",
			  test_ending(status), said);
		expect_report();
		CHECK(is_all(p, 100, 7) && !guard_check());
	}
	free(p);
}

static void read_in_vfork(void *p)
{
	pid_t pid = vfork();
	int status;

	if (pid == 0) {
		read_byte(p); // NOLINT(clang-analyzer-unix.Vfork)
		_exit(1);
	}
	CHECK(waitpid(pid, &status, 0) == pid);
	_exit(WIFSIGNALED(status) ? WTERMSIG(status) : 99);
}

static void read_in_bare_fork(void *p)
{
	pid_t pid = _Fork();
	int status;

	if (pid == 0) {
		read_byte(p);
		_exit(1);
	}
	CHECK(waitpid(pid, &status, 0) == pid);
	_exit(WIFSIGNALED(status) ? WTERMSIG(status) : 99);
}

TEST(faults_in_children_of_other_kinds)
{
	void (*kinds[])(void *p) = {read_in_vfork, read_in_bare_fork};
	char *p = freed_block();

	for (size_t i = 0; i < COUNT_OF(kinds); i++) {
		int status = run_child(kinds[i], p);

		CHECK_MSG(WIFEXITED(status) && WEXITSTATUS(status) == SIGSEGV, "it %s: %s",
			  test_ending(status), said);
		expect_report();
	}
}

#define WORKERS 3
#define FORKS 100

static atomic_bool is_over;

static void *work(void *arg)
{
	uint64_t state = (uintptr_t)arg;
	char *p[8] = {0};

	while (!is_over) {
		size_t i = random_below(&state, COUNT_OF(p)), size = random_below(&state, 6000);

		free(p[i]);
		p[i] = guard_alloc(size, 16);
		if (p[i])
			memset(p[i], 5, size);
		sigaction(SIGSEGV, NULL, &(struct sigaction){0});
	}
	for (size_t i = 0; i < COUNT_OF(p); i++)
		free(p[i]);
	return NULL;
}

/* At most one slot for each thread that the child has not. */
static void check_child(pid_t *grandchild)
{
	char *p[GUARD_SLOTS];
	size_t n = 0;

	alarm(20 * test_patience());
	*grandchild = fork(); /* overlaps with the parent's next */
	while (n < GUARD_SLOTS && (p[n] = guard_alloc(100, 16)))
		n++;
	if (n < GUARD_SLOTS - WORKERS * 9)
		_exit(10);
	while (n > 0)
		free(p[--n]);
	signal(SIGSEGV, SIG_DFL);
	_exit(0);
}

TEST(forks_at_any_moment)
{
	pthread_t threads[WORKERS];
	int status;
	pid_t pid, grandchild;

	guards_begin();
	for (size_t i = 0; i < WORKERS; i++)
		CHECK(pthread_create(&threads[i], NULL, work, (void *)(i + 1)) == 0);
	for (int i = 0; i < FORKS; i++) {
		pid = fork();
		CHECK(pid >= 0);
		if (pid == 0)
			check_child(&grandchild);
		CHECK(waitpid(pid, &status, 0) == pid);
		CHECK_MSG(status == 0, "it %s", test_ending(status));
	}
	is_over = true;
	for (size_t i = 0; i < WORKERS; i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
	CHECK_MSG(!guard_check(), "%s", guard_check());
	/* Nothing was lost. */
	for (size_t i = 0; i < GUARD_SLOTS; i++)
		guarded(100);
}
