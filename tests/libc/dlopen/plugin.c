// SPDX-License-Identifier: BSD-3-Clause

/* Allocates when it is loaded and when it is unloaded. */

#include <stdlib.h>
#include <string.h>

char *plugin_block;

__attribute__((constructor)) static void load(void)
{
	plugin_block = malloc(5000);
	if (!plugin_block)
		abort();
	memset(plugin_block, 7, 5000);
}

__attribute__((destructor)) static void unload(void)
{
	plugin_block = realloc(plugin_block, 500000);
	if (!plugin_block || plugin_block[0] != 7 || plugin_block[4999] != 7)
		abort();
	free(plugin_block);
}
