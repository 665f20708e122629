#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# Make the pictures of the READMEs anew, in pictures/: the heap of course.c, drawn by the library, and
# the charts of make bench and make bench-steps, if these have been run.

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

mkdir -p pictures "$out"
heap || exit
chart steps bench-steps -f csv.awk -f steps.awk -v form=chart
chart bench bench -f csv.awk -f suite.awk -f chart.awk
