// SPDX-License-Identifier: BSD-3-Clause

/* Ways with threads, their stacks and registers, and with signals: see program.c. */

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "ways.h"

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

void start(void *(*function)(void *arg), void *arg)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, function, arg))
		exit(1);
	wait_ready();
}

void *hold_on_stack(void *arg)
{
	void *volatile block = get(KEPT);

	(void)arg;
	wipe();
	say_ready();
	for (;;)
		pause();
	return block;
}

void on_stack(void)
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

void on_blocked_stack(void)
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

void in_register(void)
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

void in_variable(void)
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

void in_plugin(void)
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

void ended(void)
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
NOINLINE void exit_in_thread(void)
{
	void *volatile block = get(KEPT);
	pthread_t thread;

	pthread_create(&thread, NULL, hold_and_exit, NULL);
	pthread_join(thread, NULL);
	kept = block;
}

/* The search interrupts the main thread, which returns from main with another status. */
NOINLINE void exit_while_main_pauses(void)
{
	pthread_t thread;

	pthread_create(&thread, NULL, hold_and_exit, NULL);
	pause();
	exit(0);
}

/* The main thread has ended. */
void exit_in_last_thread(void)
{
	pthread_t thread;

	pthread_create(&thread, NULL, hold_and_exit, NULL);
	pthread_exit(NULL);
}

void crowd(void)
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

void busy(void)
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

NOINLINE void coroutines(void)
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

NOINLINE void exit_in_handler(void)
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

void on_deaf_stack(void)
{
	start(hold_deaf, NULL);
	leaked();
}

/* The kernel refuses the signal that stops other threads. */
void refused_signal(void)
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

void in_vfork(void)
{
	start(wait_for_child, NULL);
	leaked();
}
