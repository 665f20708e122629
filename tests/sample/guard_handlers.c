// SPDX-License-Identifier: BSD-3-Clause
// Needs: objects

/*
 * Programs that handle SIGSEGV see what they would see without guarded blocks. Each scenario runs
 * without them; with them from its start; and with them from the middle, where it calls middle().
 * It must say and do the same.
 */

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>

#include "compat.h"
#include "guard_common.h"

#define SAID (8 * KIB)

extern sighandler_t __sysv_signal(int number, sighandler_t handler);

/* Faults come from known places only. NOLINTBEGIN(bugprone-signal-handler) */

/* ---- Running a scenario ---- */

enum way {
	WITHOUT,
	FROM_START,
	FROM_MIDDLE
};

struct run {
	void (*scenario)(void);
	enum way way;
};

static struct run run;

static void middle(void)
{
	if (run.way == FROM_MIDDLE)
		guards_begin();
}

static __attribute__((format(printf, 1, 2))) void say(const char *format, ...)
{
	char text[256];
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (write(STDERR_FILENO, text, (size_t)n) != n)
		_exit(99);
}

static void start(void *arg)
{
	run = *(struct run *)arg;
	if (run.way == FROM_START)
		guards_begin();
	run.scenario();
	say("the end\n");
	_exit(3);
}

static void expect_same(void (*scenario)(void))
{
	static char plain[SAID], said[SAID];
	int status = test_in_child(start, &(struct run){scenario, WITHOUT}, plain, sizeof(plain));

	CHECK_MSG(*plain, "the scenario says nothing and %s", test_ending(status));
	for (enum way way = FROM_START; way <= FROM_MIDDLE; way++) {
		int other = test_in_child(start, &(struct run){scenario, way}, said, sizeof(said));

		CHECK_MSG(strcmp(plain, said) == 0, "way %d: said \"%s\", not \"%s\"", way, said,
			  plain);
		CHECK_MSG(status == other, "way %d: ended with %x, not %x", way, other, status);
	}
}

/* ---- What scenarios do and see ---- */

static volatile char sink;
static sigjmp_buf back;
static char *page; /* inaccessible */

static void fault(void)
{
	if (!page) {
		page = mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		CHECK(page != MAP_FAILED);
	}
	sink = page[5];
}

static uint64_t mask_now(void)
{
	uint64_t mask = 0;

	syscall(SYS_rt_sigprocmask, SIG_SETMASK, NULL, &mask, sizeof(mask));
	return mask;
}

static void say_action(const char *what, const struct sigaction *action)
{
	uintptr_t restorer = 0; /* not every C library fills it in */
	uint64_t mask;

#ifdef __GLIBC__
	restorer = (uintptr_t)action->sa_restorer;
#endif
	memcpy(&mask, &action->sa_mask, sizeof(mask));
	say("%s: handler %lx, mask %lx, flags %x, restorer %lx\n", what,
	    (unsigned long)(uintptr_t)action->sa_handler, mask, action->sa_flags,
	    (unsigned long)restorer);
}

static void query(const char *what)
{
	struct sigaction action;

	memset(&action, 1, sizeof(action));
	CHECK(sigaction(SIGSEGV, NULL, &action) == 0);
	say_action(what, &action);
}

static void set_action(void (*handler)(int, siginfo_t *, void *), int flags)
{
	struct sigaction action = {.sa_sigaction = handler, .sa_flags = flags}, old;

	sigaddset(&action.sa_mask, SIGUSR2);
	memset(&old, 1, sizeof(old));
	CHECK(sigaction(SIGSEGV, &action, &old) == 0);
	say_action("set", &old);
}

static char alternate[64 * KIB];

static void use_alternate(size_t size)
{
	stack_t stack = {.ss_sp = alternate, .ss_size = size};

	CHECK(sigaltstack(&stack, NULL) == 0);
}

/* Everything that a handler can see, but for the exact depth of its stack. */
static void look(int number, siginfo_t *info, void *context)
{
	const ucontext_t *c = context;
	char *here = __builtin_frame_address(0);
	stack_t stack;

	sigaltstack(NULL, &stack);
	say("handler: %d, code %d, page %d, mask %lx, old mask %lx, alternate %d, flags %d\n",
	    number, info->si_code, info->si_addr == page + 5, mask_now(),
	    *(const unsigned long *)&c->uc_sigmask,
	    here >= alternate && here < alternate + sizeof(alternate), stack.ss_flags);
}

/* An unwinder must find the kernel's frame behind the handler's. */
static __attribute__((noinline)) void look_and_open(int number, siginfo_t *info, void *context)
{
	struct sigaction action;

	sigaction(SIGSEGV, NULL, &action);
	say("returns to the restorer: %d\n",
	    __builtin_return_address(0) == (void *)action.sa_restorer);
	look(number, info, context);
	mprotect(page, PAGE, PROT_READ);
}

