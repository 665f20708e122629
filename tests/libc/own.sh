#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Needs: libosmem.so
#
# Programs that carry their own malloc keep it, whether the library is preloaded or linked: all of
# it, a part of it, one that wraps the next one, and one under names of its own.

# shellcheck disable=SC2317 # functions are called through expect
# shellcheck source-path=SCRIPTDIR source=../lib/report.sh
. "${0%/*}/../lib/report.sh"

cc=${CC:-cc}

# build NAME OUTPUT [FLAG…]
build() {
	source=$here/own/$1.c output=$scratch/$2
	shift 2
	"$cc" -std=gnu11 -O2 -D_GNU_SOURCE -Wall -Wextra -fno-builtin -pthread -I"$utils" \
		-o "$output" "$source" "$@"
}

# says TEXT COMMAND…
says() {
	want=$1
	shift
	timeout 60 "$@" >"$scratch/said" 2>&1
	status=$?
	cat "$scratch/said"
	[ "$status" -eq 0 ] && [ "$(cat "$scratch/said")" = "$want" ]
}

alone() {
	build "$1" "$1" && says "$2" "$scratch/$1"
}

preloaded() {
	build "$1" "$1" && says "$2" env LD_PRELOAD="$library" "$scratch/$1"
}

linked() {
	build "$1" "$1.linked" -Wl,--no-as-needed -L"${library%/*}" -losmem -Wl,-rpath,"${library%/*}" &&
		says "$2" "$scratch/$1.linked"
}

with_archive() {
	build "$1" "$1.archive" -Wl,-u,os_malloc "${library%.so}.a" && says "$2" "$scratch/$1.archive"
}

if ! has "$cc"; then
	skip programs "no $cc"
	finish
fi
for program in whole pair prefixed wrapper; do
	case $program in
	whole) text="own, beside os_malloc" ;;
	pair) text="a pair" ;;
	wrapper) text=wrapped ;;
	*) text=$program ;;
	esac
	expect "$program" alone "$program" "${text%, beside*}"
	expect "${program}_preloaded" preloaded "$program" "$text"
	expect "${program}_linked" linked "$program" "$text"
done
# With the archive there is no next malloc, and no room for half of another.
expect whole_with_archive with_archive whole "own, beside os_malloc"
expect prefixed_with_archive with_archive prefixed prefixed
finish
