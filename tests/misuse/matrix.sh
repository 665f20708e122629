#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# Every kind of misuse that the program KINDS knows, at three sizes, under this library, by default
# and hardened, under the C library's malloc and every other allocator that is installed:
#
#	matrix.sh KINDS LIBRARY OUTPUT
#
# OUTPUT is a table in Markdown, which is shown, too.

# shellcheck source-path=SCRIPTDIR source=marks.sh
. "${0%/*}/marks.sh"

kinds=$1 library=$(realpath "$2") output=$3
columns="osmem:$library:"
knows_hardened "$library" && columns="$columns hardened:$library:hardened"
columns="$columns glibc::"
for name in jemalloc mimalloc mimalloc-secure tcmalloc_minimal hardened_malloc; do
	for dir in /usr/lib/*-linux-gnu /usr/lib64 /usr/lib /usr/local/lib; do
		path=$(find "$dir" -maxdepth 1 -name "lib$name.so*" 2>/dev/null | sort | head -n 1)
		[ -n "$path" ] && columns="$columns $name:$path:" && break
	done
done

table() {
	heading="| misuse, of $(echo "$misuse_sizes" | sed 's/ /, /g') bytes |" line="| --- |"
	for column in $columns; do
		heading="$heading ${column%%:*} |" line="$line --- |"
	done
	echo "$heading"
	echo "$line"
	"$kinds" | while read -r kind what; do
		cells="| $what |"
		for column in $columns; do
			options=${column##*:} path=${column#*:}
			cells="$cells \`$(marks "$kinds" "$kind" "${path%:*}" "$options")\` |"
		done
		echo "$cells"
	done
}

mkdir -p "$(dirname "$output")" || exit 1
{
	echo "R reported, F fault, X suffered, - not noticed, n no such function, T without an end."
	echo
	table
} | tee "$output"
