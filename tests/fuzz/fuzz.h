/* SPDX-License-Identifier: BSD-3-Clause */

/* What libFuzzer calls, with one input after another. */

#pragma once

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
