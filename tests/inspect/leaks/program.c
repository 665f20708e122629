// SPDX-License-Identifier: BSD-3-Clause

/*
 * Blocks that something or nothing leads to, for leaks.sh. A way keeps a block of KEPT bytes, loses
 * one of LOST, and ends the process with status 7.
 */

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "osmem.h"
#include "ways.h"

void *volatile kept;
_Thread_local void *volatile kept_by_thread;
static const char *plugin;
int pipe_ends[2];

NOINLINE void *get(size_t size)
{
	void *volatile p = malloc(size);

	if (!p)
		exit(1);
	return memset(p, 0, size);
}

NOINLINE void wipe(void)
{
	volatile char room[8192];

	for (size_t i = 0; i < sizeof(room); i++)
		room[i] = 0;
}

NOINLINE void leaked(void)
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
NOINLINE void plugin_variable(void)
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
