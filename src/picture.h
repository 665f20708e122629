/* SPDX-License-Identifier: BSD-3-Clause */

/* A picture of everything there is, as SVG. */

#pragma once

#include "helpers.h"

/* Write it to f, open and empty. Allocates nothing; false if it could not be written whole. */
bool picture_write(struct sys_file *f);
