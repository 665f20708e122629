#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# Make the pictures of the pages anew, in pictures/: heapview's page of the demo; the heap of
# course.c, that of a program of the machine, and a heap profile of the demo's server, drawn by
# heapview; the chart of the geometric means in README.md; and the charts of make bench and make
# bench-steps, if these have been run.

cd "${0%/*}" || exit 1
bin=../bin/bench
out=../out
heapview=../../src/tools/heapview

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

# draw NAME KIND: the map or profile NAME.KIND. The title has the program's whole path, which is nobody else's.
draw() {
	"$heapview" --svg "$out/$1.$2" -o "$out/$1.svg" >/dev/null &&
		sed 's|>/[^ <]*/\([^ </]*\)|>\1|' "$out/$1.svg" >"pictures/$1.svg" &&
		echo "pictures/$1.svg"
}

heap() {
	OSMEM_OPTIONS=map=$out/heap.map "$bin/course-osmem" 350 5000 >/dev/null && draw heap map
}

# A program that everybody has, at something: awk keeps a table of growing words.
program() {
	library=$(readlink -f "${SRC_PATH:-../../src}")/libosmem.so
	seq 1 400000 >"$out/numbers" &&
		LD_PRELOAD=$library OSMEM_OPTIONS=map=$out/program.map awk \
			'{ seen[$1 % 5000] = seen[$1 % 5000] substr($1, 1, 2) } END { print length(seen) }' \
			"$out/numbers" >/dev/null && draw program map
}

# Ten seconds of the server of "Find a leak in five minutes".
leak() {
	"${CC:-cc}" -g -o "$out/server" ../demo/server.c &&
		../../src/tools/osmem-run --profile="$out/leak.pb" "$out/server" 10000 && draw leak pb
}

# The page of the demo's trace, at the search for the block of os_malloc(400), as Chromium draws it.
viewer() {
	root=$(cd ../.. && pwd)
	"${CC:-cc}" -D_GNU_SOURCE -fno-builtin -I../../utils -I../../src -o "$out/demo" ../demo/demo.c ../../utils/printf.c \
		-L"$root/src" -losmem -Wl,-rpath,"$root/src" &&
		OSMEM_OPTIONS=trace=$out/demo.trace "$out/demo" >/dev/null &&
		"$heapview" "$out/demo.trace" -o "$out/demo.html" >/dev/null || return
	if command -v chromium >/dev/null; then
		profile=$(mktemp -d) &&
			chromium --headless --no-sandbox --disable-gpu --hide-scrollbars --user-data-dir="$profile" \
				--window-size=1280,720 --virtual-time-budget=3000 --screenshot="$PWD/pictures/viewer.png" \
				"file://$(readlink -f "$out/demo.html")#step=36" 2>/dev/null
		rm -rf "$profile"
		echo pictures/viewer.png
	else
		echo "pictures/viewer.png stays as it is: chromium is not installed"
	fi
}

mkdir -p pictures "$out"
heap || exit
viewer || exit
program || exit
leak || exit
awk -f means.awk README.md >pictures/means.svg && echo pictures/means.svg
chart steps bench-steps -f csv.awk -f steps.awk -v form=chart
chart bench bench -f csv.awk -f suite.awk -f chart.awk
