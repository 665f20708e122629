// SPDX-License-Identifier: BSD-3-Clause

/* One block from 10 bytes to 5 MiB: up, down and in turns. */

#include "checked.h"

#define KIB ((size_t)1024)

static const size_t sizes[] = {10,	  100,	     1000,	10 * KIB,   50 * KIB,  100 * KIB,
			       127 * KIB, 128 * KIB, 500 * KIB, 1024 * KIB, 5120 * KIB};

#define COUNT (sizeof(sizes) / sizeof(sizes[0]))

int main(void)
{
	void *p[COUNT], *q = NULL;

	for (size_t i = 0; i < COUNT; i++)
		p[i] = checked_malloc(sizes[i]);
	for (size_t i = 0; i < COUNT; i++)
		p[i] = checked_realloc(p[i], sizes[COUNT - 1 - i]);
	for (size_t i = COUNT; i-- > 0;)
		os_free(p[i]);
	for (size_t i = 0; i < COUNT; i++)
		q = checked_realloc(q, sizes[i]);
	for (size_t i = COUNT; i-- > 0;)
		q = checked_realloc(q, sizes[i]);
	for (size_t i = 0; i < COUNT / 2; i++) {
		q = checked_realloc(q, sizes[COUNT - 2 - i]);
		q = checked_realloc(q, sizes[i]);
	}
	checked_realloc(q, 0);
	return 0;
}
