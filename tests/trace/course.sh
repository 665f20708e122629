#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Needs: libosmem.so, heapview
#
# OSMEM_OPTIONS=course: a trace of a real program has every step of the block list that serves its
# malloc. The steps lead from the list at its start to the list that a map at exit has.

# shellcheck disable=SC2317 # functions are called through expect
# shellcheck source-path=SCRIPTDIR source=../lib/report.sh
. "${0%/*}/../lib/report.sh"

heapview=$src/tools/heapview

# record PROGRAM…: its trace and map.
record() {
	rm -f "$scratch/trace" "$scratch/map"
	"$src/tools/osmem-run" --course --trace="$scratch/trace" --map="$scratch/map" "$@" >"$scratch/out" 2>&1
}

# steps: how many the player has.
steps() {
	"$heapview" --text "$scratch/trace" --step 999999999 2>&1 | sed -n 's/.*has only \([0-9]*\) steps.*/\1/p'
}

# leads_to_the_map LEAST: the trace has so many steps, and they end in the list of the map.
leads_to_the_map() {
	count=$(steps)
	[ "$count" -ge "$1" ] && "$heapview" --text "$scratch/trace" --step "$count" >"$scratch/steps" &&
		"$heapview" --text "$scratch/map" >"$scratch/list" && [ -s "$scratch/list" ] &&
		cmp "$scratch/steps" "$scratch/list"
}

steps_of_a_program() {
	record sort "$tests/run.sh" && sort "$tests/run.sh" | cmp - "$scratch/out" && leads_to_the_map 100 &&
		"$heapview" "$scratch/trace" -o "$scratch/page.html" &&
		grep -q '</html>' "$scratch/page.html"
}

steps_of_threads_and_processes() {
	record python3 -c '
import subprocess, threading
threads = [threading.Thread(target=lambda: [bytearray(i * 7) for i in range(2000)]) for _ in range(3)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(subprocess.run(["echo", "ready"], capture_output=True).stdout)' &&
		grep -q ready "$scratch/out" && leads_to_the_map 10000
}

# The file stays as small as it has to; the program does not notice.
trace_is_bounded() {
	"$src/tools/osmem-run" --course --trace="$scratch/small" trace_size=64k sort "$tests/run.sh" \
		>"$scratch/out" 2>&1 && sort "$tests/run.sh" | cmp - "$scratch/out" &&
		[ "$(wc -c <"$scratch/small")" -le 65536 ] && "$heapview" --text "$scratch/small" >"$scratch/list" &&
		[ -s "$scratch/list" ]
}

expect steps_of_a_program steps_of_a_program
if has python3; then
	expect steps_of_threads_and_processes steps_of_threads_and_processes
else
	skip steps_of_threads_and_processes "python3 is not installed"
fi
expect trace_is_bounded trace_is_bounded
finish
