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

check_target musl-gcc
