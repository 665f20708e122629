#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# Make the pictures of the READMEs anew, in pictures/: the heap of course.c, drawn by the library,
# that of a program of the machine, and the charts of make bench and make bench-steps, if these have
# been run.

cd "${0%/*}" || exit 1
bin=../bin/bench
out=../out

# chart NAME TARGET AWK…
chart() {
	name=$1 target=$2
	shift 2
	if [ -s "$out/$name.csv" ]; then
		awk "$@" "$out/$name.csv" >"pictures/$name.svg" && echo "pictures/$name.svg"
	else
		echo "pictures/$name.svg stays as it is: make $target first"
	fi
}

# The title has the program's whole path, which is nobody else's.
heap() {
	OSMEM_OPTIONS=map=$out/heap.svg "$bin/course-osmem" 350 5000 >/dev/null &&
		sed 's|>/[^ <]*/course-osmem|>course-osmem|' "$out/heap.svg" >pictures/heap.svg &&
		echo pictures/heap.svg
}

# A program that everybody has, at something: awk keeps a table of growing words.
program() {
	library=$(readlink -f "${SRC_PATH:-../../src}")/libosmem.so
	seq 1 400000 >"$out/numbers" &&
		LD_PRELOAD=$library OSMEM_OPTIONS=map=$out/program.svg awk \
			'{ seen[$1 % 5000] = seen[$1 % 5000] substr($1, 1, 2) } END { print length(seen) }' \
			"$out/numbers" >/dev/null &&
		sed 's|>/[^ <]*/\([^ </]*\)|>\1|' "$out/program.svg" >pictures/program.svg &&
		echo pictures/program.svg
}

mkdir -p pictures "$out"
heap || exit
program || exit
chart steps bench-steps -f csv.awk -f steps.awk -v form=chart
chart bench bench -f csv.awk -f suite.awk -f chart.awk
