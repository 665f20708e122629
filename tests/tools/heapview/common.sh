#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# For the tests of heapview: it is built, with a program that makes traces and maps.

# shellcheck disable=SC2154 # scratch, here, src and utils are of report.sh
cc=${CC:-cc}
view=$scratch/heapview

it_builds() {
	"$cc" -std=gnu11 -O1 -D_GNU_SOURCE -I"$src" -I"$src/tools" -o "$view" "$src"/tools/*.c &&
		"$cc" -std=gnu11 -D_GNU_SOURCE -fno-builtin -pthread -I"$utils" -I"$src" -o "$scratch/program" \
			"$here/heapview/program.c" -L"$src" -losmem -Wl,-rpath,"$src" &&
		"$cc" -std=gnu11 -D_GNU_SOURCE -I"$src" -o "$scratch/older" "$here/heapview/older.c" &&
		OSMEM_OPTIONS=trace="$scratch/trace" "$scratch/program" "$scratch/map" >"$scratch/walk" &&
		[ "$(wc -l <"$scratch/walk")" -gt 20 ] && grep -q mapped "$scratch/walk"
}

# The list without its sums.
list() {
	"$view" --text "$@" | sed '/^#/d'
}

# page NAME FILE: nothing in it is fetched from anywhere.
page() {
	"$view" "$2" -o "$scratch/$1.html" >/dev/null &&
		! grep -E -n 'https?:|src=|url\([^#]|@import|fetch\(' "$scratch/$1.html" &&
		[ "$(tail -n 1 "$scratch/$1.html")" = '</html>' ]
}
