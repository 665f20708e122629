/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * What tests of hardened mode from inside share: the library looks for its option when something is
 * allocated for the first time, in a constructor here.
 */

#pragma once

#include <malloc.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "broken.h"
#include "cache/tcache.h"
#include "harness.h"
#include "refusals.h"
#include "slab/slab_core.h"

/* malloc(0) gives what it gives without the option. */
static inline void find_no_room(void)
{
	char *p = malloc(0), *q = malloc(0);

	CHECK(slab_store.is_hardened);
	CHECK(p && q && p != q);
	CHECK(malloc_usable_size(p) == 0);
	free(p);
	free(q);
	check_all();
	_exit(0);
}

/*
 * The library looks for its option when something is allocated for the first time: here. setenv()
 * would allocate. With REFUSED_START the kernel refuses all that hardened wants to begin with.
 */
#define REFUSED_START "REFUSED_START=1"

/* Before the library, which allocates with musl when it registers fork handlers. */
__attribute__((constructor(101))) static void harden(void)
{
	static char *hardened[] = {"OSMEM_OPTIONS=hardened", NULL};
	char **given = environ;
	bool is_refused = *given && strcmp(*given, REFUSED_START) == 0;

	if (is_refused)
		refuse(1, SIZE_MAX);
	environ = hardened;
	free(malloc(1));
	environ = given;
	refuse_nothing();
	if (is_refused)
		find_no_room();
}
