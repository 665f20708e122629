#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Needs: libosmem.so, libosmem.a
#
# OSMEM_OPTIONS=leaks: what is reported at exit, and what is not. leaks/program.c and threads.c have the ways to keep
# a block and to lose one, leaks/expected what the reports of each have to be.

# shellcheck disable=SC2317 # functions are called through expect
# shellcheck source-path=SCRIPTDIR source=../lib/report.sh
. "${0%/*}/../lib/report.sh"

cc=${CC:-cc}
cxx=${CXX:-c++}
refusing=77 # the exit status where the system does not allow what the way needs

build() {
	# shellcheck disable=SC2086 # words
	$cc -std=gnu11 -g -O1 -D_GNU_SOURCE -Wall -Wextra -fno-builtin -pthread -I"$utils" "$@"
}

build_ways() {
	build "$here/leaks/program.c" "$here/leaks/threads.c" "$@"
}

build_programs() {
	build_ways -o "$scratch/linked" -L"$src" -losmem -Wl,-rpath,"$src" &&
		build_ways -rdynamic -o "$scratch/archived" "$src/libosmem.a" &&
		build -shared -o "$scratch/plugin.so" -fPIC "$here/leaks/plugin.c"
}

# goes OPTIONS COMMAND…: its report is in err, its exit status in status
goes() {
	options=$1
	shift
	OSMEM_OPTIONS=$options timeout -s KILL 60 "$@" >"$scratch/out" 2>"$scratch/err"
	status=$?
	cat "$scratch/err"
}

