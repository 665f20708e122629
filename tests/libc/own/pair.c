// SPDX-License-Identifier: BSD-3-Clause

/*
 * A program that has malloc and free of its own, and nothing else. What its free gets from others
 * it leaves alone, as such programs do.
 */

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static _Alignas(16) char arena[8 << 20];
static size_t used;

static int is_own(const void *p)
{
	return (const char *)p >= arena && (const char *)p < arena + sizeof(arena);
}

void *malloc(size_t size)
{
	void *p = arena + used;

	if (size > sizeof(arena) - used - 32)
		return NULL;
	used += (size + 31) & ~(size_t)15;
	return p;
}

void free(void *p)
{
	if (is_own(p))
		memset(p, 0, 1);
}

int main(void)
{
	char *zeroed = calloc(1000, 10), *grown = realloc(NULL, 10),
	     *aligned = aligned_alloc(4096, 100);
	char *copy = strdup("text");

	if (!zeroed || !grown || !aligned || is_own(zeroed) || is_own(grown) || !is_own(copy))
		return 1;
	for (int i = 1; i < 2000; i++) {
		grown = realloc(grown, (size_t)i * 100);
		if (!grown)
			return 2;
		grown[i * 100 - 1] = 1;
		memset(malloc(100), 7, 100);
	}
	for (int i = 0; i < 10000; i++)
		if (zeroed[i])
			return 3;
	free(zeroed);
	free(copy);
	puts("a pair");
	return 0;
}
