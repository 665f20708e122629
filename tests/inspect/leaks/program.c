// SPDX-License-Identifier: BSD-3-Clause

/*
 * Blocks that something or nothing leads to, for leaks.sh. A way keeps a block of KEPT bytes, loses
 * one of LOST, and ends the process with status 7.
 */

#include <dlfcn.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include "osmem.h"

#define KEPT 496 /* sizes of cells: reports have them */
#define LOST 480
#define STATUS 7
#define THREADS 1000

#define NOINLINE __attribute__((noinline))

/* Volatile: nothing reads them. */
static void *volatile kept;
static _Thread_local void *volatile kept_by_thread;
static const char *plugin;
static int pipe_ends[2];

/* What compilers do not leave out. */
static NOINLINE void *get(size_t size)
{
	void *volatile p = malloc(size);

	if (!p)
		exit(1);
	return memset(p, 0, size);
}

/* Overwrite what calls have left below the stack pointer. */
static NOINLINE void wipe(void)
{
	volatile char room[8192];

	for (size_t i = 0; i < sizeof(room); i++)
		room[i] = 0;
}

static NOINLINE void leaked(void)
{
	get(LOST);
}

static NOINLINE void reachable(void)
{
	kept = get(KEPT);
}

static NOINLINE void interior(void)
{
	kept = (char *)get(KEPT) + KEPT - 1;
}

/* The last word of a block leads on; two blocks lead to each other. */
static NOINLINE void chain(void)
{
	void **first = get(KEPT), **second = get(KEPT);

	first[KEPT / sizeof(void *) - 1] = second;
	*second = first;
	kept = first;
}

static NOINLINE void cycle(void)
{
	void **first = get(LOST), **second = get(LOST - 16);

	*first = second;
	*second = first;
}

static NOINLINE void behind(void)
{
	*(void **)get(LOST) = get(LOST - 16);
}

static NOINLINE void thread_local_variable(void)
{
	kept_by_thread = get(KEPT);
}

/* In a library that was loaded later: its block of thread-local variables is on the heap. */
static NOINLINE void plugin_variable(void)
{
	void *library = dlopen(plugin, RTLD_NOW);
	void **(*variable)(void);

	if (!library)
		exit(1);
	variable = (void **(*)(void))dlsym(library, "variable");
	*variable() = get(KEPT);
}

/* A page without access, in the heap: the search must not end there. */
static NOINLINE void protected_block(void)
{
	void *block;

	if (posix_memalign(&block, 4096, 4096) || mprotect(block, 4096, PROT_NONE))
		exit(1);
	kept = block;
	leaked();
}

static NOINLINE void mapped(void)
{
	void **area =
		mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	area[1000] = get(KEPT);
}

static NOINLINE void read_only(void)
{
	mapped();
	kept = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	*(void **)kept = get(KEPT);
	mprotect(kept, 4096, PROT_READ);
}

/* 128 GiB of addresses, of which two pages are in use. */
static NOINLINE void sparse(void)
{
	size_t size = (size_t)1 << 37;
	void **area = mmap(NULL, size, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (area == MAP_FAILED)
		exit(77);
	area[0] = get(KEPT);
	area[size / sizeof(void *) - 1] = get(KEPT);
}

/* ---- Sizes and heaps ---- */

static NOINLINE void large(void)
{
	get(100000);
	get(5000000);
	kept = get(100001);
	*(void **)kept = (char *)get(6000000) + 5999999;
}

/* The library must not remember the block that was resized last. */
static NOINLINE void resized(void)
{
	char *volatile p = get(5000000);

	for (int i = 1; i < 4; i++) {
		p = realloc(p, 5000000 + (size_t)i);
		memset(p, 0, 16);
	}
	p = NULL;
}

/* What a freed block leads to is lost. */
static NOINLINE void freed(void)
{
	static const size_t sizes[] = {KEPT, 100000, 5000000};

	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		kept = get(sizes[i]);
		((void **)kept)[5] = get(LOST);
		free(kept);
	}
}

