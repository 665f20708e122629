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

# The file with the input goes with the scratch folder.
defect_is_said() {
	tail -n 1 "$scratch/said" |
		grep 'defect: FOUND the defect is found|.*|SUMMARY: .*|input in base64: YW'
}

# try NAME COMMAND…: expect, after a fuzz.sh, where there is a fuzzer.
try() {
	if grep -q '^skipped' "$scratch/said"; then
		skip "$1" "$(cut -d' ' -f2- "$scratch/said")"
	else
		expect "$@"
	fi
}

targets=
for target in placement libc profile elf figures; do
	is_wanted "$target" && targets="$targets $target"
done
if [ "$targets" ]; then
	# shellcheck disable=SC2086 # the targets are words
	FUZZ_OUT=$scratch/out timeout 500 "$tests/fuzz/fuzz.sh" 3 $targets >"$scratch/said" 2>&1
	for target in $targets; do
		try "$target" nothing_found "$target"
	done
fi
if is_wanted defect; then
	FUZZ_OUT=$scratch/out timeout 100 "$tests/fuzz/fuzz.sh" 3 defect >"$scratch/said" 2>&1
	try defect_is_found test $? -eq 1
	try defect_is_said defect_is_said
fi

finish
