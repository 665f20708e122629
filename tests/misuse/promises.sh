#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Needs: libosmem.so, bin/misuse/kinds
#
# What README.md promises of misuse: misuse/promises.txt, kind by kind.

# shellcheck disable=SC2317 # functions are called through expect
# shellcheck source-path=SCRIPTDIR source=../lib/report.sh
. "${0%/*}/../lib/report.sh"
# shellcheck source-path=SCRIPTDIR source=marks.sh
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

# fits_all MARKS PROMISES: for every size
fits_all() {
	for at in 1 2 3; do
		fits "$(echo "$1" | cut -c "$at")" "$(echo "$2" | cut -c "$at")" || return 1
	done
}

# is_kept KIND PROMISES OPTIONS
is_kept() {
	seen=$(marks "$kinds" "$1" "$library" "$3")
	fits_all "$seen" "$2" && return
	echo "promised $2, seen $seen"
	return 1
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

# The table in README.md has every kind, and what it says of this library is as promised.
readme_has_what_is_promised() {
	"$kinds" >"$scratch/kinds"
	while read -r kind default_promise hardened_promise; do
		what=$(sed -n "s/^$kind //p" "$scratch/kinds")
		cells=$(sed -n "s/^| $what | \(.*\) |\$/\1/p" "$tests/misuse/README.md" | tr -d '\`| ')
		if ! fits_all "$(echo "$cells" | cut -c 1-3)" "$default_promise" ||
			! fits_all "$(echo "$cells" | cut -c 4-6)" "$hardened_promise"; then
			echo "$what: promised $default_promise $hardened_promise, README.md has $cells"
			return 1
		fi
	done <<END
$(grep -v '^#' "$tests/misuse/promises.txt")
END
}

expect marks_can_differ marks_can_differ
expect every_kind_has_a_promise every_kind_has_a_promise
expect readme_has_what_is_promised readme_has_what_is_promised
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
