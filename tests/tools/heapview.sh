#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Needs: libosmem.so
#
# heapview beside the library's own walk of its list: as text and as pictures. heapview_page.sh looks at its
# pages.

# shellcheck disable=SC2016,SC2317 # scripts of the page have ${}; functions are called through expect
# shellcheck source-path=SCRIPTDIR source=../lib/report.sh
. "${0%/*}/../lib/report.sh"

# shellcheck source=heapview/common.sh
. "$here/heapview/common.sh"

trace_ends_as_the_walk_says() {
	list "$scratch/trace" >"$scratch/list" && diff "$scratch/walk" "$scratch/list"
}

map_is_as_the_walk_says() {
	list "$scratch/map" >"$scratch/list" && diff "$scratch/walk" "$scratch/list"
}

# is_picture FILE: it is XML, and has the kinds that every process has.
is_picture() {
	head -n 1 "$1" | grep -q '^<svg ' && [ "$(tail -n 1 "$1")" = '</svg>' ] &&
		grep -q 'class="used"' "$1" && grep -q 'segments of 4 MiB' "$1" &&
		[ "$(grep -c '<svg ' "$1")" -eq 1 ] && is_xml "$1"
}

# The opened elements are closed, each in its place, and no sign of a tag is in a text.
is_xml() {
	tr '\n' ' ' <"$1" | awk '
		BEGIN { RS = "<" }
		NR == 1 { next }
		{
			if (!match($0, /^[^<>]*>/) || substr($0, RLENGTH + 1) ~ /&($|[^#])/)
				exit bad = 1
			tag = substr($0, 1, RLENGTH - 1)
			name = tag
			sub(/[ \/].*/, "", name)
			if (tag ~ /^\//) {
				if (stack[depth--] != substr(tag, 2))
					exit bad = 1
			} else if (tag !~ /\/$/) {
				stack[++depth] = name
			}
		}
		END { exit bad || depth }'
}

# draw MAP: into MAP.svg.
draw() {
	[ "$("$view" --svg "$1")" = "$1.svg" ] && is_xml "$1.svg"
}

# draw_program COMMAND…: the picture of a program of the machine, in odd.svg.
draw_program() {
	LD_PRELOAD=$library OSMEM_OPTIONS=map=$scratch/odd "$@" >/dev/null && draw "$scratch/odd" &&
		is_picture "$scratch/odd.svg"
}

# Also to the standard output, and of a trace.
programs_have_pictures() {
	draw_program sort "$tests/run.sh" && "$view" --svg "$scratch/odd" -o - | cmp - "$scratch/odd.svg" &&
		LD_PRELOAD=$library OSMEM_OPTIONS=trace=$scratch/odd sort "$tests/run.sh" >/dev/null &&
		draw "$scratch/odd" && is_picture "$scratch/odd.svg"
}

names_are_escaped() {
	odd="$scratch/a<&>$(printf 'b\001\033')"
	cp "$(command -v ls)" "$odd" && draw_program "$odd" "$tests" && ! grep -q '<&' "$scratch/odd.svg" &&
		grep -q 'a&#60;&#38;&#62;b??' "$scratch/odd.svg"
}

# lists PICTURE WALK: every block of the walk is in the picture.
lists() {
	[ "$(tail -n 1 "$1")" = '</svg>' ] && while read -r start payload kind; do
		grep -q "<title>.*$kind block at $start, payload $payload bytes" "$1" || return 1
	done <"$2"
}

picture_is_as_the_walk_says() {
	OSMEM_OPTIONS=map="$scratch/a" "$scratch/program" "$scratch/map2" >"$scratch/walk2" &&
		draw "$scratch/a" && draw "$scratch/map2" && lists "$scratch/map2.svg" "$scratch/walk2" &&
		[ "$(wc -l <"$scratch/walk2")" -gt 20 ] && lists "$scratch/a.svg" "$scratch/walk2"
}

picture_shows_spans() {
	SPANS=1 OSMEM_OPTIONS=map="$scratch/s" "$scratch/program" "$scratch/map3" >"$scratch/walk3" &&
		draw "$scratch/s" && grep -q live "$scratch/walk3" && grep -q kept "$scratch/walk3" &&
		[ "$(grep -c -e '<title>live span at' -e '<title>cached span at' "$scratch/s.svg")" -eq \
			"$(wc -l <"$scratch/walk3")" ] || return 1
	while read -r start _ kind; do
		[ "$kind" = kept ] && words='cached span' || words='live span'
		grep -q "<title>$words at $start, " "$scratch/s.svg" || return 1
	done <"$scratch/walk3"
}

# Live, cached, free and metadata have different classes and figures, in both schemes; a long free
# block is one torn bar. No colour is left as a variable.
picture_tells_kinds_apart() {
	LD_PRELOAD=$library OSMEM_OPTIONS=map=$scratch/k sort "$tests/run.sh" >"$scratch/out" && draw "$scratch/k" &&
		grep -q 'held: .* live, .* cached, .* free, .* metadata<' "$scratch/k.svg" &&
		grep -q '"used".*cells live, [1-9][0-9]* cached, ' "$scratch/k.svg" && grep -q '"kept".*cached' "$scratch/k.svg" &&
		grep -q '"header".*own objects' "$scratch/k.svg" && ! grep -q 'live or cached' "$scratch/k.svg" &&
		! grep -q 'var(' "$scratch/k.svg" && grep -q 'fill:#ffffff' "$scratch/k.svg" &&
		sed '1,/prefers-color-scheme:dark/d' "$scratch/k.svg" | grep -q 'fill:#14161b' || return 1
	"$cc" -std=gnu11 -D_GNU_SOURCE -fno-builtin -I"$utils" -I"$src" -o "$scratch/demo" "$tests/demo/demo.c" "$utils/printf.c" \
		-L"$src" -losmem -Wl,-rpath,"$src" && OSMEM_OPTIONS=map=$scratch/t "$scratch/demo" >"$scratch/out" && draw "$scratch/t" &&
		[ "$(grep -c 'class="torn"' "$scratch/t.svg")" -eq 1 ] && grep -q '>free, 129.8 KiB<' "$scratch/t.svg" &&
		[ "$(grep -c '"free"' "$scratch/t.svg")" -le 3 ]
}

# Hardened, large objects are mappings, and what was freed is none.
hardened_objects_are_listed_once() {
	SPANS=all OSMEM_OPTIONS=hardened "$scratch/program" "$scratch/map3" >"$scratch/walk3" &&
		[ "$(grep -c live "$scratch/walk3")" -eq 8 ] &&
		[ "$(wc -l <"$scratch/walk3")" -eq "$(cut -d ' ' -f 1 "$scratch/walk3" | sort -u | wc -l)" ]
}

# The child's has the block that it alone has.
picture_of_a_child_is_its_own() {
	FORKS=1 OSMEM_OPTIONS=map="$scratch/child.%p" "$scratch/program" "$scratch/map2" >"$scratch/walk2" &&
		[ "$(find "$scratch" -name 'child.*' | wc -l)" -eq 2 ] || return 1
	for file in "$scratch"/child.*; do
		draw "$file" && lists "$file.svg" "$scratch/walk2" && return 0
	done
	return 1
}

# Beside large ones, 50 bytes are too thin for a bar of their own.
small_blocks_share_a_bar() {
	SPREADS=1 OSMEM_OPTIONS=map="$scratch/b" "$scratch/program" "$scratch/map2" >"$scratch/walk2" &&
		draw "$scratch/b" &&
		grep -q '<title>small blocks, [0-9.]* [KM]*i*B*[bytes]*, of which' "$scratch/b.svg" &&
		! grep -q 'used block at .*, payload 200 bytes' "$scratch/b.svg" &&
		grep 100000 "$scratch/walk2" >"$scratch/large" && lists "$scratch/b.svg" "$scratch/large"
}

# It begins with a snapshot of its parent's blocks.
trace_of_a_child_ends_as_the_walk_says() {
	FORKS=1 OSMEM_OPTIONS=trace="$scratch/fork.%p" "$scratch/program" >"$scratch/walk2" || return 1
	for file in "$scratch"/fork.*; do
		list "$file" | cmp -s "$scratch/walk2" && return 0
	done
	return 1
}

# After the first allocation: brk, region, append, search, split, use.
steps_are_in_order() {
	[ -z "$(list --step 0 "$scratch/trace")" ] &&
		[ "$(list --step 4 "$scratch/trace" | awk '{ print $2, $3 }')" = '131040 free' ] &&
		[ "$(list --step 8 "$scratch/trace" | awk '{ print $2, $3 }')" = "$(printf '%s\n' \
			'56 used' '130952 free')" ] &&
		! "$view" --text --step 99999 "$scratch/trace"
}

# refused TEXT ARGUMENT…: exit status 1, and one line with the text.
refused() {
	text=$1
	shift
	"$view" "$@" >"$scratch/out" 2>"$scratch/err"
	[ $? -eq 1 ] && [ ! -s "$scratch/out" ] && [ "$(wc -l <"$scratch/err")" -eq 1 ] &&
		grep -q "$text" "$scratch/err"
}

errors_are_clear() {
	head -c 4096 "$scratch/map" >"$scratch/cut"
	{ head -c 8 "$scratch/trace" && printf '\377\0\0\0' && tail -c +13 "$scratch/trace"; } \
		>"$scratch/newer"
	: >"$scratch/empty"
	refused 'not an osmem trace or map' "$0" && refused 'not an osmem trace or map' "$scratch/empty" &&
		refused 'not an osmem trace or map' "$scratch" && refused 'No such file' "$scratch/none" &&
		refused 'version 255' "$scratch/newer" && refused 'no file given' &&
		refused 'unexpected argument' --nonsense && refused 'one file' "$scratch/trace" "$scratch/map" &&
		refused 'not a profile' --diff "$scratch/trace" "$scratch/map" && refused 'not a number' --step x "$scratch/trace" &&
		refused 'cannot be written' "$scratch/trace" -o /dev/full &&
		refused 'cannot be written' --svg "$scratch/trace" -o /dev/full &&
		! "$view" --svg "$scratch/cut" -o "$scratch/cut.svg" 2>"$scratch/err" &&
		grep -q 'no snapshot' "$scratch/err" && [ ! -e "$scratch/cut.svg" ] && refused 'cannot be combined' --svg --text "$scratch/trace" &&
		"$view" --help >"$scratch/out" && grep -q -e --text "$scratch/out" && grep -q 'a map (OSMEM' "$scratch/out"
}

truncated_goes_as_far_as_it_goes() {
	head -c $((4096 + 40 * 50 + 7)) "$scratch/trace" >"$scratch/cut" &&
		steps=$("$view" "$scratch/cut" -o - 2>"$scratch/err" | grep -o '"all":[0-9]*' | cut -d : -f 2) &&
		grep -q 'truncated: 50 of' "$scratch/err" && [ "$steps" -gt 20 ] &&
		list --step "$steps" "$scratch/trace" >"$scratch/want" &&
		list "$scratch/cut" 2>"$scratch/err" | diff "$scratch/want" - &&
		head -c 4000 "$scratch/trace" >"$scratch/cut" &&
		[ -z "$(list "$scratch/cut" 2>"$scratch/err")" ] && grep -q truncated "$scratch/err"
}

# first KIND FILE: where the map's first record of that kind begins.
first() {
	od -An -v -t u1 -j 4096 -w40 "$2" | awk -v kind="$1" '$13 == kind { print 4096 + 40 * (NR - 1); exit }'
}

# words N: N as two words of eight bytes; it is below 65536.
words() {
	for _ in 1 2; do
		# shellcheck disable=SC2059 # the format is made of numbers
		printf "$(printf '\\%03o\\%03o' $(($1 & 255)) $(($1 >> 8)))\\0\\0\\0\\0\\0\\0"
	done
}

# A segment 199 times more, and what the header says of its records: not all are drawn.
pictures_say_what_they_leave_out() {
	map=$scratch/odd
	LD_PRELOAD=$library OSMEM_OPTIONS=map=$map ls / >"$scratch/out" && draw "$map" &&
		! grep 'first of them' "$map.svg" && segment=$(first 21 "$map") && [ "$segment" ] || return 1
	{
		head -c 56 "$map"
		words $((($(wc -c <"$map") - 4096) / 40 + 199))
		head -c "$segment" "$map" | tail -c +73
		for _ in $(seq 199); do
			tail -c +$((segment + 1)) "$map" | head -c 40
		done
		tail -c +$((segment + 1)) "$map"
	} >"$scratch/many"
	draw "$scratch/many" && grep -q 'segments of .*; the first of them drawn<' "$scratch/many.svg" &&
		[ "$(grep -c '>slot 0: records<' "$scratch/many.svg")" -eq 128 ]
}

# The first block says that it has 2^63 bytes: the others are drawn.
damaged_maps_have_pictures() {
	cp "$scratch/map" "$scratch/damaged" &&
		printf '\200' | dd of="$scratch/damaged" bs=1 seek=$(($(first 19 "$scratch/map") + 31)) conv=notrunc \
			2>"$scratch/err" &&
		timeout 60 "$view" --svg "$scratch/damaged" >"$scratch/out" && grep -v mapped "$scratch/walk" |
		sed 1d >"$scratch/rest" && [ -s "$scratch/rest" ] && lists "$scratch/damaged.svg" "$scratch/rest" &&
		! lists "$scratch/damaged.svg" "$scratch/walk"
}

pages_are_alone() {
	page trace "$scratch/trace" && page map "$scratch/map"
}

# More than a million calls: sampled.
long_traces_make_small_pages() {
	OSMEM_OPTIONS=trace="$scratch/long",trace_size=80M "$scratch/program" "$scratch/map2" 500000 10000 \
		>"$scratch/walk_long" && [ "$(stat -c %s "$scratch/long")" -gt 40000000 ] &&
		page long "$scratch/long" && [ "$(stat -c %s "$scratch/long.html")" -lt 10000000 ] &&
		[ "$(grep -o '"calls":[0-9]*' "$scratch/long.html" | cut -d : -f 2)" -gt 1000000 ]
}

expect it_builds it_builds
for test in trace_ends_as_the_walk_says trace_of_a_child_ends_as_the_walk_says \
	map_is_as_the_walk_says programs_have_pictures names_are_escaped picture_is_as_the_walk_says picture_of_a_child_is_its_own \
	picture_shows_spans picture_tells_kinds_apart hardened_objects_are_listed_once small_blocks_share_a_bar steps_are_in_order errors_are_clear \
	truncated_goes_as_far_as_it_goes damaged_maps_have_pictures \
	pictures_say_what_they_leave_out pages_are_alone long_traces_make_small_pages; do
	expect $test $test
done

finish
