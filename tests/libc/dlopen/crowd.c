// SPDX-License-Identifier: BSD-3-Clause

/*
 * Threads load and unload plugins, a copy of their own each and one that is everybody's, while
 * others allocate; and some end with a plugin still loaded. Arguments: the copies.
 */

#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROUNDS 40

static char **copies;
static int copy_count;
static atomic_int left;

/* Use the plugin's block, which its constructor has made and its destructor looks at. */
static void load_and_unload(const char *path, int is_last)
{
	void *plugin = dlopen(path, RTLD_NOW);
	char **block = plugin ? (char **)dlsym(plugin, "plugin_block") : NULL;
	void (*use)(void) = plugin ? (void (*)(void))dlsym(plugin, "plugin_use") : NULL;

	if (!block || !*block || (*block)[4999] != 7) {
		printf("%s\n", plugin ? "the constructor did not allocate" : dlerror());
		exit(1);
	}
	if (use)
		use();
	if (!is_last)
		dlclose(plugin);
}

static void *load(void *arg)
{
	int i = (int)(size_t)arg;

	for (int round = 0; round < ROUNDS; round++) {
		load_and_unload(copies[i], round == ROUNDS - 1 && i % 2);
		load_and_unload(copies[0], 0);
	}
	left--;
	return NULL;
}

static void *churn(void *arg)
{
	char *p[100] = {0};

	for (size_t i = 0; left > 0; i++) {
		char **place = &p[i * 7 % 100];

		free(*place);
		*place = malloc(i % 3000 + 1);
		if (!*place)
			exit(2);
		memset(*place, 1, i % 3000 + 1);
	}
	for (int i = 0; i < 100; i++)
		free(p[i]);
	return arg;
}

int main(int argc, char **argv)
{
	pthread_t threads[16];
	int n = 0;

	copies = argv + 1;
	copy_count = argc - 1;
	left = copy_count;
	for (int i = 0; i < copy_count && n < 14; i++, n++)
		if (pthread_create(&threads[n], NULL, load, (void *)(size_t)i))
			return 3;
	for (int i = 0; i < 2; i++, n++)
		if (pthread_create(&threads[n], NULL, churn, NULL))
			return 3;
	while (n > 0)
		pthread_join(threads[--n], NULL);
	return 0;
}
