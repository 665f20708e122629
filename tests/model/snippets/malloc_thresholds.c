// SPDX-License-Identifier: BSD-3-Clause

/* 131072 bytes with the header are mapped, one granule less is not. */

#include "block_meta.h"
#include "osmem.h"

int main(void)
{
	static const size_t sizes[] = {131033, 131032, 131040, 131072, 200000, 131024, 1048576};
	void *p[sizeof(sizes) / sizeof(sizes[0])];
	size_t count = sizeof(sizes) / sizeof(sizes[0]);

	for (size_t i = 0; i < count; i++) {
		p[i] = os_malloc(sizes[i]);
		DIE(!p[i], "os_malloc");
	}
	for (size_t i = count; i-- > 0;)
		os_free(p[i]);
	return 0;
}
