/* SPDX-License-Identifier: BSD-3-Clause */

/* OSMEM_OPTIONS=backtrace. */

#pragma once

#include <stdbool.h>

/* Print the call stack behind every report. False: libgcc's unwinder cannot be loaded. */
bool backtrace_begin(void);
