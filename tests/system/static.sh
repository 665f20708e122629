#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Needs: libosmem.a
#
# Programs that are linked with libosmem.a. Its fork handlers must be there whatever the program
# calls, and in the right order with the program's own; its names must not meet those of the C
# library. Each program is linked twice, with the C library as a shared one and as an archive too.

# shellcheck disable=SC2317 # functions are called through expect
# shellcheck source-path=SCRIPTDIR source=../lib/report.sh
. "${0%/*}/../lib/report.sh"

archive=${library%.so}.a
cc=${CC:-cc}

# link NAME [FLAG…]: the program NAME over the archive, into scratch.
link() {
	source=$here/static/$1.c output=$scratch/$1
	shift
	"$cc" -std=gnu11 -O2 -D_GNU_SOURCE -Wall -Wextra -fno-builtin -pthread -I"$utils" -I"$tests/../src" "$@" \
		-o "$output" "$source" "$archive"
}

forks() {
	link "$@" && timeout 120 "$scratch/$1"
}

# The C library as an archive is not installed everywhere.
echo 'int main(void) { return 0; }' >"$scratch/empty.c"
if ! has "$cc"; then
	skip programs "no $cc"
	finish
fi
for program in os_only handlers mallopt names; do
	expect "$program" forks "$program"
	if "$cc" -static -o "$scratch/empty" "$scratch/empty.c" 2>/dev/null; then
		expect "${program}_all_static" forks "$program" -static
	else
		skip "${program}_all_static" "no C library to link statically"
	fi
done
finish