static NOINLINE void course(void)
{
	void **first = os_malloc(LOST), **big = os_malloc(200000);

	kept = os_malloc(KEPT);
	*(void **)kept = get(KEPT);
	*first = get(LOST);
	*big = NULL;
}

static NOINLINE void many(void)
{
	void **list = NULL;

	for (size_t i = 0; i < 1000000; i++) {
		void **node = malloc(i % 8 * 16 + 16);

		*node = list;
		list = node;
	}
	kept = list;
	leaked();
}

static NOINLINE void sizes(void)
{
	for (size_t i = 1; i <= 40; i++)
		for (size_t n = 0; n < i; n++)
			get(i * 16);
}

/* ---- Threads ---- */

static void say_ready(void)
{
	if (write(pipe_ends[1], "", 1) != 1)
		exit(1);
}

static void wait_ready(void)
{
	char c;

	if (read(pipe_ends[0], &c, 1) != 1)
		exit(1);
}

static void start(void *(*function)(void *arg), void *arg)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, function, arg))
		exit(1);
	wait_ready();
}

static void *hold_on_stack(void *arg)
{
	void *volatile block = get(KEPT);

	(void)arg;
	wipe();
	say_ready();
	for (;;)
		pause();
	return block;
}

static void on_stack(void)
{
	start(hold_on_stack, NULL);
}

static void *hold_blocked(void *arg)
{
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, NULL);
	return hold_on_stack(arg);
}

static void on_blocked_stack(void)
{
	start(hold_blocked, NULL);
}

/* The pipe is written to while the address is in a register only. */
static void *hold_in_register(void *arg)
{
	void *block = get(KEPT);

	(void)arg;
	wipe();
	__asm__ volatile("movq %0, %%r12\n\t"
			 "xorq %0, %0\n\t"
			 "movl $1, %%eax\n\t"
			 "leaq pipe_byte(%%rip), %%rsi\n\t"
			 "movl $1, %%edx\n\t"
			 "syscall\n"
			 "1:\tpause\n\t"
			 "jmp 1b\n\t"
			 ".pushsection .rodata\n"
			 "pipe_byte: .byte 0\n\t"
			 ".popsection"
			 : "+r"(block)
			 : "D"((long)pipe_ends[1])
			 : "rax", "rcx", "rdx", "rsi", "r11", "r12", "memory");
	return block;
}

static void in_register(void)
{
	start(hold_in_register, NULL);
}

static void *hold_in_variable(void *arg)
{
	kept_by_thread = get(KEPT);
	wipe();
	say_ready();
	for (;;)
		pause();
	return arg;
}

static void in_variable(void)
{
	start(hold_in_variable, NULL);
}

static void *hold_in_plugin(void *arg)
{
	plugin_variable();
	wipe();
	say_ready();
	for (;;)
		pause();
	return arg;
}

static void in_plugin(void)
{
	start(hold_in_plugin, NULL);
}

/* Its stack, which libc keeps, still has the address. */
static void *end(void *arg)
{
	void *volatile block = get(LOST);

	kept_by_thread = block;
	return arg;
}

static void ended(void)
{
	pthread_t thread;

	pthread_create(&thread, NULL, end, NULL);
	pthread_join(thread, NULL);
}

static void *hold_and_exit(void *arg)
{
	void *volatile block = get(KEPT);

	usleep(20000); /* the main thread waits, or has ended */
	leaked();
	wipe();
	exit(block ? STATUS : *(int *)arg);
}

/* The main thread waits, with a block on its stack. */
static NOINLINE void exit_in_thread(void)
{
	void *volatile block = get(KEPT);
	pthread_t thread;

	pthread_create(&thread, NULL, hold_and_exit, NULL);
	pthread_join(thread, NULL);
	kept = block;
}

/* The search interrupts the main thread, which returns from main with another status. */
static NOINLINE void exit_while_main_pauses(void)
{
	pthread_t thread;

	pthread_create(&thread, NULL, hold_and_exit, NULL);
	pause();
	exit(0);
}

/* The main thread has ended. */
static void exit_in_last_thread(void)
{
	pthread_t thread;

	pthread_create(&thread, NULL, hold_and_exit, NULL);
	pthread_exit(NULL);
}

