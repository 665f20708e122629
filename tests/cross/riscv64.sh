#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# riscv64 with glibc, under qemu-user.

# shellcheck source-path=SCRIPTDIR source=target.sh
. "${0%/*}/target.sh"

compiler=riscv64-linux-gnu-gcc
cxx=riscv64-linux-gnu-g++
binutils=riscv64-linux-gnu-
programs="lua minigzip"
emulator=qemu-riscv64
checked=$checked_emulated

check_target riscv64-linux-gnu-gcc riscv64-linux-gnu-g++ qemu-riscv64
