#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# Run test programs and add up their closing lines:
#
#	run.sh PROGRAM…
#
# JOBS of them at a time, the number of processors unless it is given; what a program prints comes
# when it ends. Each must end with "N passed, N failed[, N skipped]". One that ends otherwise counts
# as a failure, so a crash or an empty run can never read as passed. The last line is the sum; exit
# status 1 if anything failed or nothing passed.

passed=0 failed=0 skipped=0
closing='^\([0-9]*\) passed, \([0-9]*\) failed\(, \([0-9]*\) skipped\)\{0,1\}$'

# name_of PROGRAM: as TESTS= has it.
name_of() {
	name=${1#bin/}
	echo "${name%.sh}"
}

# run_one LOG PROGRAM
run_one() {
	{
		"$2" 2>&1
		echo "exit status $?"
	} >"$1"
	grep -v -e '^exit status' -e "$closing" "$1"
	true
}

if [ "$1" = --one ]; then
	run_one "$2/$(echo "$3" | tr / _)" "$3"
	exit
fi

# The makes that tests call are no part of the one that called this.
unset MAKEFLAGS MFLAGS MAKELEVEL
logs=$(mktemp -d) || exit 1
trap 'rm -rf "$logs"' EXIT
trap 'exit 1' HUP INT TERM
printf '%s\n' "$@" | xargs -P "${JOBS:-$(nproc 2>/dev/null || echo 1)}" -I '{}' "$0" --one "$logs" '{}'

for program in "$@"; do
	log=$logs/$(echo "$program" | tr / _)
	status=$(tail -n 1 "$log")
	counts=$(sed '$d' "$log" | tail -n 1 | sed -n "s/$closing/\1 \2 \4/p")
	if [ -z "$counts" ]; then
		echo "FAIL $(name_of "$program"): expected a closing line with counts, but it ended" \
			"with $status and no such line"
		failed=$((failed + 1))
		continue
	fi
	read -r p f s <<-EOT
		$counts
	EOT
	passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + ${s:-0}))
	if [ "$f" -eq 0 ] && [ "$status" != "exit status 0" ]; then
		echo "FAIL $(name_of "$program"): expected exit status 0, as no test failed, but it" \
			"ended with $status"
		failed=$((failed + 1))
	fi
done

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
