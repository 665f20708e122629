/* SPDX-License-Identifier: BSD-3-Clause */

/* What tests of spans share. */

#pragma once

#include "harness.h"
#include "slab_core.h"

#define PAGES(n) ((n)*PAGE_BYTES)

static inline void check_store(void)
{
	const char *fault = slab_check();

	CHECK_MSG(!fault, "%s", fault);
}

static inline void sweep(void)
{
	slab_set_sweep_period(0);
	CHECK(slab_begin_sweep());
	slab_end_sweep();
	check_store();
}
