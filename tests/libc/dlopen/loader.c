// SPDX-License-Identifier: BSD-3-Clause

/* Loads and unloads the plugin, its argument, many times, and once leaves it to the end. */

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
	for (int i = 0; argc > 1 && i < 100; i++) {
		void *plugin = dlopen(argv[1], RTLD_NOW);
		char **block = plugin ? (char **)dlsym(plugin, "plugin_block") : NULL;

		if (!block || !*block || (*block)[4999] != 7) {
			printf("%s\n", plugin ? "the constructor did not allocate" : dlerror());
			return 1;
		}
		if (i < 99)
			dlclose(plugin);
	}
	return 0;
}
