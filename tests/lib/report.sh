# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=sh
#
# Sourced by the test scripts, each of which lives in a folder of tests/:
#
#	. "${0%/*}/../lib/report.sh"
#
# Sets tests (the folder tests/), here (the script's own folder), src, utils, library (the absolute
# path of libosmem.so) and scratch (a fresh folder that is removed at the end), and brings the
# functions below. A script ends with finish. Arguments of the script are substrings: only tests
# whose name has one of them run. Words of TEST_LEFT_OUT are tests, or whole scripts, to skip.

here=$(cd "${0%/*}" && pwd) || exit 1
tests=${here%/*}
script=${here##*/}/${0##*/}
script=${script%.sh}
# Relative paths are meant from tests/, as in its Makefile.
src=$(cd "$tests" && cd "${SRC_PATH:-../src}" && pwd)
# shellcheck disable=SC2034 # for those that source this
utils=$(cd "$tests" && cd "${UTILS_PATH:-../utils}" && pwd)
library=$src/libosmem.so
scratch=$(mktemp -d) || exit 1
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' HUP INT TERM
passed=0 failed=0 skipped=0
wanted=$*

ok() {
	passed=$((passed + 1))
	echo "ok $script.$1"
}

fail() {
	failed=$((failed + 1))
	echo "FAIL $script.$1: $2"
}

skip() {
	is_wanted "$1" || return 0
	skipped=$((skipped + 1))
	echo "skip $script.$1: $2"
}

# is_wanted NAME: was the script called for this test?
is_wanted() {
	[ -z "$wanted" ] && return 0
	for part in $wanted; do
		case $1 in
		*"$part"*) return 0 ;;
		esac
	done
	return 1
}

# has PROGRAM…: are they all installed?
has() {
	for program in "$@"; do
		command -v "$program" >/dev/null || return 1
	done
}

# expect NAME COMMAND…: the command exits 0; otherwise its last output line is the reason.
expect() {
	name=$1
	shift
	is_wanted "$name" || return 0
	case " ${TEST_LEFT_OUT-} " in
	*" $script "* | *" $script.$name "*)
		skip "$name" "left out"
		return
		;;
	esac
	if "$@" >"$scratch/log" 2>&1; then
		ok "$name"
	else
		status=$? said=$(tail -n 1 "$scratch/log")
		fail "$name" "expected exit status 0 of \"$*\", but it was $status${said:+: $said}"
	fi
}

# The closing line and the exit status.
finish() {
	echo "$passed passed, $failed failed, $skipped skipped"
	[ "$failed" -eq 0 ] && [ $((passed + skipped)) -gt 0 ]
	exit
}

if ! [ -f "$library" ]; then
	fail library "$library has not been built"
	finish
fi
