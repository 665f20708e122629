#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# The functions that refusals.c stands for, which the linker is to wrap.

sed -n 's/^[a-z].*__wrap_\([a-z_]*\)(.*;$/\1/p' "${0%/*}/refusals.c"
