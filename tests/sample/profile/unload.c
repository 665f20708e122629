// SPDX-License-Identifier: BSD-3-Clause

/*
 * One thread loads and unloads plugin.so, whose constructor allocates; another writes profiles,
 * whose samples have the plugin's addresses. The arguments are the plugin and the file.
 */

#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

#include "osmem_inspect.h"

static atomic_bool is_over;

void plugin_is_loading(void);

void plugin_is_loading(void)
{
}

static void *write_profiles(void *file)
{
	for (int i = 0; i < 500; i++)
		if (osmem_write_profile(file) != 0)
			abort();
	is_over = true;
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t thread;
	int loads = 0;

	if (argc != 3 || pthread_create(&thread, NULL, write_profiles, argv[2]))
		abort();
	for (; !is_over || loads < 100; loads++) {
		void *plugin = dlopen(argv[1], RTLD_NOW);

		if (!plugin || dlclose(plugin) != 0)
			abort();
	}
	return pthread_join(thread, NULL);
}
