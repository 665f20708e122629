#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Needs: libosmem.so
#
# What the library costs a small program that it is preloaded into, in memory: cat, which prints
# its own mappings. What small programs run is in one place of the library, constants that are not
# relocated are not read, and small variables share pages. The kernel maps 64 KiB around each page
# of a file that is touched: where it maps more, that is no fault of the library's.

# shellcheck disable=SC2317 # functions are called through expect
# shellcheck source-path=SCRIPTDIR source=../lib/report.sh
. "${0%/*}/../lib/report.sh"

# kib FIGURE ACCESS: the sum of a figure of the library's mappings with that access.
kib() {
	awk -v library="$library" -v figure="$1:" -v access="$2" '
	/^[0-9a-f]+-[0-9a-f]+ / { is_ours = $6 == library && $2 == access; next }
	is_ours && $1 == figure { kib += $2; n++ }
	END { print n ? kib + 0 : "no such mapping" }' "$scratch/smaps"
}

# most MOST ACCESS: no more than MOST KiB of such mappings are resident.
most() {
	resident=$(kib Rss "$2")
	echo "$resident KiB of $2 are resident, not $1"
	[ "$resident" -le "$1" ]
}

# Headers and what is relocated; not the other constants.
most_read() {
	headers=$(awk -v library="$library" '
	/^[0-9a-f]+-[0-9a-f]+ / { is_first = $6 == library && $3 == "00000000"; next }
	is_first && $1 == "Size:" { print $2 }' "$scratch/smaps")
	most $((headers + $(kib Anonymous r--p))) r--p
}

# own FILE: KiB that the process has for itself.
own() {
	awk '/^Anonymous:/ { kib += $2 } END { print kib + 0 }' "$1"
}

# Variables, and the heap, beyond what there is without the library.
most_own() {
	more=$(($(own "$scratch/smaps") - $(own "$scratch/plain")))
	echo "$more KiB of its own, not $1"
	[ "$more" -le "$1" ]
}

if [ "$(getconf PAGESIZE)" != 4096 ] || ! [ -r /proc/self/smaps ]; then
	skip startup "pages are not of 4 KiB, or the kernel does not tell who has them"
	finish
fi
cat /proc/self/smaps >"$scratch/plain"
LD_PRELOAD=$library cat /proc/self/smaps >"$scratch/smaps"
if grep -a -q 'clang version' "$library" || [ "$(kib Size r-xp)" -gt 288 ]; then
	skip startup "clang, or without optimization: the code is in another order, or larger"
	finish
fi
expect code most 96 r-xp # one window, and a little for large pages of the file
expect constants most_read
expect own_memory most_own 160
finish
