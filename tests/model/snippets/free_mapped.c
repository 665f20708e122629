// SPDX-License-Identifier: BSD-3-Clause

/* A mapped block goes back at once, a heap block never. */

#include "block_meta.h"
#include "osmem.h"

#include <string.h>

int main(void)
{
	char *mapped[3], *small;

	for (size_t i = 0; i < 3; i++) {
		mapped[i] = os_malloc(150000 + 1000 * i);
		DIE(!mapped[i], "os_malloc");
		memset(mapped[i], 'a', 150000);
	}
	small = os_malloc(100);
	DIE(!small, "os_malloc");
	os_free(mapped[1]);
	os_free(small);
	os_free(mapped[0]);
	os_free(mapped[2]);
	return 0;
}
