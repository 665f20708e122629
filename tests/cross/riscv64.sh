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
# What make check runs, but for what takes long under emulation, and scripts that run programs
# of this machine.
checked="block/checker block/placement block/placement_errors block/placement_heap
	block/placement_realloc block/placement_regions slab/cells slab/checker slab/sizeclass slab/spans
	large/checker cache/bounds cache/checker cache/magazines cache/modes cache/threads cache/endings
	model/random misuse/blocks misuse/cells misuse/large misuse/sizes libc/align libc/forks libc/own
	libc/usable sample/behaviour sample/stack system/locks system/printf system/static soak/short
	demo/output"

check_target riscv64-linux-gnu-gcc riscv64-linux-gnu-g++ qemu-riscv64
