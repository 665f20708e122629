# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=sh
#
# To be sourced: how the misuses of kinds.c end.

misuse_sizes="8 4096 262144"

# mark STATUS: R reported, F fault, X suffered, - not noticed, n no such function, T without an end
mark() {
	case $1 in
	0) echo - ;;
	3) echo X ;;
	4) echo n ;;
	124 | 137) echo T ;;
	134) echo R ;;
	*) echo F ;;
	esac
}

# marks PROGRAM KIND LIBRARY OPTIONS: a mark for each size. No library: the C library's own.
marks() {
	all=
	{ # where the shell says of what a process died
		for size in $misuse_sizes; do
			timeout -k 1 20 env LD_PRELOAD="$3" OSMEM_OPTIONS="$4" "$1" "$2" "$size" >/dev/null
			all=$all$(mark $?)
		done
	} 2>/dev/null
	echo "$all"
}

# knows_hardened LIBRARY: does it have that option?
knows_hardened() {
	! LD_PRELOAD=$1 OSMEM_OPTIONS=hardened env true 2>&1 | grep -q 'unknown option'
}
