#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# What README.md promises of misuse: misuse/promises.txt, kind by kind.

# shellcheck disable=SC2317 # functions are called through expect
# shellcheck source-path=SCRIPTDIR source=lib/report.sh
. "${0%/*}/lib/report.sh"
# shellcheck source-path=SCRIPTDIR source=../misuse/marks.sh
. "$tests/misuse/marks.sh"

kinds=$tests/bin/misuse/kinds

# fits MARK PROMISE
fits() {
	case $2 in
	.) true ;;
	R) [ "$1" = R ] ;;
	C) [ "$1" = R ] || [ "$1" = F ] ;;
	S) [ "$1" != X ] && [ "$1" != T ] ;;
	*) false ;;
	esac
}

# is_kept KIND PROMISES OPTIONS
is_kept() {
	seen=$(marks "$kinds" "$1" "$library" "$3")
	for at in 1 2 3; do
		if ! fits "$(echo "$seen" | cut -c "$at")" "$(echo "$2" | cut -c "$at")"; then
			echo "promised $2, seen $seen"
			return 1
		fi
	done
}

# Where nothing is noticed, and where the program is worse off, the marks have to say so.
marks_can_differ() {
	[ "$(marks "$kinds" twice "$library" '')" = RRR ] &&
		[ "$(marks "$kinds" reuse-free "$library" '')" = XXX ] &&
		[ "$(marks "$kinds" no-such-kind "$library" '')" = FFF ] &&
		! fits - R && ! fits X S && ! fits - C && ! fits R x
}

every_kind_has_a_promise() {
	"$kinds" | cut -d ' ' -f 1 >"$scratch/kinds"
	sed '/^#/d; s/ .*//' "$tests/misuse/promises.txt" | diff "$scratch/kinds" -
}

expect marks_can_differ marks_can_differ
expect every_kind_has_a_promise every_kind_has_a_promise
hardened=false
if knows_hardened "$library"; then
	hardened=true
else
	skip hardened "the library has no such option"
fi
while read -r kind default_promise hardened_promise; do
	case $kind in
	'#'*) continue ;;
	esac
	expect "$kind" is_kept "$kind" "$default_promise" ""
	if $hardened; then
		expect "hardened_$kind" is_kept "$kind" "$hardened_promise" hardened
	fi
done <"$tests/misuse/promises.txt"
finish
