// SPDX-License-Identifier: BSD-3-Clause

/* A C program that loads the plugin named by its argument and runs it. */

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
	void *plugin = argc > 1 ? dlopen(argv[1], RTLD_NOW | RTLD_LOCAL) : NULL;
	int (*run)(void) = plugin ? (int (*)(void))dlsym(plugin, "plugin_main") : NULL;
	int step;

	if (!run) {
		printf("%s\n", dlerror());
		return 1;
	}
	step = run();
	if (step != 0)
		printf("step %d went wrong\n", step);
	return step != 0;
}
