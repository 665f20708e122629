/* SPDX-License-Identifier: BSD-3-Clause */

/*
 * OSMEM_OPTIONS=leaks: at exit, report the blocks that were never freed and that nothing leads to.
 */

#pragma once

/* The words of the option. */
enum leaks_mode {
	LEAKS_REPORT,
	LEAKS_EXIT, /* with leaks, the process ends with LEAKS_STATUS */
};

#define LEAKS_STATUS 23

/* Search for leaks at exit, behind all other exit handlers and destructors. */
void leaks_begin(enum leaks_mode mode);
