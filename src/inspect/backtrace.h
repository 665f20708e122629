/* SPDX-License-Identifier: BSD-3-Clause */

/* OSMEM_OPTIONS=backtrace. */

#pragma once

#include <stdbool.h>

/* Have every report followed by the call stack. False: libgcc's unwinder cannot be loaded. */
bool backtrace_begin(void);