static void look_and_jump(int number, siginfo_t *info, void *context)
{
	look(number, info, context);
	siglongjmp(back, 1);
}

/* ---- Scenarios ---- */

static void queries(void)
{
	query("default");
	middle();
	query("default");
	set_action(look, SA_SIGINFO | SA_ONSTACK | SA_RESTART | SA_NODEFER);
	query("all flags");
	signal(SIGSEGV, SIG_IGN);
	query("ignored");
	signal(SIGSEGV, SIG_DFL);
	query("default");
}

TEST(queries)
{
	expect_same(queries);
}

static void mends(void)
{
	set_action(look_and_open, SA_SIGINFO);
	middle();
	for (int i = 0; i < 20; i++) {
		fault();
		mprotect(page, PAGE, PROT_NONE);
	}
	query("after");
}

TEST(a_handler_that_mends)
{
	expect_same(mends);
}

static void jumps(void)
{
	use_alternate(sizeof(alternate));
	set_action(look_and_jump, SA_SIGINFO | SA_ONSTACK);
	middle();
	for (volatile int i = 0; i < 20; i++) {
		if (!sigsetjmp(back, 1))
			fault();
		say("mask %lx\n", mask_now());
	}
}

TEST(a_handler_that_jumps)
{
	expect_same(jumps);
}

static void once(void)
{
	set_action(look_and_open, SA_SIGINFO | (int)SA_RESETHAND);
	middle();
	fault();
	query("after");
	set_action(look_and_open, SA_SIGINFO | (int)SA_RESETHAND | SA_NODEFER);
	mprotect(page, PAGE, PROT_NONE);
	fault();
	query("after");
	mprotect(page, PAGE, PROT_NONE);
	fault();
}

TEST(a_handler_that_runs_once)
{
	expect_same(once);
}

static void look_nested(int number, siginfo_t *info, void *context)
{
	static int depth;

	look(number, info, context);
	if (++depth < 3)
		fault();
	mprotect(page, PAGE, PROT_READ);
}

static void nested(void)
{
	set_action(look_nested, SA_SIGINFO | SA_NODEFER);
	middle();
	fault();
}

TEST(a_handler_that_faults)
{
	expect_same(nested);
}

static void nested_blocked(void)
{
	set_action(look_nested, SA_SIGINFO);
	middle();
	fault();
}

TEST(a_handler_that_faults_while_it_is_blocked)
{
	expect_same(nested_blocked);
}

static void simple(int number)
{
	say("simple %d, mask %lx\n", number, mask_now());
	mprotect(page, PAGE, PROT_READ);
}

static void say_old(sighandler_t old)
{
	say("old %lx\n", (unsigned long)(uintptr_t)old);
}

static void by_signal(void)
{
	say_old(signal(SIGSEGV, simple));
	middle();
	query("signal");
	fault();
	mprotect(page, PAGE, PROT_NONE);
	fault();
	mprotect(page, PAGE, PROT_NONE);
	say_old(__sysv_signal(SIGSEGV, simple));
	query("sysv_signal");
	fault();
	query("after");
	say_old(compat_signal(SIGSEGV, simple)); /* passes by */
	query("signal of libc");
	raise(SIGSEGV);
	say_old(signal(SIGSEGV, SIG_IGN));
	say_old(signal(SIGSEGV, SIG_DFL));
	say_old(signal(SIGKILL, simple));
	say_old(signal(1000, simple));
	say_old(__sysv_signal(SIGKILL, simple));
	say_old(__sysv_signal(SIGUSR1, SIG_ERR));
	say_old(__sysv_signal(SIGUSR1, simple));
	say_old(signal(SIGUSR1, SIG_DFL));
	say("%d\n", errno);
}

TEST(signal_and_its_relatives)
{
	expect_same(by_signal);
}

static void say_sent(int number, siginfo_t *info, void *context)
{
	(void)context;
	say("sent %d, code %d, value %d, by us: %d\n", number, info->si_code,
	    info->si_value.sival_int, info->si_pid == getpid());
}

static void sent(void)
{
	set_action(say_sent, SA_SIGINFO);
	middle();
	kill(getpid(), SIGSEGV);
	sigqueue(getpid(), SIGSEGV, (union sigval){.sival_int = 77});
	signal(SIGSEGV, SIG_IGN);
	kill(getpid(), SIGSEGV);
	say("ignored\n");
	signal(SIGSEGV, SIG_DFL);
	kill(getpid(), SIGSEGV);
}

TEST(signals_that_are_sent)
{
	expect_same(sent);
}

static void sent_by_default(void)
{
	say("here\n");
	middle();
	raise(SIGSEGV);
}

TEST(a_signal_that_is_sent_without_a_handler)
{
	expect_same(sent_by_default);
}

/* Nobody faulted: a general protection fault has no address. */
static void not_canonical(void)
{
	say("here\n");
	middle();
	sink = *(volatile char *)0x8000000000000000;
}

