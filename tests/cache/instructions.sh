#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Needs: libosmem.so
#
# Bounds the instructions of a pair of malloc and free, call and loop included, as
# callgrind counts them. Needs a library with default flags.

# shellcheck disable=SC2317 # functions are called through expect
# shellcheck source-path=SCRIPTDIR source=../lib/report.sh
. "${0%/*}/../lib/report.sh"

pairs=20000

# counted PROGRAM PAIRS SIZE BATCH: instructions of the whole program
counted() {
	timeout 120 valgrind --tool=callgrind --callgrind-out-file=/dev/null \
		"$scratch/$1" "$2" 1 "$3" "$4" 2>&1 >/dev/null | sed -n 's/.*Collected : //p'
}

# tenths PROGRAM SIZE BATCH: tenths of an instruction per pair, by doubling the number of pairs
tenths() {
	few=$(counted "$1" "$pairs" "$2" "$3")
	many=$(counted "$1" $((2 * pairs)) "$2" "$3")
	[ -n "$few" ] && [ -n "$many" ] && echo $(((many - few) * 10 / pairs))
}

# is_at_most MOST SIZE BATCH: the least of three runs, for on a busy machine the clock brings a
# scavenge into the slow run of callgrind.
is_at_most() {
	for _ in 1 2 3; do
		count=$(tenths linked "$2" "$3") || return 1
		[ "$count" -le $(($1 * 10)) ] && return
	done
	echo "$((count / 10)).$((count % 10)) instructions a pair"
	return 1
}

# Self-test: libc's own malloc exceeds every bound below.
libc_takes_more() {
	count=$(tenths count 32 1) && [ "$count" -gt 1000 ]
}

# check NAME COMMAND…
check() {
	if ! has valgrind "${CC:-cc}"; then
		skip "$1" "no valgrind or no compiler"
	elif [ "${CFLAGS+set}" ]; then
		skip "$1" "not the default build"
	else
		expect "$@"
	fi
}

# build PROGRAM [FLAG…]. Linked, not preloaded: valgrind may be of another C library.
build() {
	output=$scratch/$1
	shift
	"${CC:-cc}" -O2 -fno-builtin -pthread -I"$tests/bench/load" -o "$output" "$tests/bench/load/count.c" "$@"
}

! has "${CC:-cc}" || { build count && build linked -Wl,--no-as-needed "$library" -Wl,-rpath,"${library%/*}"; } || exit 1
check libc_takes_more libc_takes_more
check pair_32 is_at_most 47 32 1
check pair_1000 is_at_most 47 1000 1
check pair_16k is_at_most 106 16384 1
check batch_32 is_at_most 64 32 1000
check batch_1000 is_at_most 73 1000 1000
finish
