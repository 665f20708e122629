#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Needs: libosmem.so
#
# OSMEM_OPTIONS=trace and map, on programs of the machine: whose file it is, and that they run as
# ever.

# shellcheck disable=SC2016,SC2317 # other shells expand; functions are called through expect
# shellcheck source-path=SCRIPTDIR source=../lib/report.sh
. "${0%/*}/../lib/report.sh"

header_size=4096
record_size=40

# run OPTIONS COMMAND…: as without, and without a word.
run() {
	options=$1
	shift
	"$@" >"$scratch/want" 2>"$scratch/want_err"
	want=$?
	rm -f "$scratch"/*.trace
	LD_PRELOAD=$library OSMEM_OPTIONS=$options "$@" >"$scratch/out" 2>"$scratch/err"
	[ $? -eq "$want" ] && cmp "$scratch/want" "$scratch/out" &&
		cmp "$scratch/want_err" "$scratch/err"
}

# number FILE OFFSET BYTES: of the header.
number() {
	od -An -v -t "u$3" -j "$2" -N "$3" "$1" | tr -d ' '
}

pid_of() {
	number "$1" 20 4
}

parent_of() {
	number "$1" 80 4
}

# is_trace FILE: it has records, and is as long as they are, or longer if the process left by _exit.
is_trace() {
	length=$(wc -c <"$1") used=$((header_size + $(number "$1" 64 8) * record_size))
	[ "$(head -c 8 "$1")" = OSMEMTRC ] && [ "$used" -gt "$header_size" ] || return 1
	if [ "$(number "$1" 48 8)" -gt 0 ]; then
		[ "$length" -eq "$used" ]
	else
		[ "$length" -gt "$used" ]
	fi
}

count() {
	# shellcheck disable=SC2012 # only how many
	ls "$scratch"/*.trace | wc -l
}

one_process_has_one_file() {
	run "trace=$scratch/a.trace" sort "$tests/run.sh" && is_trace "$scratch/a.trace"
}

the_first_process_has_the_file() {
	run "trace=$scratch/a.trace" sh -c "ls $tests; (ls $tests; exit 3); exit 4" &&
		is_trace "$scratch/a.trace" && [ "$(count)" -eq 1 ]
}

# A program that is executed in its place takes it over.
an_executed_program_has_the_file() {
	run "trace=$scratch/a.trace" sh -c "exec sort '$tests/run.sh'" &&
		is_trace "$scratch/a.trace" &&
		tail -c +89 "$scratch/a.trace" | head -c 256 | grep -q -a sort
}

each_process_has_its_own() {
	run "trace=$scratch/%p.trace" sh -c "ls $tests; (ls $tests; true); true" && [ "$(count)" -ge 3 ] &&
		for file in "$scratch"/*.trace; do
			[ "$(pid_of "$file")" = "$(basename "$file" .trace)" ] || return 1
		done
}

# A forked child begins with what it inherits, and says whose it is.
a_forked_child_has_its_own() {
	run "trace=$scratch/%p.trace" perl -e '@a = map { "x$_" } 1 .. 9999; if (!fork) { exit } wait' &&
		[ "$(count)" -eq 2 ] || return 1
	first=$(grep -l . "$scratch"/*.trace | head -n 1)
	last=$(grep -l . "$scratch"/*.trace | tail -n 1)
	is_trace "$first" && is_trace "$last" &&
		{ [ "$(parent_of "$last")" = "$(pid_of "$first")" ] ||
			[ "$(parent_of "$first")" = "$(pid_of "$last")" ]; }
}

the_size_is_kept() {
	run "trace=$scratch/a.trace,trace_size=100k" sort "$tests/run.sh" "$tests/lint.sh" &&
		[ "$(wc -c <"$scratch/a.trace")" -le 102400 ]
}

# A name is meant from where the first process starts: a child elsewhere writes no second file, and
# finds the first one taken.
relative_names_stay() {
	mkdir -p "$scratch/elsewhere"
	(cd "$scratch" && run trace=a.trace sh -c "cd elsewhere && ls $tests; exit 0" &&
		is_trace a.trace && run map=m.trace env -C elsewhere ls "$tests" && [ -s m.trace ]) &&
		[ -z "$(ls "$scratch/elsewhere")" ]
}

relative_names_stay_for_each_process() {
	mkdir -p "$scratch/elsewhere"
	(cd "$scratch" && run "trace=%p.trace" sh -c "(cd elsewhere && ls $tests); cd elsewhere && ls $tests; exit 0") &&
		[ "$(count)" -ge 3 ] && [ -z "$(ls "$scratch/elsewhere")" ]
}

# A folder whose name an option cannot have: names stay as they are.
relative_names_in_a_folder_with_a_comma() {
	mkdir -p "$scratch/a,b/c"
	(cd "$scratch/a,b" && run "trace=a.trace" sh -c "cd c && ls $tests; exit 0" && is_trace a.trace)
}

a_file_that_cannot_be_is_named() {
	LD_PRELOAD=$library OSMEM_OPTIONS=trace=/nonexistent/a ls / >"$scratch/out" 2>"$scratch/err"
	[ "$(cat "$scratch/err")" = \
		"osmem: OSMEM_OPTIONS: trace: cannot write /nonexistent/a: ENOENT" ] &&
		LD_PRELOAD=$library OSMEM_OPTIONS=map=/ ls / >"$scratch/out" 2>"$scratch/err" &&
		[ "$(cat "$scratch/err")" = "osmem: OSMEM_OPTIONS: map: cannot write /: EISDIR" ]
}

a_full_disk_is_named() {
	ln -s /dev/full "$scratch/full" &&
		LD_PRELOAD=$library OSMEM_OPTIONS=map=$scratch/full ls / >"$scratch/out" 2>"$scratch/err" &&
		[ "$(cat "$scratch/err")" = "osmem: OSMEM_OPTIONS: map: cannot write $scratch/full: ENOSPC" ]
}

compiler_runs() {
	echo 'int main(void) { return 0; }' >"$scratch/empty.c"
	run "trace=$scratch/%p.trace,trace_size=4M" "${CC:-cc}" -O2 -c -o "$scratch/empty.o" \
		"$scratch/empty.c" && [ "$(count)" -ge 2 ]
}

shell_runs() {
	run "trace=$scratch/%p.trace" bash -c 'for i in 1 2 3; do echo $(seq $i | sort -r); done'
}

python_runs() {
	run "trace=$scratch/%p.trace" python3 -c '
import threading
threads = [threading.Thread(target=lambda: [str(n) for n in range(9999)]) for i in range(4)]
[t.start() for t in threads]
[t.join() for t in threads]
print(len({str(n): [n] for n in range(9999)}))'
}

is_map() {
	[ "$(head -c 8 "$1")" = OSMEMTRC ] && [ "$(wc -c <"$1")" -gt "$header_size" ]
}

a_map_is_written() {
	run "map=$scratch/a.trace" sort "$tests/run.sh" && is_map "$scratch/a.trace"
}

# A process that leaves by _exit, as some shells do, writes none.
each_process_has_a_map() {
	run "map=$scratch/%p.trace" sh -c "ls $tests; ls $tests; true" &&
		find "$scratch" -name '*.trace' -size +0 >"$scratch/list" &&
		[ "$(wc -l <"$scratch/list")" -ge 2 ] &&
		while read -r file; do
			is_map "$file" || return 1
		done <"$scratch/list"
}

if ! has od; then
	skip traces "od is not installed"
	finish
fi
for test in one_process_has_one_file the_first_process_has_the_file \
	an_executed_program_has_the_file each_process_has_its_own the_size_is_kept \
	relative_names_stay relative_names_stay_for_each_process \
	relative_names_in_a_folder_with_a_comma a_file_that_cannot_be_is_named a_map_is_written each_process_has_a_map \
	a_full_disk_is_named; do
	expect "$test" "$test"
done
if has perl; then
	expect a_forked_child_has_its_own a_forked_child_has_its_own
else
	skip a_forked_child_has_its_own "perl is not installed"
fi
for test in "${CC:-cc} compiler_runs" "bash shell_runs" "python3 python_runs"; do
	if has "${test% *}"; then
		expect "${test#* }" "${test#* }"
	else
		skip "${test#* }" "${test% *} is not installed"
	fi
done
finish
