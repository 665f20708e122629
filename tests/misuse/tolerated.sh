#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Needs: libosmem.so, bin/misuse/kinds, bin/misuse/tolerated_calls
#
# OSMEM_OPTIONS=misuse=warn, with every kind of misuse that kinds.c knows, at three sizes, by default
# and hardened. A call with a wrong argument is reported in one line and does nothing: the program
# goes on, no block is handed out twice, and the heaps are in order. Damage is reported or faults as
# it does otherwise.

# shellcheck disable=SC2317 # functions are called through expect
# shellcheck source-path=SCRIPTDIR source=../lib/report.sh
. "${0%/*}/../lib/report.sh"
# shellcheck source-path=SCRIPTDIR source=marks.sh
. "$tests/misuse/marks.sh"

kinds=$tests/bin/misuse/kinds

# goes_on KIND OPTIONS
goes_on() {
	for size in $misuse_sizes; do
		timeout -k 1 20 env LD_PRELOAD="$library" OSMEM_OPTIONS="misuse=warn$2" KINDS_CHECK=1 \
			"$kinds" "$1" "$size" >"$scratch/out" 2>"$scratch/err"
		status=$?
		if [ "$status" -ne 0 ] || [ "$(wc -l <"$scratch/err")" -ne 1 ] ||
			! grep -Eq '^osmem: [a-z_ ]+\(0x[0-9a-f]+\): (this|not) ' "$scratch/err"; then
			cat "$scratch/err"
			echo "$size bytes: exit status $status, $(cat "$scratch/out")"
			return 1
		fi
	done
}

# ends KIND MARKS OPTIONS: as it does without misuse=warn.
ends() {
	seen=$(marks "$kinds" "$1" "$library" "misuse=warn$3")
	echo "promised $2, seen $seen"
	for at in 1 2; do
		case $(echo "$2" | cut -c "$at") in
		R) [ "$(echo "$seen" | cut -c "$at")" = R ] || return ;;
		C) echo "$seen" | cut -c "$at" | grep -q '[RF]' || return ;;
		esac
	done
}

# What goes on in one way, and ends in the other, can be told apart.
ways_differ() {
	[ "$(marks "$kinds" twice "$library" misuse=warn)" = --- ] &&
		[ "$(marks "$kinds" twice "$library" misuse=abort)" = RRR ] &&
		[ "$(marks "$kinds" twice "$library" misuse=warn,misuse=abort)" = RRR ] &&
		! goes_on overflow-one ,hardened && ! ends twice RRR ''
}

# calls OPTIONS TEST…: tests of misuse/tolerated_calls with more options.
calls() {
	export OSMEM_OPTIONS="misuse=warn,$1"
	shift
	"$tests/bin/misuse/tolerated_calls" "$@"
	status=$?
	unset OSMEM_OPTIONS
	return "$status"
}

expect ways_differ ways_differ
expect hardened_calls calls hardened each_site lines_are children bad_pointers wrong_sizes \
	what_never blocks_stay damage
expect guarded_calls calls guard=1 each_site children bad_pointers wrong_sizes blocks_stay threads
expect backtrace_of_calls calls backtrace each_site bad_pointers wrong_sizes
while read -r kind default_promise hardened_promise; do
	case $kind in
	'#'* | read-freed | reuse-* | zero) ;;
	# Hardened, a trim may return the page before its write is seen.
	link) expect "$kind" ends "$kind" "$default_promise" '' ;;
	header-* | overflow-* | underflow-* | write-freed)
		expect "$kind" ends "$kind" "$default_promise" ''
		expect "hardened_$kind" ends "$kind" "$hardened_promise" ,hardened
		;;
	delete-aligned) expect "$kind" goes_on "$kind" '' ;; # hardened: aligned by chance
	*)
		expect "$kind" goes_on "$kind" ''
		expect "hardened_$kind" goes_on "$kind" ,hardened
		;;
	esac
done <"$tests/misuse/promises.txt"
finish
