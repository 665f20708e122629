/* SPDX-License-Identifier: BSD-3-Clause */

/* What the library says of itself: OSMEM_OPTIONS, and the C library's statistics functions. */

#pragma once

/* Write a summary of everything to standard error. Allocates nothing. */
void stats_print(void);
