/* SPDX-License-Identifier: BSD-3-Clause */

/* <malloc.h> for tests: complete with every C library. */

#pragma once

#include_next <malloc.h>

#include "compat.h"
