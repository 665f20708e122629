#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# x86_64 with musl as its C library.

# shellcheck source-path=SCRIPTDIR source=target.sh
. "${0%/*}/target.sh"

compiler="musl-gcc -idirafter $tree/kernel"
cxx=
binutils=
programs="busybox lua minigzip sqlite"
emulator=
# All of make check but scripts whose subject is a program of this machine.
checked="block slab large cache model/random misuse libc trace/records inspect/heap inspect/mallinfo
	sample/behaviour sample/guard sample/guard_handlers sample/stack system/locks system/printf
	system/static soak/short demo/output"

check_target musl-gcc
