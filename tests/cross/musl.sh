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
# All programs of make check, and the scripts that build what they start.
checked="block slab large cache model/random misuse libc soak/short demo/output
	trace/records trace/figures control/requests inspect/heap inspect/mallinfo inspect/leaks_refused
	sample/behaviour sample/chance sample/estimates sample/forks sample/guard sample/guard_chance
	sample/guard_faults sample/guard_handlers sample/guard_refused sample/guard_stacks sample/guard_tolerated
	sample/profile_file sample/refused sample/resize sample/stack
	system/clock system/faults system/faults_midway system/locks system/printf system/printf_output
	system/printf_random system/putchar system/refused system/static system/thp"

check_target musl-gcc