static void crowd(void)
{
	pthread_attr_t attributes;
	pthread_t thread;

	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, 64 << 10);
	for (int i = 0; i < THREADS; i++)
		if (pthread_create(&thread, &attributes, hold_on_stack, NULL))
			exit(77);
	for (int i = 0; i < THREADS; i++)
		wait_ready();
	leaked();
}

/* Threads that never stop to use the heap. */
static void *work(void *arg)
{
	void *blocks[64] = {NULL};

	(void)arg;
	say_ready();
	for (unsigned int i = 0;; i = i * 1103515245 + 12345) {
		void **block = &blocks[i >> 8 & 63];

		if (i >> 16 & 1)
			*block = realloc(*block, (i >> 10 & 0x3ff) + 1);
		else {
			free(*block);
			*block = malloc(i >> 10 & 0x3ffff);
		}
	}
	return arg;
}

static void busy(void)
{
	for (int i = 0; i < 8; i++)
		start(work, NULL);
	leaked();
	usleep(20000);
}

/* A coroutine on a stack that libc does not know, and one on a stack in a block. */
static ucontext_t main_context, contexts[2];

static void yield_with_block(int which)
{
	void *volatile block = get(KEPT);

	wipe();
	swapcontext(&contexts[which], &main_context);
	free(block);
}

static NOINLINE void coroutines(void)
{
	size_t size = 65536;
	void *stacks[2] = {
		mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
		malloc(size)};

	for (int i = 0; i < 2; i++) {
		getcontext(&contexts[i]);
		contexts[i].uc_stack.ss_sp = stacks[i];
		contexts[i].uc_stack.ss_size = size;
		makecontext(&contexts[i], (void (*)(void))yield_with_block, 1, i);
		swapcontext(&main_context, &contexts[i]);
	}
}

/* Only the kernel knows the stack for signal handlers. */
static void in_handler(int signal)
{
	void *volatile block = get(KEPT);

	(void)signal;
	wipe();
	exit(block ? STATUS : 0);
}

static NOINLINE void exit_in_handler(void)
{
	stack_t stack = {.ss_sp = malloc(65536), .ss_size = 65536};
	struct sigaction action = {.sa_handler = in_handler, .sa_flags = SA_ONSTACK};

	sigaltstack(&stack, NULL);
	stack.ss_sp = NULL;
	sigaction(SIGUSR1, &action, NULL);
	raise(SIGUSR1);
}

/* Without libc, all signals can be blocked. */
static void *hold_deaf(void *arg)
{
	unsigned long all = ~0UL;

	syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, NULL, sizeof(all));
	return hold_on_stack(arg);
}

static void on_deaf_stack(void)
{
	start(hold_deaf, NULL);
	leaked();
}

/* The kernel refuses the signal that stops other threads. */
static void refused_signal(void)
{
	static struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_tgkill, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {sizeof(filter) / sizeof(*filter), filter};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
		exit(77);
	start(hold_on_stack, NULL);
	leaked();
}

/* A thread that waits for a child as vfork() does cannot stop. */
static int be_child(void *arg)
{
	(void)arg;
	say_ready();
	usleep(200000);
	_exit(0);
}

static void *wait_for_child(void *arg)
{
	static char stack[65536];
	void *volatile block = get(KEPT);

	wipe();
	clone(be_child, stack + sizeof(stack), CLONE_VM | CLONE_VFORK | SIGCHLD, NULL);
	for (;;)
		pause();
	free(block);
	return arg;
}

static void in_vfork(void)
{
	start(wait_for_child, NULL);
	leaked();
}

/* ---- Exactness ---- */

#define PLACES 20000
#define SECRET 0x5555555555555555ul

static unsigned long places[PLACES]; /* addresses, which the search cannot read */

static unsigned long random_number(unsigned long *state)
{
	*state = *state * 6364136223846793005ul + 1442695040888963407ul;
	return *state >> 33;
}

