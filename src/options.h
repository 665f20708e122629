/* SPDX-License-Identifier: BSD-3-Clause */

/* OSMEM_OPTIONS: read once, before main; what it asks for at exit is done by a destructor. */

#pragma once

#include <stdbool.h>

/* Whether the summary was asked for. */
bool options_has_stats(void);
