#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# python3 as it is: small objects in its own allocator, larger ones in malloc.

case $1 in
prepare)
	# What a version manager puts in front of the real one is left out.
	python3 -c 'import sys; print(sys.executable)' >python 2>/dev/null ||
		{ echo "python3 not found" && exit 77; }
	cat >work.py <<-'EOT'
		import json, re, sys
		count = int(sys.argv[1])
		rows = [{"id": n, "name": "row %d" % n, "tags": [str(n + k) for k in range(5)]}
		        for n in range(count)]
		text = json.dumps(rows)
		seen = {}
		for row in json.loads(text):
		    for tag in row["tags"]:
		        seen.setdefault(tag, []).append(row["name"] * 3)
		print(len(text), len(seen), len(re.findall(r"row \d+7", text)))
	EOT
	;;
run)
	exec "$(cat python)" work.py $((20000 * ${SCALE:-100} / 100))
	;;
esac
