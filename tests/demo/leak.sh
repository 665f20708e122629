#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Needs: libosmem.so
#
# "Find a leak in five minutes": the commands of demo/README.md, as they are there, lead to both leaks.

# shellcheck disable=SC2016,SC2317 # the backticks are those of the pages; functions are called through expect
# shellcheck source-path=SCRIPTDIR source=../lib/report.sh
. "${0%/*}/../lib/report.sh"

readme=$tests/demo/README.md

commands() {
	sed -n '/^```sh/,/^```$/p' "$readme" | grep -v '^```'
}

# The commands for a shell: files are in our own folder, the pause is shorter, with more samples
# instead, and the server has time to begin. An address depends on the compiler, so that of the
# output is taken.
guide() {
	commands | sed -e "s|/tmp/|$scratch/|g" -e 's/^sleep 10/sleep 3/' -e 's/^curl /curl -sS /' \
		-e "s|&\$|\& for i in \$(seq 100); do [ -S '$scratch/server.sock' ] \&\& break; sleep 0.1; done|" \
		-e "s|^\(addr2line .*\) 0x[0-9a-f]*|\1 \$(address)|"
	echo 'kill $!'
}

run_guide() {
	{
		cat <<-EOT
			cd '$tests/..'
			address() {
				sed -n -e 's/^#   session_create .*+//p' -e 's/^osmem:   #1 .*+//p' '$scratch/out' | tail -n 1
			}
		EOT
		guide
	} >"$scratch/guide"
	OSMEM_OPTIONS=profile_interval=32k timeout -s KILL 120 sh "$scratch/guide" >"$scratch/out" 2>&1
	cat "$scratch/out"
}

# names FUNCTION TEXT: addr2line has named the function, and a line of server.c that has the text.
names() {
	line=$(sed -n "s|^$1 at .*server\.c:\([0-9]*\).*|\1|p" "$scratch/out")
	[ "$line" ] && sed -n "${line}p" "$tests/demo/server.c" | grep -F "$2"
}

# The lines that the page states are those of the file.
page_is_true() {
	sed -n 's|^\([a-z_]*\) at .*/server\.c:\([0-9]*\)$|\1 \2|p' "$readme" >"$scratch/said" &&
		sed -n 's|^\([a-z_]*\) at .*server\.c:\([0-9]*\).*|\1 \2|p' "$scratch/out" | cmp "$scratch/said" -
}

if ! has cc curl addr2line; then
	skip guide "needs a compiler, curl and addr2line"
	finish
fi
unset MAKEFLAGS MFLAGS MAKELEVEL
expect heapview make -s -C "$tests/../src/tools"
expect has_commands test "$(commands | wc -l)" -eq 12
expect guide run_guide
expect live_view grep -q '^ Live ' "$scratch/out"
expect profile_text grep -Eq '^#   session_create  server\+0x[0-9a-f]+$' "$scratch/out"
expect picture grep -q '<title>session_create: ' "$scratch/server.svg"
expect held names session_create 's->cart = '
expect leaked names query_decode 'allocate(strlen(query)'
expect page_is_true page_is_true
finish
