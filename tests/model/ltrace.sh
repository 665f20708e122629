#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Needs: libosmem.so, snippets
#
# The snippets as a course's checker sees them: each is run under ltrace, and the os_* calls with
# their results, and below each the system calls it made, must read as in its reference, which was
# written from the naive model ("make references"). See ltrace.awk for the form.

cd "$(dirname "$0")/.." || exit 1
src=$(cd "${SRC_PATH:-../src}" && pwd)
out=bin/model/ltrace
passed=0 failed=0 skipped=0

skip_all() {
	for reference in model/snippets/*.ref; do
		echo "skip model/ltrace.$(basename "$reference" .ref): $1"
		skipped=$((skipped + 1))
	done
	echo "0 passed, 0 failed, $skipped skipped"
	exit 0
}

# On standard error ltrace complains about functions it cannot follow, and a snippet, through DIE(),
# about what went wrong; its exit status may be 0 all the same.
check() {
	LD_LIBRARY_PATH=$src timeout -s KILL 20 ltrace -F model/snippets/ltrace.conf -S -n 2 -x 'os_*' \
		-o "$out/$1.trace" "bin/model/snippets/$1" 2>"$out/$1.err"
	status=$?
	if [ "$status" -ne 0 ] || grep -q "^(model/snippets/$1" "$out/$1.err"; then
		said=$(grep "^(model/snippets/$1" "$out/$1.err" || tail -n 1 "$out/$1.err")
		echo "FAIL model/ltrace.$1: expected exit status 0 and no word, but it exited with status" \
			"$status and said ${said:-nothing}"
		return 1
	fi
	awk -f model/ltrace.awk "$out/$1.trace" >"$out/$1.out"
	if ! diff -u "model/snippets/$1.ref" "$out/$1.out"; then
		echo "FAIL model/ltrace.$1: see the differences above"
		return 1
	fi
	echo "ok model/ltrace.$1"
}

command -v ltrace >/dev/null || skip_all "ltrace is not installed"
ltrace -S -o /dev/null true 2>/dev/null || skip_all "ltrace may not trace here"
[ "$(getconf PAGESIZE)" -eq 4096 ] || skip_all "the references are for pages of 4096 bytes"

mkdir -p "$out"
for reference in model/snippets/*.ref; do
	if check "$(basename "$reference" .ref)"; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
	fi
done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
