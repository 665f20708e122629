#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Needs: libosmem.so
#
# Real programs under LD_PRELOAD=libosmem.so: what each case of preload/cases.sh prints, and its
# exit status, must be the same with the library and without. Cases whose program is not installed
# are skipped, as are those that do not work here without the library either.

# shellcheck source-path=SCRIPTDIR source=../lib/report.sh
. "${0%/*}/../lib/report.sh"

# preload_course.sh sets these: the library's options, and cases that do not suit them.
options=${options-} left_out=${left_out-}

CASE_SECONDS=80

export tests
export data="$scratch/data"

# Others may have to read it: PostgreSQL does not run as root.
preload=$scratch/libosmem.so
cp "$library" "$preload"
chmod 755 "$scratch" "$preload"

# 60,000 lines of words and numbers, always the same.
awk 'BEGIN {
	for (i = 0; i < 60000; i++) {
		s = ((s + 1) * 16807) % 2147483647
		w = sprintf("%c%c%c", 97 + s % 26, 97 + int(s / 26) % 26, 97 + int(s / 676) % 26)
		print w, s % 1000, w i % 77, s
	}
}' >"$data"

# run NAME KIND PRELOAD: leaves output and status in $scratch/NAME.KIND.{out,status}.
run() {
	mkdir "$scratch/$1.$2"
	(
		cd "$scratch/$1.$2" || exit 1
		[ -z "$3" ] || export LD_PRELOAD="$3" ${options:+OSMEM_OPTIONS="$options"}
		timeout -k 5 "$CASE_SECONDS" sh "$here/preload/cases.sh" "$1"
	) >"$scratch/$1.$2.out" 2>&1 </dev/null
	echo $? >"$scratch/$1.$2.status"
	rm -rf "${scratch:?}/$1.$2"
}

# The first line that differs, for the report.
first_difference() {
	diff "$1" "$2" | sed -n 's/^[<>] //p' | tail -n 1 | cut -c 1-200
}

# compare NAME: run it both ways, at the same time, and report.
compare() {
	run "$1" without '' &
	run "$1" with "$preload"
	wait
	without=$(cat "$scratch/$1.without.status") with=$(cat "$scratch/$1.with.status")
	if [ "$without" -eq 77 ]; then
		skip "$1" "not installed completely"
	elif [ "$without" -ge 124 ]; then
		skip "$1" "does not work here without the library either: exit status $without"
	elif [ "$with" -ne "$without" ]; then
		fail "$1" "exit status $with, not $without: $(tail -n 1 "$scratch/$1.with.out")"
	elif ! cmp -s "$scratch/$1.with.out" "$scratch/$1.without.out"; then
		fail "$1" "$(first_difference "$scratch/$1.without.out" "$scratch/$1.with.out")"
	else
		ok "$1"
	fi
}

# try NAME PROGRAM…: compare, if all the programs are there.
try() {
	name=$1
	shift
	is_wanted "$name" || return 0
	case " $left_out " in *" $name "*) return ;; esac
	for program in "$@"; do
		if ! has "$program"; then
			skip "$name" "$program is not installed"
			return
		fi
	done
	compare "$name"
}

# shellcheck disable=SC2317 # called through expect
library_is_loaded() {
	LD_PRELOAD=$preload sh -c 'grep libosmem /proc/self/maps /proc/$$/maps | cut -d : -f 1 | uniq | wc -l' |
		grep -q -x 2
}

# nginx and others are not on everybody's path.
PATH=$PATH:/usr/sbin:/sbin

expect library_is_loaded library_is_loaded
for name in ls cat sort grep sed find tar gzip xz bash dash awk make gcc clang git perl node java \
	sqlite3 valgrind gdb strace perf ltrace; do
	try "$name" "$name"
done
try gxx g++
try ld gcc ld ar
try rust rustc cargo
try python3 python3
try python3_with_malloc python3
try limit python3 prlimit
try redis redis-server redis-cli redis-benchmark
try nginx nginx curl
try postgresql psql pgbench setpriv
try ghostscript gs
for browser in chromium chromium-browser google-chrome; do
	has "$browser" && break
done
try chromium "$browser"
finish
