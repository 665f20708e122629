#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# Make the pictures of the pages anew, in pictures/: maps of course.c and of a program of the machine
# and a heap profile of the demo's server, drawn by heapview; its page, as Chromium shows it; the
# chart of the geometric means in README.md; and the charts of make bench and make bench-steps, if
# these have been run.

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

# photo NAME SCHEME: of the page at the step of a search. SCHEME: 0 dark, 1 light.
photo() {
	timeout -s KILL 120 "$browser" --headless --no-sandbox --disable-gpu --hide-scrollbars --virtual-time-budget=2000 \
		--blink-settings=preferredColorScheme="$2" --window-size=1100,600 --screenshot="$PWD/pictures/$1.png" \
		"file://$(readlink -f "$out")/viewer.html#step=36" >/dev/null 2>&1 && echo "pictures/$1.png"
}

# The page of the demo's trace, as a browser shows it.
viewer() {
	if ! browser=$(command -v chromium || command -v chromium-browser || command -v google-chrome); then
		echo "pictures/viewer.png stays as it is: there is no Chromium"
		return
	fi
	rm -f "$out/viewer.trace"
	make -s -C ../demo all && OSMEM_OPTIONS=trace=$out/viewer.trace ../bin/demo/demo >/dev/null &&
		"$heapview" "$out/viewer.trace" -o "$out/viewer.html" >/dev/null && photo viewer 1 && photo viewer-dark 0
}

mkdir -p pictures "$out"
heap || exit
program || exit
leak || exit
viewer || exit
awk -f means.awk README.md >pictures/means.svg && echo pictures/means.svg
chart steps bench-steps -f csv.awk -f steps.awk -v form=chart
chart bench bench -f csv.awk -f suite.awk -f chart.awk
