#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# gcc -O1 on a large C file: cc1 and as.

case $1 in
prepare)
	command -v gcc >/dev/null || { echo "gcc not found" && exit 77; }
	awk -v functions=$((150 * ${SCALE:-100} / 100)) -f "${0%/*}/unit.awk" >big.c
	;;
run)
	exec gcc -O1 -c -o /dev/null big.c
	;;
esac
