#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# The C programs of load/ under musl: with its own malloc, and with the library preloaded.
#
#	musl.sh [NAME]…
#
# NAME is a workload of the file workloads, or what comes before a dash in its name; all without one.
# ROUNDS (3) is how often everything runs, by turns; SCALE (20) is the amount of work in percent.
# Prints the time of each as a ratio to musl's, and the geometric means: at most 0.5 is wanted. Exit
# status 1 if a program failed; 0 with a line that says so where musl-gcc is missing.

cd "${0%/*}" || exit 1
here=$PWD
bin=$here/../bin/bench
musl=$bin/musl
rounds=${ROUNDS:-3} scale=${SCALE:-20}
target=0.5

if ! command -v musl-gcc >/dev/null; then
	echo "skipped: musl-gcc is not installed"
	exit
fi

is_wanted() {
	[ $# -eq 1 ] && return 0
	name=$1
	shift
	for want; do
		case $name- in
		"$want"-*) return 0 ;;
		esac
	done
	return 1
}

# The library, in a folder of its own: objects for glibc stay.
build() {
	mkdir -p "$musl/src" && (cd "${SRC_PATH:-../../src}" && tar cf - --exclude='*.[oda]' --exclude='*.so*' .) |
		(cd "$musl/src" && tar xf -) || return
	make -s -C "$musl/src" CC=musl-gcc UTILS_PATH="$here/../../utils" libosmem.so || return
	for source in load/*.c; do
		program=$musl/$(basename "$source" .c)
		musl-gcc -O2 -std=gnu11 -fno-builtin -pthread -D_GNU_SOURCE -w \
			-I../../utils -I"$musl/src" -Iload -o "$program" "$source" 2>/dev/null ||
			echo "skipped: $source needs more than musl has" >&2
	done
}

run_all() {
	"$bin/runner" --columns
	sed -n 's/^\([a-z]\)/\1/p' workloads | while read -r name program amount arguments; do
		if [ -x "$musl/$program" ] && is_wanted "$name" "$@"; then
			# shellcheck disable=SC2086 # words
			"$bin/runner" -n "$rounds" load "$name" musl "osmem=$musl/src/libosmem.so" -- \
				"$musl/$program" $((amount * scale / 100)) $arguments
		fi
	done
}

build && run_all "$@" >"$musl/bench.csv" || exit
awk -F, -v target=$target '
	NR == 1 { for (i = 1; i <= NF; i++) at[$i] = i; next }
	$5 != "ok" { print "FAIL " $2 " " $3 ": " $5; failed++; next }
	$3 == "musl" { base = $at["wall_ms"]; next }
	{
		wall = $at["wall_ms_ratio"]; cpu = $at["cpu_ms_ratio"]
		printf "%-24s musl %7.1f ms, osmem %5.2f of it; processor time %5.2f\n", $2, base, wall, cpu
		n++; walls += log(wall); cpus += log(cpu)
	}
	END {
		if (!n) exit 1
		mean = exp(walls / n)
		printf "geometric mean of %d workloads: %.2f of the time of musl, %.2f of its processor time", n,
			mean, exp(cpus / n)
		printf " (at most %s: %s)\n", target, mean <= target ? "met" : "missed"
		exit failed > 0
	}' "$musl/bench.csv"
