// SPDX-License-Identifier: BSD-3-Clause

/* The first request takes the whole block; the second raises the break by its chunk. */

#include "block_meta.h"
#include "osmem.h"

int main(void)
{
	void *whole, *more;

	whole = os_malloc(131032);
	DIE(!whole, "os_malloc");
	more = os_malloc(1);
	DIE(!more, "os_malloc");
	os_free(more);
	os_free(whole);
	return 0;
}