/* Of all sizes, mostly small ones. */
static NOINLINE void replace(unsigned long *place, unsigned long *state)
{
	size_t size = (size_t)1 << random_number(state) % (random_number(state) % 64 ? 11 : 22);
	void *p = *place ? (void *)(*place ^ SECRET) : NULL;

	size += random_number(state) % size;
	switch (random_number(state) % 4) {
	case 0:
		free(p);
		*place = 0;
		return;
	case 1:
		p = realloc(p, size);
		break;
	default:
		free(p);
		p = random_number(state) % 2 ? malloc(size) : aligned_alloc(64, size);
	}
	if (!p)
		exit(1);
	memset(p, 0, size < 64 ? size : 64);
	*place = (unsigned long)p ^ SECRET;
}

static void *replace_many(void *arg)
{
	unsigned long state = (unsigned long)arg;
	unsigned long *first = places + PLACES / 4 * (state - 1), *place;

	for (int i = 0; i < 100000; i++) {
		place = first + random_number(&state) % (PLACES / 4);
		replace(place, &state);
	}
	return NULL;
}

/* Print how many blocks are live. All are lost. */
static void exact(void)
{
	pthread_t threads[4];
	size_t live = 0;

	for (size_t i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, replace_many, (void *)(i + 1));
	for (size_t i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	for (size_t i = 0; i < PLACES; i++)
		live += places[i] != 0;
	dprintf(STDOUT_FILENO, "%zu\n", live);
}

/* ---- Processes ---- */

/* The child has what the parent has, and what it loses itself. */
static void child(void)
{
	int status;

	reachable();
	if (fork() == 0) {
		leaked();
		wipe();
		exit(STATUS);
	}
	wait(&status);
	if (!WIFEXITED(status) || WEXITSTATUS(status) != STATUS)
		exit(1);
}

/* The child does not have the thread that held a block. */
static void child_of_threads(void)
{
	start(hold_on_stack, NULL);
	child();
}

static void at_once(void)
{
	leaked();
	_exit(STATUS);
}

static void buffered(void)
{
	leaked();
	printf("buffered");
}

static void killed(void)
{
	leaked();
	abort();
}

static void free_kept(void)
{
	free(kept);
}

/* What is freed in a handler of atexit() is no leak. */
static void late(void)
{
	kept = get(KEPT);
	atexit(free_kept);
}

static const struct way {
	const char *name;
	void (*go)(void);
} ways[] = {
	{"leaked", leaked},
	{"reachable", reachable},
	{"interior", interior},
	{"chain", chain},
	{"cycle", cycle},
	{"behind", behind},
	{"thread_local_variable", thread_local_variable},
	{"plugin_variable", plugin_variable},
	{"protected_block", protected_block},
	{"mapped", mapped},
	{"read_only", read_only},
	{"sparse", sparse},
	{"large", large},
	{"resized", resized},
	{"freed", freed},
	{"course", course},
	{"many", many},
	{"sizes", sizes},
	{"on_stack", on_stack},
	{"on_blocked_stack", on_blocked_stack},
	{"in_register", in_register},
	{"in_variable", in_variable},
	{"in_plugin", in_plugin},
	{"ended", ended},
	{"exit_in_thread", exit_in_thread},
	{"exit_while_main_pauses", exit_while_main_pauses},
	{"exit_in_last_thread", exit_in_last_thread},
	{"crowd", crowd},
	{"busy", busy},
	{"coroutines", coroutines},
	{"exit_in_handler", exit_in_handler},
	{"on_deaf_stack", on_deaf_stack},
	{"refused_signal", refused_signal},
	{"in_vfork", in_vfork},
	{"exact", exact},
	{"child", child},
	{"child_of_threads", child_of_threads},
	{"at_once", at_once},
	{"buffered", buffered},
	{"killed", killed},
	{"late", late},
};

int main(int argc, char **argv)
{
	plugin = argc > 2 ? argv[2] : NULL;
	if (pipe(pipe_ends))
		return 1;
	for (size_t i = 0; i < sizeof(ways) / sizeof(*ways); i++)
		if (argc > 1 && strcmp(argv[1], ways[i].name) == 0) {
			ways[i].go();
			wipe();
			return STATUS;
		}
	return 2;
}
