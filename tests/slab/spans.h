/* SPDX-License-Identifier: BSD-3-Clause */

/* Shared by tests of spans. */

#pragma once

#include "broken.h"
#include "harness.h"
#include "slab/slab_core.h"

#define PAGES(n) ((n)*PAGE_BYTES)

static inline void sweep(void)
{
	slab_sweep_period_ms = 0;
	CHECK(slab_begin_sweep(false));
	slab_end_sweep();
	expect_sound(slab_check);
}
