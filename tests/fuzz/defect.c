// SPDX-License-Identifier: BSD-3-Clause

/* What fails on purpose: short.sh reads what is said of it. */

#include <stdio.h>
#include <stdlib.h>

#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 2 || data[0] != 'a')
		return 0;
	fprintf(stderr, "the defect is found\n");
	abort();
}
