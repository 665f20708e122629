/* SPDX-License-Identifier: BSD-3-Clause */

/* What free() says of a pointer that it does not take. */

#pragma once

#include <stdio.h>
#include <stdlib.h>

#include "harness.h"

static inline void free_it(void *p)
{
	free(p);
}

/* free(p) aborts; the line says what, and the rest. */
static inline void expect_free_report(void *p, const char *what, const char *rest)
{
	char want[200];

	snprintf(want, sizeof(want), "osmem: free(%p): %s%s", p, what, rest);
	EXPECT_ABORT(free_it, p, want);
}
