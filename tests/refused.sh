#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# The functions of libc that refusals.c stands for, which the linker is to wrap.

sed -n 's/^[a-z].*__wrap_\([a-z]*\)(.*;$/\1/p' "${0%/*}/refusals.c"
