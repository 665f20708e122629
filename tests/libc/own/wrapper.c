// SPDX-License-Identifier: BSD-3-Clause

/*
 * A program whose malloc counts and hands on to the next one, which it asks the dynamic linker for;
 * that may allocate on its part, and gets memory from an array then.
 */

#include <dlfcn.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *(*next_malloc)(size_t size);
static void *(*next_calloc)(size_t nmemb, size_t size);
static void *(*next_realloc)(void *p, size_t size);
static void (*next_free)(void *p);

static _Alignas(16) char early[65536];
static size_t early_used;
static int is_looking;
static unsigned long mallocs, frees;

static void look(void)
{
	if (next_malloc || is_looking)
		return;
	is_looking = 1;
	next_calloc = (void *(*)(size_t, size_t))dlsym(RTLD_NEXT, "calloc");
	next_realloc = (void *(*)(void *, size_t))dlsym(RTLD_NEXT, "realloc");
	next_free = (void (*)(void *))dlsym(RTLD_NEXT, "free");
	next_malloc = (void *(*)(size_t))dlsym(RTLD_NEXT, "malloc");
	is_looking = 0;
}

static void *take_early(size_t size)
{
	void *p = early + early_used;

	early_used += (size + 15) & ~(size_t)15;
	if (early_used > sizeof(early))
		abort();
	return p;
}

static int is_early(const void *p)
{
	return (const char *)p >= early && (const char *)p < early + sizeof(early);
}

void *malloc(size_t size)
{
	look();
	mallocs++;
	return next_malloc ? next_malloc(size) : take_early(size);
}

void *calloc(size_t nmemb, size_t size)
{
	look();
	mallocs++;
	return next_malloc ? next_calloc(nmemb, size) : take_early(nmemb * size);
}

void *realloc(void *p, size_t size)
{
	look();
	if (!p)
		mallocs++;
	if (p && is_early(p))
		abort();
	return next_malloc ? next_realloc(p, size) : take_early(size);
}

void free(void *p)
{
	look();
	if (!p)
		return;
	frees++;
	if (!is_early(p))
		next_free(p);
}

int main(void)
{
	char *blocks[1000];

	for (int i = 0; i < 1000; i++) {
		blocks[i] = i % 3 ? malloc((size_t)i * 50) : calloc((size_t)i, 50);
		if (!blocks[i])
			return 1;
		blocks[i] = realloc(blocks[i], (size_t)i * 70 + 1);
		if (!blocks[i])
			return 2;
		blocks[i][i * 70] = 1;
	}
	for (int i = 0; i < 1000; i++)
		free(blocks[i]);
	if (mallocs < 1000 || frees < 1000)
		return 3;
	puts("wrapped");
	return 0;
}
