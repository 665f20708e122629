#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# tar and gzip of many small files, packed and unpacked.

case $1 in
prepare)
	mkdir files && awk -v count=$((5000 * ${SCALE:-100} / 100)) 'BEGIN {
		for (n = 0; n < count; n++) {
			file = "files/file" n
			for (k = 0; k < 50; k++)
				print n * k, "line", k >file
			close(file)
		}
	}'
	;;
run)
	tar cf - files | gzip -6 >files.tar.gz && gzip -dc files.tar.gz | tar tf -
	;;
esac
