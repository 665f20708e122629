#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Needs: libosmem.so
#
# make demo: what it shows is what the placement rules say.

# shellcheck source-path=SCRIPTDIR source=../lib/report.sh
. "${0%/*}/../lib/report.sh"

# shows NAME LINE: the line is part of the output.
shows() {
	expect "$1" grep -qxF -e "$2" "$scratch/out"
}

unset MAKEFLAGS MFLAGS MAKELEVEL
make -s -C "$tests/demo" demo >"$scratch/out" 2>&1 </dev/null
expect exit_status test $? -eq 0
expect real_program grep -q '^LD_PRELOAD=libosmem.so ' "$scratch/out"
expect two_reports test "$(grep -c '^osmem: process' "$scratch/out")" -eq 2
expect has_calls grep -Eq '^osmem:   free  +[1-9][0-9]*  +0  +0$' "$scratch/out"
expect is_short test "$(wc -l <"$scratch/out")" -le 80
shows split "    0[used 104] 136[free 130904] 131072"
shows best_fit "os_malloc(400) = heap + 1432"
shows coalesce "    0[used 104] 136[used 1232] 1400[used 400] 1832[free 72] 1936[used 40] 2008[free 129032] 131072"
shows absorb "os_realloc(heap + 32, 104) = heap + 32"
shows grow "    0[used 104] 136[used 1232] 1400[used 400] 1832[free 72] 1936[used 40] 2008[used 131000] 133040"
shows map "os_realloc(heap + 2040, 200000) = a mapping of its own, 200000 bytes"
shows all_merged "    0[used 8] 40[free 133000] 133072"
expect counts_breaks grep -q '^osmem:  *brk calls  *[1-9][0-9]*  *-$' "$scratch/out"
finish
