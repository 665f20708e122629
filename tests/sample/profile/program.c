// SPDX-License-Identifier: BSD-3-Clause

/*
 * Allocates in a function for each scenario, known_SCENARIO, which call_SCENARIO calls: once, and
 * BASE bytes plus the number of the scenario. Nothing of that is freed. The argument is plugin.so.
 */

#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#define BASE 10000

static void *(*volatile allocate)(size_t size) = malloc;
static void *volatile kept[100];

/* A function that does something after its last call has a frame at that call. */
#define STAY() __asm__ volatile("")

#define SCENARIO(name, number)                                                                     \
	void known_##name(void) __attribute__((noinline));                                         \
	void call_##name(void) __attribute__((noinline));                                          \
	void known_##name(void)                                                                    \
	{                                                                                          \
		kept[number] = allocate(BASE + (number));                                          \
		STAY();                                                                            \
	}                                                                                          \
	void call_##name(void)                                                                     \
	{                                                                                          \
		known_##name();                                                                    \
		STAY();                                                                            \
	}

SCENARIO(main, 1)
SCENARIO(handler, 2)
SCENARIO(thread, 3)
SCENARIO(end, 4)
SCENARIO(coroutine, 5)
SCENARIO(loading, 6)
SCENARIO(child, 7)
SCENARIO(exit, 8)

static void handle(int signal)
{
	(void)signal;
	call_handler();
}

static pthread_key_t key;

static void destroy(void *value)
{
	(void)value;
	call_end();
}

static void *in_thread(void *arg)
{
	pthread_setspecific(key, &key);
	call_thread();
	return arg;
}

static void run_thread(void)
{
	size_t size = 16 << 10;
	void *stack = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	pthread_attr_t attr;
	pthread_t thread;

	pthread_key_create(&key, destroy);
	if (stack == MAP_FAILED || pthread_attr_init(&attr) ||
	    pthread_attr_setstack(&attr, stack, size) ||
	    pthread_create(&thread, &attr, in_thread, NULL) || pthread_join(thread, NULL))
		abort();
}

static void run_coroutine(void)
{
	static ucontext_t here, there;
	static char stack[32 << 10];

	getcontext(&there);
	there.uc_stack.ss_sp = stack;
	there.uc_stack.ss_size = sizeof(stack);
	there.uc_link = &here;
	makecontext(&there, call_coroutine, 0);
	swapcontext(&here, &there);
}

/* The constructor of the plugin waits for this. */
static pthread_barrier_t both;

void plugin_is_loading(void);

void plugin_is_loading(void)
{
	pthread_barrier_wait(&both);
	pthread_barrier_wait(&both);
}

static void *load(void *plugin)
{
	if (!dlopen(plugin, RTLD_NOW))
		abort();
	return NULL;
}

/* While a thread has the loader's lock, and after it has allocated under that. */
static void run_beside_loader(char *plugin)
{
	pthread_t thread;

	if (pthread_barrier_init(&both, NULL, 2) || pthread_create(&thread, NULL, load, plugin))
		abort();
	pthread_barrier_wait(&both);
	call_loading();
	pthread_barrier_wait(&both);
	pthread_join(thread, NULL);
}

/* With %p in the name of the file, the child has a profile of its own. */
static void run_child(void)
{
	pid_t child = fork();

	if (child == 0) {
		call_child();
		exit(0);
	}
	waitpid(child, NULL, 0);
}

int main(int argc, char **argv)
{
	call_main();
	signal(SIGUSR1, handle);
	raise(SIGUSR1);
	run_thread();
	run_coroutine();
	if (argc > 1)
		run_beside_loader(argv[1]);
	run_child();
	atexit(call_exit);
	return 0;
}
