#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# clang -O1 on a large C file.

case $1 in
prepare)
	command -v clang >/dev/null || { echo "clang not found" && exit 77; }
	awk -v functions=$((150 * ${SCALE:-100} / 100)) -f "${0%/*}/unit.awk" >big.c
	;;
run)
	exec clang -O1 -c -o /dev/null big.c
	;;
esac
