#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Needs: libosmem.so, libosmem.a
#
# OSMEM_OPTIONS=backtrace: the call stack behind the line of a report.

# shellcheck disable=SC2317 # functions are called through expect
# shellcheck source-path=SCRIPTDIR source=../lib/report.sh
. "${0%/*}/../lib/report.sh"

cc=${CC:-cc}

build() {
	# shellcheck disable=SC2086 # words
	$cc -std=gnu11 -g -O1 -D_GNU_SOURCE -Wall -Wextra -fno-builtin -pthread -I"$utils" "$@"
}

build_programs() {
	build -rdynamic -o "$scratch/linked" "$here/backtrace/program.c" -L"$src" -losmem \
		-Wl,-rpath,"$src" &&
		build -rdynamic -o "$scratch/archived" "$here/backtrace/program.c" "$src/libosmem.a" &&
		build -shared -fPIC -o "$scratch/plugin.so" "$here/backtrace/plugin.c"
}

# commits OPTIONS PROGRAM WAY: it ends in a report, which is left in err.
commits() {
	(OSMEM_OPTIONS=$1 exec timeout -s KILL 60 "$2" "$3" "$scratch/plugin.so") 2>"$scratch/err"
	status=$?
	cat "$scratch/err"
	[ "$status" -eq 134 ]
}

# blames FUNCTION: one line of the report, then the stack, whose first frame outside the library is
# that function's.
blames() {
	sed 1q "$scratch/err" | grep -q '^osmem: [a-z_]*(0x[0-9a-f]*): ' &&
		! sed 1d "$scratch/err" | grep -Ev '^osmem:   #[0-9]+ ([^ ]+\+0x[0-9a-f]+, )?/.*\+0x[0-9a-f]+$' &&
		grep '^osmem:   #' "$scratch/err" | grep -v "/libosmem\.so+" | sed 1q |
			grep -q " $1+0x[0-9a-f]*, $scratch/linked+0x"
}

frames_name_the_culprit() {
	for options in backtrace hardened,backtrace backtrace,stats; do
		for way in main large course thread handler child; do
			commits "$options" "$scratch/linked" "$way" && blames culprit || return
		done
	done
}

# What is noticed late: the stack is that of the call which noticed it.
a_late_report_has_them() {
	commits backtrace "$scratch/linked" flush && blames flushes
}

# Another thread has the lock that dladdr and backtrace_symbols wait for.
the_loader_is_not_waited_for() {
	commits backtrace "$scratch/linked" loader && blames culprit
}

without_it_a_report_is_a_line() {
	commits '' "$scratch/linked" main && [ "$(wc -l <"$scratch/err")" -eq 1 ] &&
		commits hardened "$scratch/linked" main && [ "$(wc -l <"$scratch/err")" -eq 1 ]
}

# maps OPTIONS: what is mapped into a program that has the library
maps() {
	LD_PRELOAD=$library OSMEM_OPTIONS=$1 cat /proc/self/maps
}

nothing_is_loaded_for_it() {
	maps backtrace >"$scratch/maps" && grep -q libosmem "$scratch/maps" &&
		! grep -q libgcc "$scratch/maps"
}

# names_by_address PROGRAM: debug information has what the addresses of its frames are in.
names_by_address() {
	commits backtrace "$1" main && sed -n "s|^osmem:   .*$1+||p" "$scratch/err" |
		xargs addr2line -f -e "$1" | grep -x culprit
}

addresses_lead_to_lines() {
	names_by_address "$scratch/linked" && names_by_address "$scratch/archived"
}

static_programs_have_it() {
	names_by_address "$scratch/static"
}

if ! has "$cc" timeout; then
	skip programs "no $cc, or no timeout"
	finish
fi
expect build_programs build_programs
for test in frames_name_the_culprit a_late_report_has_them the_loader_is_not_waited_for \
	without_it_a_report_is_a_line nothing_is_loaded_for_it; do
	expect "$test" "$test"
done
if ! has addr2line; then
	skip addresses_lead_to_lines "no addr2line"
	finish
fi
expect addresses_lead_to_lines addresses_lead_to_lines
if build -static -o "$scratch/static" "$here/backtrace/program.c" "$src/libosmem.a" 2>/dev/null; then
	expect static_programs_have_it static_programs_have_it
else
	skip static_programs_have_it "no C library to link statically"
fi
finish
