#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# OSMEM_OPTIONS, on programs of the machine.

# shellcheck disable=SC2317 # functions are called through expect
# shellcheck source-path=SCRIPTDIR source=lib/report.sh
. "${0%/*}/lib/report.sh"

# run OPTIONS COMMAND…: its standard error is left in $scratch/err, its output in $scratch/out.
run() {
	options=$1
	shift
	LD_PRELOAD=$library OSMEM_OPTIONS=$options "$@" >"$scratch/out" 2>"$scratch/err"
}

# The figure of malloc's column.
figure() {
	sed -n "s/^osmem:   $1  *[0-9-]*  *\([0-9]*\)$/\1/p" "$scratch/err"
}

stats_shows_what_happened() {
	run stats sort "$tests/run.sh" && sort "$tests/run.sh" | cmp - "$scratch/out" &&
		[ "$(figure 'blocks allocated')" -gt 0 ] &&
		[ "$(figure 'blocks allocated')" -ge "$(figure 'blocks freed')" ] &&
		[ "$(figure 'peak bytes')" -gt 1000 ]
}

# Counted from before main on, so that nothing is missing in what is live.
stats_counts_cells() {
	run stats sort "$tests/run.sh" && [ "$(figure 'cells allocated')" -gt 10 ] &&
		[ "$(figure 'live cells')" -eq \
			$(($(figure 'cells allocated') - $(figure 'cells freed'))) ] &&
		[ "$(figure 'live bytes in cells')" -ge "$(($(figure 'live cells') * 16))" ] &&
		[ "$(figure 'cached cells')" -gt 0 ] && [ "$(figure 'segments')" -gt 0 ] &&
		[ "$(figure 'mmap calls for cells')" -gt 0 ]
}

# As coreutils do it: close_stdout runs after main, before the library's destructor.
stats_survives_a_closed_stderr() {
	run stats ls / && grep -q 'blocks allocated' "$scratch/err"
}

nothing_is_said_without_options() {
	run '' ls / && [ ! -s "$scratch/err" ] && run ',,' ls / && [ ! -s "$scratch/err" ]
}

# named WHAT WORD: standard error is one line, about WORD, that ends in the names of all options.
named() {
	grep -q "^osmem: OSMEM_OPTIONS: $1 \"$2\"; the options are: stats, trace, trace_size, map, " \
		"$scratch/err" && [ "$(wc -l <"$scratch/err")" -eq 1 ]
}

unknown_is_named_and_ignored() {
	run nonsense ls / && [ -s "$scratch/out" ] && named 'no option' nonsense
}

bad_values_are_named_and_ignored() {
	for word in stats=1 trace= trace_size trace_size=7x trace_size=k trace_size=99999999999G \
		trace_size=1kk map= perturb=256 perturb= check=x purge_delay=1k mmap_threshold=-1; do
		run "$word" ls / && [ -s "$scratch/out" ] && named 'no sense in' "$word" || return 1
	done
}

sizes_have_units() {
	for word in trace_size=4096 mmap_threshold=64k trim_threshold=1M depot_size=1G \
		purge_delay=0 check check=0 check=1 perturb=0; do
		run "$word" ls / && [ ! -s "$scratch/err" ] || return 1
	done
}

unknown_does_not_hide_the_next() {
	run 'no,,stats,' ls / && grep -q 'no option "no"' "$scratch/err" &&
		grep -q 'blocks allocated' "$scratch/err"
}

a_part_of_a_name_is_unknown() {
	run stat ls / && grep -q 'no option "stat"' "$scratch/err" &&
		run statsx ls / && grep -q 'no option "statsx"' "$scratch/err"
}

a_long_name_is_cut() {
	run "$(printf '%0500d' 0)" ls / && [ "$(wc -l <"$scratch/err")" -eq 1 ] &&
		[ "$(wc -c <"$scratch/err")" -lt 512 ]
}

for test in stats_shows_what_happened stats_counts_cells stats_survives_a_closed_stderr \
	nothing_is_said_without_options unknown_is_named_and_ignored \
	bad_values_are_named_and_ignored sizes_have_units \
	unknown_does_not_hide_the_next a_part_of_a_name_is_unknown a_long_name_is_cut; do
	expect "$test" "$test"
done
finish
