// SPDX-License-Identifier: BSD-3-Clause

/* Programs with a new and a delete of their own, which count their calls. */

#pragma once

#include <stdio.h>
#include <stdlib.h>

#include <new>

static int news, deletes;

static volatile size_t size = 40;
static void *volatile sink;

static void die(const char *what)
{
	puts(what);
	exit(1);
}

static void expect(int calls, const char *what)
{
	if (news != calls || deletes != calls) {
		printf("after %s: %d news and %d deletes, not %d\n", what, news, deletes, calls);
		exit(1);
	}
}
