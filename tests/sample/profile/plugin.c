// SPDX-License-Identifier: BSD-3-Clause

/* Its constructor allocates, and meets another thread meanwhile. */

#include <stdlib.h>

void plugin_is_loading(void);
void known_plugin(void) __attribute__((noinline));
void call_plugin(void) __attribute__((constructor));

static void *(*volatile allocate)(size_t size) = malloc;
static void *volatile kept;

void known_plugin(void)
{
	kept = allocate(10009);
	__asm__ volatile("");
}

void call_plugin(void)
{
	plugin_is_loading();
	known_plugin();
	__asm__ volatile("");
}
