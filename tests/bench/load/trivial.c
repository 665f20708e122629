// SPDX-License-Identifier: BSD-3-Clause

/*
 * A program that does next to nothing: it prints how many KiB of memory it has in use at its end.
 */

#include "load.h"
#include "resident.h"

int main(void)
{
	free(load_block(100));
	printf("\n"); /* now standard output has its buffer */
	printf("%zu\n", resident_kib());
	return 0;
}
