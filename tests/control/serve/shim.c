// SPDX-License-Identifier: BSD-3-Clause

/* Preloaded before the library: the thread named osmem may not call malloc and its relatives. */

#include <dlfcn.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

static void *(*next_malloc)(size_t), *(*next_calloc)(size_t, size_t);
static void *(*next_realloc)(void *, size_t);
static void (*next_free)(void *);

static char first[4096]; /* for dlsym, which may allocate */
static size_t used;

static void forbid(void)
{
	static const char what[] = "the service thread called malloc or free\n";
	char name[16] = "";

	prctl(PR_GET_NAME, name);
	if (strcmp(name, "osmem") == 0) {
		if (write(STDERR_FILENO, what, sizeof(what) - 1) < 0)
			_exit(8);
		_exit(9);
	}
}

static bool find_next(void)
{
	static bool is_looking;

	if (next_free)
		return true;
	if (is_looking)
		return false;
	is_looking = true;
	next_malloc = (void *(*)(size_t))dlsym(RTLD_NEXT, "malloc");
	next_calloc = (void *(*)(size_t, size_t))dlsym(RTLD_NEXT, "calloc");
	next_realloc = (void *(*)(void *, size_t))dlsym(RTLD_NEXT, "realloc");
	next_free = (void (*)(void *))dlsym(RTLD_NEXT, "free");
	return true;
}

static void *take_first(size_t size)
{
	used = (used + 15) & ~(size_t)15;
	used += size;
	return used <= sizeof(first) ? first + used - size : NULL;
}

void *malloc(size_t size)
{
	forbid();
	return find_next() ? next_malloc(size) : take_first(size);
}

void *calloc(size_t n, size_t size)
{
	forbid();
	return find_next() ? next_calloc(n, size) : take_first(n * size);
}

void *realloc(void *p, size_t size)
{
	forbid();
	return find_next() ? next_realloc(p, size) : NULL;
}

void free(void *p)
{
	forbid();
	if (find_next() && !((char *)p >= first && (char *)p < first + sizeof(first)))
		next_free(p);
}