TEST(an_impossible_address)
{
	expect_same(not_canonical);
}

static void ignored(void)
{
	signal(SIGSEGV, SIG_IGN);
	middle();
	say("here\n");
	fault();
}

TEST(a_fault_that_is_ignored)
{
	expect_same(ignored);
}

static void blocked(void)
{
	sigset_t all;

	set_action(look, SA_SIGINFO);
	middle();
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	fault();
}

TEST(a_fault_that_is_blocked)
{
	expect_same(blocked);
}

/* A library saves the old action, and calls and restores it. */
static struct sigaction saved, *in_place = &saved;

static void chain(int number, siginfo_t *info, void *context)
{
	say("chain\n");
	saved.sa_sigaction(number, info, context);
}

static void chained(void)
{
	struct sigaction action = {.sa_sigaction = chain, .sa_flags = SA_SIGINFO};

	set_action(look_and_open, SA_SIGINFO);
	middle();
	CHECK(sigaction(SIGSEGV, &action, &saved) == 0);
	fault();
	mprotect(page, PAGE, PROT_NONE);
	CHECK(sigaction(SIGSEGV, &saved, &action) == 0);
	say_action("chain", &action);
	fault();
	mprotect(page, PAGE, PROT_NONE);
	CHECK(sigaction(SIGSEGV, &saved, in_place) == 0);
	fault();
}

TEST(handlers_in_a_chain)
{
	expect_same(chained);
}

static void wrong(void)
{
	struct sigaction action = {.sa_handler = SIG_DFL};

	middle();
	say("%d %d\n", sigaction(SIGKILL, &action, NULL), errno);
	say("%d %d\n", sigaction(0, &action, NULL), errno);
	say("%d %d\n", sigaction(SIGRTMAX + 1, NULL, &action), errno);
	say("%d\n", sigaction(SIGSEGV, NULL, NULL));
	say("%d\n", sigaction(SIGUSR1, NULL, &action));
	say_action("another", &action);
}

TEST(wrong_arguments)
{
	expect_same(wrong);
}

/* ---- Children ---- */

static void say_status(const char *what, int status)
{
	say("%s: %x\n", what, status);
}

static __attribute__((noinline, noreturn)) void end_in_vfork(void)
{
	struct sigaction action = {.sa_handler = SIG_DFL};

	sigaction(SIGSEGV, &action, NULL);
	raise(SIGSEGV);
	_exit(1);
}

static void children(void)
{
	int status;
	pid_t pid;

	set_action(look_and_open, SA_SIGINFO);
	middle();
	pid = fork();
	if (pid == 0) {
		fault();
		signal(SIGSEGV, SIG_DFL);
		mprotect(page, PAGE, PROT_NONE);
		fault();
	}
	CHECK(waitpid(pid, &status, 0) == pid);
	say_status("fork", status);
	say_status("system", system("kill -SEGV $$"));
	pid = vfork();
	if (pid == 0)
		end_in_vfork(); // NOLINT(clang-analyzer-unix.Vfork)
	CHECK(waitpid(pid, &status, 0) == pid);
	say_status("vfork", status);
	query("after vfork");
	fault();
	signal(SIGSEGV, SIG_IGN);
	say_status("system, ignored", system("kill -SEGV $$; exit 8"));
}

TEST(children)
{
	expect_same(children);
}

/* ---- Stacks ---- */

static __attribute__((noinline)) int overflow_stack(volatile int *depth)
{
	volatile char room[4096];

	room[0] = (char)++*depth;
	if (*depth < 0)
		return 0;
	return overflow_stack(depth) + room[0];
}

static void overflows(void)
{
	struct rlimit limit = {.rlim_cur = MIB, .rlim_max = MIB};
	volatile int depth = 0;

	CHECK(setrlimit(RLIMIT_STACK, &limit) == 0);
	middle();
	say("here\n");
	overflow_stack(&depth);
}

TEST(a_stack_overflow_without_a_handler)
{
	expect_same(overflows);
}

static void overflows_handled(void)
{
	use_alternate(sizeof(alternate));
	set_action(look_and_jump, SA_SIGINFO | SA_ONSTACK);
	if (!sigsetjmp(back, 1))
		overflows();
	say("survived\n");
}

TEST(a_stack_overflow_with_a_handler)
{
	expect_same(overflows_handled);
}

static void *fault_in_thread(void *arg)
{
	(void)arg;
	fault();
	mprotect(page, PAGE, PROT_NONE);
	return NULL;
}

static void threads(void)
{
	pthread_t thread;

	set_action(look_and_open, SA_SIGINFO);
	middle();
	for (int i = 0; i < 10; i++) {
		CHECK(pthread_create(&thread, NULL, fault_in_thread, NULL) == 0);
		pthread_join(thread, NULL);
	}
}

TEST(threads_that_fault)
{
	expect_same(threads);
}

/* NOLINTEND(bugprone-signal-handler) */
