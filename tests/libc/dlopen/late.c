// SPDX-License-Identifier: BSD-3-Clause

/*
 * Loads libosmem.so, its argument, after the start. malloc stays the C library's, unless a second
 * argument says that the library was preloaded. Prints what is wrong and exits 1, or 0.
 */

#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *(*os_malloc)(size_t size);
static void *(*os_calloc)(size_t nmemb, size_t size);
static void *(*os_realloc)(void *p, size_t size);
static void (*os_free)(void *p);

static void check(bool good, const char *what)
{
	if (good)
		return;
	printf("%s\n", what);
	exit(1);
}

static bool is_in_library(void *function)
{
	Dl_info info;

	return dladdr(function, &info) && strstr(info.dli_fname, "libosmem");
}

static void load(const char *path)
{
	void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);

	check(library != NULL, "dlopen failed");
	os_malloc = (void *(*)(size_t))dlsym(library, "os_malloc");
	os_calloc = (void *(*)(size_t, size_t))dlsym(library, "os_calloc");
	os_realloc = (void *(*)(void *, size_t))dlsym(library, "os_realloc");
	os_free = (void (*)(void *))dlsym(library, "os_free");
	check(os_malloc && os_calloc && os_realloc && os_free, "a name is missing");
}

static void *use(void *arg)
{
	for (size_t size = 1; size < 1000000; size += size / 2 + 1) {
		unsigned char *p = os_malloc(size), *q = os_calloc(1, size), *m = malloc(size);

		check(p && q && m, "no memory");
		memset(p, 1, size);
		memset(m, 2, size);
		check(q[0] == 0 && q[size - 1] == 0, "os_calloc is not zero");
		p = os_realloc(p, size * 2);
		check(p && p[0] == 1 && p[size - 1] == 1, "os_realloc lost bytes");
		os_free(p);
		os_free(q);
		free(m);
	}
	return arg;
}

int main(int argc, char **argv)
{
	char *before = malloc(1000);
	pthread_t threads[4];

	check(argc > 1 && before, "no library named");
	check(is_in_library((void *)malloc) == (argc > 2), "malloc is the wrong one at the start");
	load(argv[1]);
	use(NULL);
	for (int i = 0; i < 4; i++)
		check(!pthread_create(&threads[i], NULL, use, NULL), "no thread");
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	check(is_in_library((void *)malloc) == (argc > 2), "malloc has changed");
	before = realloc(before, 100000);
	check(before != NULL, "realloc failed");
	free(before);
	return 0;
}
