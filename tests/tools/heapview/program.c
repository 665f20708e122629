// SPDX-License-Identifier: BSD-3-Clause

/*
 * A little of everything that os_* do, then the list as the library itself walks it, in the format
 * of heapview --text. Arguments: where a map is written; a number of pairs of malloc and free, and
 * one of os_malloc and os_free. With FORKS in the environment a child does the rest, from its
 * parent's blocks on; with SPREADS there are large blocks, too; with THREADS, three threads. With
 * SPANS there are live and freed objects of malloc, and the list is of the spans: address, bytes,
 * live or kept. SPANS=all lists mappings, too.
 */

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "osmem.h"
#include "osmem_inspect.h"

/* A thread's own blocks: some are freed. */
static void *allocate(void *arg)
{
	static _Thread_local void *p[10];

	for (size_t i = 0; i < 10; i++)
		p[i] = os_malloc(100 * (i + 1) + *(size_t *)arg);
	for (size_t i = 0; i < 10; i += 2)
		os_free(p[i]);
	return NULL;
}

static void run_threads(void)
{
	pthread_t threads[3];
	size_t sizes[3] = {1, 1001, 2001};

	for (int i = 0; i < 3; i++)
		pthread_create(&threads[i], NULL, allocate, &sizes[i]);
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
}

static int print_block(const struct osmem_item *item, void *arg)
{
	static const char *const names[] = {"free", "used", "mapped"};

	(void)arg;
	if (item->heap == OSMEM_COURSE && (item->kind == OSMEM_BLOCK || item->kind == OSMEM_MAPPED))
		printf("%#14lx %12lu %s\n", (unsigned long)item->start,
		       (unsigned long)item->payload, names[item->status]);
	return 0;
}

static int print_span(const struct osmem_item *item, void *arg)
{
	int is_mapping = item->kind == OSMEM_MAPPED && item->heap == OSMEM_LIBC;

	if (item->kind == OSMEM_SPAN || (is_mapping && !strcmp(arg, "all")))
		printf("%#lx %lu %s\n", (unsigned long)item->start, (unsigned long)item->size,
		       item->status ? "live" : "kept");
	return 0;
}

/* Some share a slot of 64 KiB, some reach over several. */
static int show_spans(const char *map)
{
	static void *volatile p[12];

	setvbuf(stdout, NULL, _IONBF, 0); /* nothing is allocated between the map and the walk */
	for (size_t i = 0; i < 12; i++)
		p[i] = malloc(33000 + i * i * 10000);
	p[0] = realloc(p[0], (size_t)5 << 20);
	for (size_t i = 1; i < 12; i += 3)
		free(p[i]);
	return osmem_write_map(map) != 0 || osmem_walk(print_span, getenv("SPANS")) != 0;
}

int main(int argc, char **argv)
{
	void *p[40];

	if (argc > 1 && getenv("SPANS"))
		return show_spans(argv[1]);
	for (int i = 0; i < 40; i++)
		p[i] = os_malloc(50 + 30 * (unsigned int)i);
	for (int i = 0; i < 40; i += 3)
		os_free(p[i]);
	os_free(p[1]);
	p[0] = os_malloc(200);
	p[2] = os_realloc(p[2], 3000);
	p[4] = os_realloc(p[4], 20);
	p[5] = os_calloc(10, 500);
	p[6] = os_malloc(200000);
	p[7] = os_malloc(300000);
	os_free(p[7]);
	p[8] = os_malloc(125000);
	for (int i = getenv("SPREADS") ? 600 : 0; i > 0; i--)
		p[10] = os_malloc(100000);
	for (int i = argc > 2 ? atoi(argv[2]) : 0; i > 0; i--)
		free(malloc((size_t)(i % 1000)));
	for (int i = argc > 3 ? atoi(argv[3]) : 0; i > 0; i--)
		os_free(os_malloc((size_t)(i % 1000 + 1)));
	if (getenv("THREADS"))
		run_threads();
	if (argc > 1 && osmem_write_map(argv[1]) != 0)
		return 1;
	if (getenv("FORKS") && fork() != 0)
		return wait(NULL) < 0;
	if (getenv("FORKS"))
		p[9] = os_malloc(4000);
	return osmem_walk(print_block, NULL) != 0 || !p[0] || !p[2] || !p[4] || !p[5] || !p[6] ||
	       !p[8];
}
