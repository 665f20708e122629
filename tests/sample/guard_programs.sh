#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Needs: libosmem.so, libosmem.a
#
# OSMEM_OPTIONS=guard: what a report says of a program, and programs that guards do not disturb.

# shellcheck disable=SC2317,SC2016 # functions are called through expect; $1 of awk, perl and gdb
# shellcheck source-path=SCRIPTDIR source=../lib/report.sh
. "${0%/*}/../lib/report.sh"

cc=${CC:-cc}

build() {
	# shellcheck disable=SC2086 # words
	$cc -std=gnu11 -g -O1 -D_GNU_SOURCE -Wall -Wextra -fno-builtin -o "$scratch/$1" \
		"$here/guard_programs/program.c" $2
}

build_programs() {
	build plain -rdynamic && build archived "$src/libosmem.a" &&
		build static "-static $src/libosmem.a"
}

# run WAY OPTIONS [PROGRAM]: leaves its status in status, and what it says in err. PROGRAM has the
# library in itself.
run() {
	preload=$library
	[ "$3" ] && preload=
	(LD_PRELOAD=$preload OSMEM_OPTIONS=$2 exec timeout -s KILL 60 "$scratch/${3:-plain}" "$1") \
		2>"$scratch/err"
	status=$?
	cat "$scratch/err"
}

# names PART FUNCTION: the first frame of this part of the report is in the function.
names() {
	sed -n "/^osmem: $1 in thread [0-9]*:\$/{n;p;}" "$scratch/err" |
		grep -q "^osmem:   #0 $2+0x[0-9a-f]*, $scratch/plain+0x[0-9a-f]*\$"
}

says() {
	sed 1q "$scratch/err" | grep -Eq "$1"
}

use_after_free() {
	run use guard=1
	[ "$status" -eq 139 ] &&
		says '^osmem: use after free: a read at 0x[0-9a-f]+, byte 1 of a freed block of 64 bytes at 0x' &&
		names "the access was" use && names "the block was allocated" make &&
		names "the block was freed" drop
}

# One of two is beside a guard; by turns, so that both are met.
beside() {
	for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
		run "$1" guard=1
		[ "$status" -eq 139 ] && says "^osmem: $1: a read at 0x[0-9a-f]+, byte 1 $2 a block of 64" &&
			names "the access was" use && names "the block was allocated" make && return
	done
	return 1
}

double_free() {
	run double guard=1
	[ "$status" -eq 134 ] && says '^osmem: free\(0x[0-9a-f]*\): this block is already free$' &&
		names "the call was" drop && names "the block was allocated" make &&
		names "the block was freed" drop
}

handler_runs() {
	run handled guard=1
	[ "$status" -eq 7 ] && says '^osmem: use after free'
}

without_standard_error() {
	run closed guard=1
	[ "$status" -eq 139 ] && ! [ -s "$scratch/err" ]
}

right_program() {
	run right guard=1
	[ "$status" -eq 0 ] && ! [ -s "$scratch/err" ]
}

off_by_default() {
	run use ""
	[ "$status" -eq 0 ]
}

linked() {
	run use guard=1 "$1"
	[ "$status" -eq 139 ] && says '^osmem: use after free: a read' &&
		grep -q 'the block was freed' "$scratch/err" || return
	run handled guard=1 "$1"
	[ "$status" -eq 7 ]
}

invalid_values() {
	for value in x -1 1k ''; do
		run right "guard=$value"
		[ "$status" -eq 0 ] && says '^osmem: OSMEM_OPTIONS: .*guard=' || return
	done
}

# The core has the instruction and the stack of the fault.
core_is_of_the_fault() {
	mkdir -p "$scratch/core" && (cd "$scratch/core" && OSMEM_OPTIONS=guard=1 LD_PRELOAD=$library \
		exec prlimit --core=unlimited "$scratch/plain" use) 2>"$scratch/err"
	set -- "$scratch"/core/core*
	gdb -q -batch -ex 'info symbol $pc' -ex bt "$scratch/plain" "$1" >"$scratch/gdb" 2>&1
	grep -q '^use' "$scratch/gdb" && grep -q '^#1 .* main' "$scratch/gdb"
}

has_cores() {
	read -r pattern </proc/sys/kernel/core_pattern && [ "$pattern" = core ] && has gdb prlimit
}

# same OPTIONS COMMAND…: it prints what it prints without the library.
same() {
	options=$1
	shift
	timeout 120 "$@" >"$scratch/want" 2>&1
	LD_PRELOAD=$library OSMEM_OPTIONS=$options timeout -s KILL 300 "$@" >"$scratch/got" 2>&1 &&
		cmp "$scratch/want" "$scratch/got"
}

# programs NAME OPTIONS
programs() {
	expect "sort$1" same "$2" sort -n "$scratch/numbers"
	expect "awk$1" same "$2" awk '{ s[$1 % 97] = s[$1 % 97] $1 } END { for (i in s) n += length(s[i]); print n }' \
		"$scratch/numbers"
	if has python3; then
		expect "python3$1" same "$2" python3 -c \
			'import json, re; print(len(re.sub("1", "x", json.dumps(list(range(20000))))))'
	else
		skip "python3$1" "no python3"
	fi
	if has perl; then
		expect "perl$1" same "$2" perl -e 'for (1..20000) { $h{$_} = "x" x ($_ % 50) } print length join "", values %h'
	else
		skip "perl$1" "no perl"
	fi
}

# The virtual machine uses SIGSEGV all the time, and checks that its handler is in place.
java_runs() {
	cat >"$scratch/Null.java" <<-'END'
		public class Null {
			static int[] nothing;
			public static void main(String[] arguments) {
				int caught = 0;
				for (int i = 0; i < 200000; i++) {
					try {
						caught += nothing[i % 10];
					} catch (NullPointerException e) {
						caught++;
					}
				}
				System.out.println(caught);
			}
		}
	END
	same guard=1 java -Xcheck:jni "$scratch/Null.java" && [ "$(cat "$scratch/got")" = 200000 ]
}

faulthandler_reports() {
	LD_PRELOAD=$library OSMEM_OPTIONS=guard=1 python3 -X faulthandler -c 'import ctypes; ctypes.string_at(0)' \
		>"$scratch/got" 2>&1
	[ $? -eq 139 ] && sed 1q "$scratch/got" | grep -q '^Fatal Python error: Segmentation fault$'
}

if ! has "$cc"; then
	skip all "no compiler"
	finish
fi
build_programs >"$scratch/log" 2>&1 || fail build_programs "$(tail -n 1 "$scratch/log")"
expect use_after_free use_after_free
expect overflow beside overflow behind
expect underflow beside underflow before
expect double_free double_free
expect handler_runs handler_runs
expect without_standard_error without_standard_error
expect right_program right_program
expect off_by_default off_by_default
expect archived linked archived
expect static linked static
expect invalid_values invalid_values
if has_cores; then
	expect core_is_of_the_fault core_is_of_the_fault
else
	skip core_is_of_the_fault "no gdb, no prlimit, or cores go elsewhere"
fi
seq 30000 >"$scratch/numbers"
programs "" guard=1
programs _checked guard=3,check=50
programs _hardened guard=3,hardened
programs _counted "guard=10,stats=/dev/null,trace=$scratch/trace.%p,trace_size=1M"
if has java; then
	expect java java_runs
else
	skip java "no java"
fi
if has python3; then
	expect faulthandler faulthandler_reports
else
	skip faulthandler "no python3"
fi
finish
