#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# aarch64 with glibc, under qemu-user.

# shellcheck source-path=SCRIPTDIR source=target.sh
. "${0%/*}/target.sh"

compiler=aarch64-linux-gnu-gcc
cxx=aarch64-linux-gnu-g++
binutils=aarch64-linux-gnu-
programs="lua minigzip"
emulator=qemu-aarch64
checked=$checked_emulated

check_target aarch64-linux-gnu-gcc aarch64-linux-gnu-g++ qemu-aarch64
