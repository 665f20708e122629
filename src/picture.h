/* SPDX-License-Identifier: BSD-3-Clause */

/* A picture of everything there is, as SVG. */

#pragma once

#include "helpers.h"

/* Write it to f, open and empty. Allocates nothing; false with errno if it could not be whole. */
bool picture_write(struct sys_file *f);
