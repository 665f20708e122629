#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Needs: libosmem.so, snippets
#
# The snippets under valgrind with leak check, as a course's checker runs its programs: nothing is
# definitely or indirectly lost, and nothing is read or written that may not be.

# shellcheck source-path=SCRIPTDIR source=../lib/report.sh
. "${0%/*}/../lib/report.sh"

snippets=$tests/bin/model/snippets

# check NAME
check() {
	LD_LIBRARY_PATH=${library%/*} timeout 120 valgrind --leak-check=full --error-exitcode=9 \
		"$snippets/$1" 2>"$scratch/$1"
	status=$?
	if [ "$status" -ne 0 ]; then
		fail "$1" "exit status $status: $(tail -n 3 "$scratch/$1" | tr '\n' ' ')"
	elif grep -E '(definitely|indirectly) lost: [1-9]' "$scratch/$1" >&2; then
		fail "$1" "see above"
	elif ! grep -q 'no leaks are possible\|definitely lost: 0 ' "$scratch/$1"; then
		fail "$1" "valgrind says nothing of leaks"
	else
		ok "$1"
	fi
}

for reference in "$tests"/model/snippets/*.ref; do
	name=$(basename "$reference" .ref)
	if ! command -v valgrind >/dev/null; then
		skip "$name" "no valgrind"
	elif is_wanted "$name"; then
		check "$name"
	fi
done
finish