# reports LINE…: a line with the sums, then these groups; nothing at all, if there are none
reports() {
	if [ $# -eq 0 ]; then
		! [ -s "$scratch/err" ]
		return
	fi
	printf '%s\n' "$@" | sed 's/^/osmem:   /' >"$scratch/wanted"
	sed 1q "$scratch/err" | grep -Eq '^osmem: leaks: process [0-9]+: [0-9,]+ blocks?, [0-9,]+ bytes in all(; directly [0-9,]+ blocks?, [0-9,]+ bytes)?$' &&
		sed 1d "$scratch/err" | diff "$scratch/wanted" -
}

# is_as_expected OPTIONS PROGRAM WAY
is_as_expected() {
	goes "$1" "$scratch/$2" "$3" "$scratch/plugin.so"
	[ "$status" -eq "$refusing" ] && return
	[ "$status" -eq 7 ] || return 1
	way=$3
	set --
	while IFS= read -r line; do
		set -- "$@" "$line"
	done <<-EOT
		$(sed -n "s/^$way|//p" "$here/leaks/expected" | tr '|' '\n')
	EOT
	[ "$*" ] || set --
	reports "$@"
}

# expect_way PREFIX OPTIONS PROGRAM WAY
expect_way() {
	if is_as_expected "$2" "$3" "$4" >"$scratch/said" 2>&1; then
		expect "$1$4" true
	elif [ "$status" -eq "$refusing" ]; then
		skip "$1$4" "the system does not allow it"
	else
		expect "$1$4" says "$scratch/said"
	fi
}

says() {
	cat "$1"
	false
}

# ---- Reports ----

large_blocks() {
	goes leaks "$scratch/linked" large &&
		reports '5,001,216 bytes in 1 block of 5001216' '106,496 bytes in 1 block of 106496' &&
		goes leaks,hardened "$scratch/linked" large &&
		reports '5,000,000 bytes in 1 block of 5000000' '100,000 bytes in 1 block of 100000'
}

# The block that was resized last is known to the library.
resized_blocks() {
	goes leaks "$scratch/linked" resized && reports '5,001,216 bytes in 1 block of 5001216'
}

the_largest_groups_are_shown() {
	goes leaks "$scratch/linked" sizes
	[ "$(wc -l <"$scratch/err")" -eq 22 ] &&
		sed -n 1p "$scratch/err" | grep -q ' 820 blocks, 354,240 bytes in all$' &&
		sed -n 2p "$scratch/err" | grep -qx 'osmem:   25,600 bytes in 40 blocks of 640' &&
		sed -n 22p "$scratch/err" | grep -qx 'osmem:   45,920 bytes in 210 blocks in other groups'
}

# All live blocks, and no free one, of a heap that four threads have used. A stale address in some
# register or on the stack may keep one or two.
no_block_is_missed() {
	for options in leaks leaks,hardened leaks,guard=1 "leaks,profile=$scratch/profile,profile_interval=1"; do
		goes "$options" "$scratch/linked" exact
		live=$(cat "$scratch/out")
		lost=$(sed -n '1s/.*: \([0-9,]*\) blocks.*/\1/p' "$scratch/err" | tr -d ,)
		[ "$live" -gt 10000 ] && [ "$lost" -le "$live" ] && [ "$lost" -ge $((live - 3)) ] ||
			return
	done
}

# frames N FUNCTION…: where the addresses from line N on are in
frames() {
	sed -n "$1,\$p" "$scratch/err" | sed -n 's/^osmem:   #.*linked+//p' |
		xargs addr2line -f -e "$scratch/linked" | sed -n 'p;n' | head -n 3 | tr '\n' ' '
}

sampled_blocks_have_stacks() {
	goes "leaks,profile=$scratch/profile,profile_interval=1" "$scratch/linked" behind
	[ "$status" -eq 7 ] && ! grep 'without a stack' "$scratch/err" &&
		sed -n 2p "$scratch/err" | grep -qx 'osmem:   480 bytes in 1 block, allocated here:' &&
		grep -qx 'osmem:   464 bytes in 1 block, indirectly, allocated here:' "$scratch/err" &&
		[ "$(frames 3)" = 'get behind main ' ]
}

others_have_none() {
	goes "leaks,profile=$scratch/profile,profile_interval=1G" "$scratch/linked" leaked
	reports '480 bytes in 1 block of 480' \
		'blocks without a stack were not sampled: nearly all are with profile_interval=1'
}

# A million blocks, a thousand threads, or addresses without memory: seconds, not minutes.
it_takes_seconds() {
	for way in many crowd sparse; do
		begun=$(date +%s)
		goes leaks "$scratch/linked" "$way"
		[ $(($(date +%s) - begun)) -lt 10 ] || return
	done
}

# ---- The end of a process ----

the_status_stays() {
	for options in leaks leaks=exit; do
		goes "$options" "$scratch/linked" reachable
		[ "$status" -eq 7 ] && reports || return
	done
	goes leaks "$scratch/linked" leaked
	[ "$status" -eq 7 ]
}

# What the program has buffered is written.
with_exit_it_is_23() {
	goes leaks=exit "$scratch/linked" leaked
	[ "$status" -eq 23 ] && reports '480 bytes in 1 block of 480' &&
		goes leaks=exit "$scratch/linked" buffered
	[ "$status" -eq 23 ] && [ "$(cat "$scratch/out")" = buffered ]
}

only_exit_reports() {
	goes leaks=exit "$scratch/linked" at_once
	[ "$status" -eq 7 ] && reports && goes leaks=exit "$scratch/linked" killed
	[ "$status" -eq 134 ] && ! grep leaks "$scratch/err"
}

other_values_are_refused() {
	goes leaks=no "$scratch/linked" leaked
	[ "$status" -eq 7 ] && grep -qx 'osmem: OSMEM_OPTIONS: invalid value in "leaks=no"; leaks takes no value, or exit' "$scratch/err" &&
		[ "$(wc -l <"$scratch/err")" -eq 1 ]
}

# ---- Surroundings ----

without_proc_it_says_so() {
	# shellcheck disable=SC2016 # the inner shell expands them
	goes leaks unshare -rm sh -c 'mount -t tmpfs none /proc && exec "$@"' sh "$scratch/linked" leaked
	[ "$status" -eq 7 ] && [ "$(wc -l <"$scratch/err")" -eq 1 ] &&
		grep -Eqx 'osmem: leaks: process [0-9]+ cannot be searched: /proc cannot be read' "$scratch/err"
}

# Only one process can trace another: the search does not depend on it.
under_strace() {
	goes leaks strace -f -o /dev/null "$scratch/linked" in_register
	[ "$status" -eq 7 ] && reports
}

under_gdb() {
	goes leaks gdb -q -batch -ex run -ex quit --args "$scratch/linked" in_register
	! grep 'osmem: leaks' "$scratch/err" && grep -q 'exited with code 07' "$scratch/out"
}

cxx_programs() {
	"$cxx" -g -O1 -pthread -o "$scratch/cxx" "$here/leaks/program.cc" &&
		goes leaks env LD_PRELOAD="$library" "$scratch/cxx"
	[ "$status" -eq 7 ] && reports '480 bytes in 1 block of 480' '32 bytes in 1 block of 32, indirectly'
}

static_programs() {
	is_as_expected leaks static leaked && is_as_expected leaks static interior &&
		is_as_expected leaks static ended && is_as_expected leaks static on_stack
}

# real COMMAND…: with the library it does what it does without
real() {
	"$@" >"$scratch/plain" 2>/dev/null </dev/null
	plain=$?
	goes leaks env LD_PRELOAD="$library" "$@" </dev/null
	[ "$status" -eq "$plain" ] && cmp "$scratch/out" "$scratch/plain" &&
		! grep 'cannot be searched' "$scratch/err"
}

real_programs() {
	real ls -l / && real sh -c 'echo word | cat; echo word' &&
		real "$cc" -E "$here/leaks/plugin.c"
	for program in "python3 -c print(sum(range(10**6)))" "perl -e print(1)" "git --version" \
		"sqlite3 :memory: .schema"; do
		# shellcheck disable=SC2086 # words
		! has "${program%% *}" || real $program || return
	done
}

if ! has "$cc" timeout; then
	skip programs "no $cc, or no timeout"
	finish
fi
expect build_programs build_programs
sed 's/|.*//' "$here/leaks/expected" >"$scratch/ways"
while read -r way; do
	expect_way '' leaks linked "$way" </dev/null
	expect_way hardened_ leaks,hardened linked "$way" </dev/null
done <"$scratch/ways"
for way in leaked cycle plugin_variable ended in_register freed; do
	expect_way archived_ leaks archived "$way"
done
for test in large_blocks resized_blocks the_largest_groups_are_shown no_block_is_missed \
	others_have_none it_takes_seconds \
	the_status_stays with_exit_it_is_23 only_exit_reports other_values_are_refused real_programs; do
	expect "$test" "$test"
done
if has addr2line; then
	expect sampled_blocks_have_stacks sampled_blocks_have_stacks
else
	skip sampled_blocks_have_stacks "no addr2line"
fi
if has unshare && unshare -rm true 2>/dev/null; then
	expect without_proc_it_says_so without_proc_it_says_so
else
	skip without_proc_it_says_so "no unshare, or no right to a namespace of mounts"
fi
for tool in strace gdb; do
	if has "$tool"; then
		expect "under_$tool" "under_$tool"
	else
		skip "under_$tool" "no $tool"
	fi
done
if has "$cxx"; then
	expect cxx_programs cxx_programs
else
	skip cxx_programs "no $cxx"
fi
if build_ways -static -o "$scratch/static" "$src/libosmem.a" 2>/dev/null; then
	expect static_programs static_programs
else
	skip static_programs "no C library to link statically"
fi
finish
