#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Needs: libosmem.so
#
# heapview --live in a pseudo terminal, watching a mock of the library's service.

# shellcheck disable=SC2317 # functions are called through expect
# shellcheck source-path=SCRIPTDIR source=../lib/report.sh
. "${0%/*}/../lib/report.sh"

cc=${CC:-cc}
view=$scratch/heapview

it_builds() {
	"$cc" -std=gnu11 -O1 -D_GNU_SOURCE -I"$src" -I"$src/tools" -o "$view" "$src"/tools/*.c &&
		"$cc" -std=gnu11 -O1 -D_GNU_SOURCE -o "$scratch/terminal" "$here"/live/*.c
}

# What it prints on failure is the screen; the reason comes last.
in_terminal() {
	(cd "$scratch" && timeout -s KILL 120 ./terminal "$view" "$1")
}

# The library's own service: what is saved can be shown.
a_process_is_watched() {
	LD_PRELOAD=$library OSMEM_OPTIONS=serve=$scratch/socket sleep 100 &
	process=$!
	for _ in $(seq 100); do
		[ -S "$scratch/socket" ] && break
		sleep 0.1
	done
	mkdir "$scratch/saved" &&
		(cd "$scratch/saved" && timeout -s KILL 120 "$scratch/terminal" "$view" "$scratch/socket")
	status=$?
	"$view" --live "$scratch/socket" >"$scratch/text" || status=1
	kill "$process"
	wait "$process"
	cat "$scratch/text"
	grep -q "^ sleep  process $process " "$scratch/text" && grep -q ' Resident  *[0-9.]* MiB, peak' "$scratch/text" &&
		"$view" --text "$scratch/saved"/*.pb && "$view" --svg "$scratch/saved"/*.map >"$scratch/out" &&
		! "$view" --live "$scratch/socket" 2>"$scratch/err" && [ "$status" -eq 0 ]
}

# Into a pipe: once, as text.
without_a_terminal_it_prints_once() {
	(cd "$scratch" && timeout -s KILL 60 ./terminal "$view" prints_once)
}

options_do_not_mix() {
	for option in --text --svg "--step 1" "-o x" --diff; do
		# shellcheck disable=SC2086 # an option may have a value
		! "$view" --live $option socket 2>"$scratch/err" && grep -q 'cannot be combined' "$scratch/err" ||
			return 1
	done
	! "$view" --live "$scratch/$(printf '%0120d' 0)" 2>"$scratch/err" && grep -q 'too long' "$scratch/err"
}

expect it_builds it_builds
for test in shows_figures keys_trim_and_save works_at_any_size works_without_colour works_in_ascii \
	dumb_terminals_get_lines control_c_ends_it signals_restore_the_terminal stops_and_continues \
	says_that_the_process_has_ended bad_answers_end_it slow_processes_do_not_block_keys \
	end_of_input_ends_it missing_figures_are_dashes; do
	expect $test in_terminal $test
done
expect a_process_is_watched a_process_is_watched
expect without_a_terminal_it_prints_once without_a_terminal_it_prints_once
expect options_do_not_mix options_do_not_mix
finish
