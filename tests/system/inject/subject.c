// SPDX-License-Identifier: BSD-3-Clause

/*
 * A program that makes the library call everything that it ever calls. What it cannot get it does
 * without; what it has got must stay as it was.
 */

#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "osmem.h"

#pragma weak os_malloc
#pragma weak os_realloc
#pragma weak os_free

static void check(const unsigned char *p, size_t size, unsigned char byte)
{
	if (p && (p[0] != byte || p[size - 1] != byte))
		abort();
}

static void *work(void *arg)
{
	static const size_t sizes[] = {30, 700, 9000, 30000, 50000, 200000, 3000000};
	unsigned char *p[7], *q;

	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < 7; i++) {
			p[i] = i % 2 ? malloc(sizes[i]) : memalign(8192, sizes[i]);
			if (p[i])
				memset(p[i], i + 1, sizes[i]);
		}
		for (int i = 0; i < 7; i++) {
			check(p[i], sizes[i], (unsigned char)(i + 1));
			q = p[i] ? realloc(p[i], sizes[i] * 2) : NULL;
			if (q)
				p[i] = q;
			check(p[i], sizes[i], (unsigned char)(i + 1));
		}
		for (int i = 0; i < 7; i++)
			free(p[i]);
		malloc_trim(0);
	}
	return arg;
}

static void work_on_course_heap(void)
{
	unsigned char *p[50], *q;

	for (size_t i = 0; i < 50; i++) {
		p[i] = os_malloc(i * 1000 + 1);
		if (p[i])
			memset(p[i], 9, i * 1000 + 1);
	}
	for (size_t i = 0; i < 50; i++) {
		q = p[i] ? os_realloc(p[i], i * 1500 + 1) : NULL;
		if (q)
			p[i] = q;
		check(p[i], i * 1000 + 1, 9);
	}
	for (size_t i = 0; i < 50; i++)
		os_free(p[i]);
}

int main(void)
{
	pthread_t thread;

	work(NULL);
	if (os_malloc)
		work_on_course_heap();
	if (pthread_create(&thread, NULL, work, NULL) == 0)
		pthread_join(thread, NULL);
	puts("done");
	return 0;
}
