#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Needs: libosmem.so, bin/libc/alloc, bin/libc/align, bin/libc/names, bin/libc/interposed, bin/libc/when, bin/libc/signals, bin/libc/stack, bin/libc/forks, bin/libc/storm, bin/misuse/tolerated_calls
#
# What malloc and its relatives promise, also to threads, forks and signal handlers, holds when the
# block list serves them: other tests again, with OSMEM_OPTIONS=course.

# shellcheck disable=SC2317 # functions are called through expect
# shellcheck source-path=SCRIPTDIR source=../lib/report.sh
. "${0%/*}/../lib/report.sh"

again() {
	OSMEM_OPTIONS=course "$tests/bin/$1" >"$scratch/out" 2>&1 ||
		{
			grep ^FAIL "$scratch/out"
			return 1
		}
}

for name in libc/alloc libc/align libc/names libc/interposed libc/when libc/signals libc/stack libc/forks \
	libc/storm misuse/tolerated_calls; do
	expect "${name#*/}" again "$name"
done
finish
