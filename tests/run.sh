#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# Run test programs one after another and add up their closing lines:
#
#	run.sh PROGRAM…
#
# Each must end with "N passed, N failed[, N skipped]". One that ends otherwise counts as a failure,
# so a crash or an empty run can never read as passed. The last line is the sum; exit status 1 if
# anything failed or nothing passed.

passed=0 failed=0 skipped=0
closing='^\([0-9]*\) passed, \([0-9]*\) failed\(, \([0-9]*\) skipped\)\{0,1\}$'
log=$(mktemp) || exit 1
trap 'rm -f "$log"' EXIT

for program in "$@"; do
	{
		"$program"
		echo "exit status $?"
	} 2>&1 | tee "$log" | grep -v -e '^exit status' -e "$closing"
	status=$(tail -n 1 "$log")
	counts=$(sed '$d' "$log" | tail -n 1 | sed -n "s/$closing/\1 \2 \4/p")
	if [ -z "$counts" ]; then
		echo "FAIL $(basename "$program"): no closing line, $status"
		failed=$((failed + 1))
		continue
	fi
	read -r p f s <<-EOT
		$counts
	EOT
	passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + ${s:-0}))
	if [ "$f" -eq 0 ] && [ "$status" != "exit status 0" ]; then
		echo "FAIL $(basename "$program"): no failure counted, but $status"
		failed=$((failed + 1))
	fi
done

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
