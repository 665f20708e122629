#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Needs: libosmem.so
#
# The real programs of preload.sh on the block list: OSMEM_OPTIONS=course. Not the one that runs
# into a limit and needs what it has freed as larger blocks, and not tools, which say nothing new.

options=course left_out='limit valgrind gdb strace perf ltrace'

# shellcheck source-path=SCRIPTDIR source=preload.sh
. "${0%/*}/preload.sh"
