// SPDX-License-Identifier: BSD-3-Clause

/*
 * A program whose own allocator has names of its own, je_malloc and so on, over sbrk and mmap, and
 * which calls malloc as well. Neither may get into the other's way; os_malloc uses the break, too.
 */

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "osmem.h"

#pragma weak os_malloc
#pragma weak os_free

void *je_malloc(size_t size);
void je_free(void *p);

static struct {
	void *free; /* blocks of 256 bytes, through their first word */
	char *at, *end;
} je;

void *je_malloc(size_t size)
{
	void *p = je.free;

	if (size > 256) {
		p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		return p == MAP_FAILED ? NULL : p;
	}
	if (p) {
		je.free = *(void **)p;
		return p;
	}
	if (je.at == je.end) {
		je.at = sbrk(16384);
		if ((intptr_t)je.at == -1)
			return NULL;
		je.end = je.at + 16384;
	}
	je.at += 256;
	return je.at - 256;
}

void je_free(void *p)
{
	*(void **)p = je.free;
	je.free = p;
}

int main(void)
{
	static unsigned char *own[2000], *theirs[2000], *os[2000];

	for (int round = 0; round < 5; round++) {
		for (int i = 0; i < 2000; i++) {
			size_t size = 8 + (size_t)i % 240;

			own[i] = je_malloc(size);
			theirs[i] = malloc(size);
			os[i] = os_malloc ? os_malloc(size) : malloc(size);
			if (!own[i] || !theirs[i] || !os[i])
				return 1;
			memset(own[i], i, size);
			memset(theirs[i], i + 1, size);
			memset(os[i], i + 2, size);
		}
		for (int i = 0; i < 2000; i++) {
			size_t last = 7 + (size_t)i % 240;

			if (own[i][last] != (unsigned char)i ||
			    theirs[i][last] != (unsigned char)(i + 1) ||
			    os[i][last] != (unsigned char)(i + 2))
				return 2;
			je_free(own[i]);
			free(theirs[i]);
			os_malloc ? os_free(os[i]) : free(os[i]);
		}
	}
	puts("prefixed");
	return 0;
}
