#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# sort, awk and grep over a file of words.

case $1 in
prepare)
	awk -v count=$((400000 * ${SCALE:-100} / 100)) '
		BEGIN { for (n = 0; n < count; n++) print n * 7919 % 100003, "word" n % 977, n }' >words
	;;
run)
	sort words >sorted &&
		awk '{ count[$1 % 20000] = count[$1 % 20000] " " $2 }
			END { for (w in count) n += length(count[w]); print n }' sorted &&
		grep -c -E 'word(1|22|333) .*[05]$' sorted
	;;
esac
