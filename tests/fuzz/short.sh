#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Needs: libosmem.so
#
# The fuzz targets build and run, for a moment; "make fuzz" is the long one.

# shellcheck disable=SC2317 # functions are called through expect
# shellcheck source-path=SCRIPTDIR source=../lib/report.sh
. "${0%/*}/../lib/report.sh"

nothing_found() {
	grep "^$1: nothing found in Done [0-9]* runs" "$scratch/said" && return
	tail -n 1 "$scratch/said"
	return 1
}

targets=
for target in placement libc profile elf figures; do
	is_wanted "$target" && targets="$targets $target"
done
[ "$targets" ] || finish
# shellcheck disable=SC2086 # the targets are words
FUZZ_OUT=$scratch/out timeout 500 "$tests/fuzz/fuzz.sh" 3 $targets >"$scratch/said" 2>&1
for target in $targets; do
	if grep -q '^skipped' "$scratch/said"; then
		skip "$target" "$(cut -d' ' -f2- "$scratch/said")"
	else
		expect "$target" nothing_found "$target"
	fi
done

finish
