/* SPDX-License-Identifier: BSD-3-Clause */

/* The summary: OSMEM_OPTIONS=stats, malloc_stats. */

#pragma once

/* Write a summary of everything to standard error. Allocates nothing. */
void stats_print(void);
