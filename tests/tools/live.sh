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
expect without_a_terminal_it_prints_once without_a_terminal_it_prints_once
expect options_do_not_mix options_do_not_mix
finish
