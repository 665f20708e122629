// SPDX-License-Identifier: BSD-3-Clause

/* Nothing for nothing. */

#include "block_meta.h"
#include "osmem.h"

int main(void)
{
	void *p;

	DIE(os_malloc(0) || os_calloc(0, 10) || os_calloc(10, 0) || os_realloc(NULL, 0), "zero");
	os_free(NULL);
	p = os_malloc(100);
	DIE(!p, "os_malloc");
	DIE(os_realloc(p, 0), "os_realloc");
	DIE(os_malloc(100) != p, "os_malloc");
	return 0;
}
