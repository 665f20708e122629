// SPDX-License-Identifier: BSD-3-Clause

/* The smallest block that is large enough; among equals the lowest. */

#include "block_meta.h"
#include "osmem.h"

int main(void)
{
	static const size_t sizes[] = {512, 128, 256, 128, 64, 256, 1024};
	void *p[7], *q[7];

	for (int i = 0; i < 7; i++) {
		p[i] = os_malloc(sizes[i]);
		DIE(!p[i] || !os_malloc(8), "os_malloc");
	}
	for (int i = 6; i >= 0; i--)
		os_free(p[i]);
	for (int i = 0; i < 7; i++) {
		q[i] = os_malloc(120);
		DIE(!q[i], "os_malloc");
	}
	for (int i = 0; i < 7; i++)
		os_free(q[i]);
	return 0;
}
