#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# Show the library at work: under a real program of this machine, then under demo.c, each followed
# by what the library counted. DEMO is another real program. Exit status 1 if either does not work.

cd "${0%/*}" || exit 1
library=${SRC_PATH:-../../src}/libosmem.so # not from the root: LD_PRELOAD ends at a space
stats=$(mktemp) || exit 1
trap 'rm -f "$stats"' EXIT

# Run under the library; its figures go to $stats.
counted() {
	OSMEM_OPTIONS=stats=full "$@" 2>"$stats"
}

# The most telling of the figures, where they are not zero: what the allocator did, and for which calls.
show_stats() {
	awk '
		/^osmem: [a-z]/ { table = $2 }
		/^osmem: (process|totals)/ || (table == "calls" && !/all calls/) ||
			(table == "process" && /blocks|cells|splits|coalesces|calls|peak/ && !/bytes (in|of) |in regions/ && $NF + $(NF - 1) > 0) ||
			(table == "totals" && /live/ && $NF > 0)' "$stats"
	grep -q '^osmem: process' "$stats"
}

# The first that is there: a python3 or perl that allocates a lot, else what every system has.
real_program() {
	if [ "${DEMO-}" ]; then
		echo "LD_PRELOAD=libosmem.so $DEMO"
		counted env LD_PRELOAD="$library" "$DEMO"
	elif python=$(python3 -c 'import sys; print(sys.executable)' 2>/dev/null); then
		echo "LD_PRELOAD=libosmem.so python3: the squares of 0 to 99999, as JSON"
		counted env LD_PRELOAD="$library" PYTHONMALLOC=malloc "$python" -c '
import json
text = json.dumps([n * n for n in range(100000)])
print(len(text), "characters, the sum is", sum(json.loads(text)))'
	elif command -v perl >/dev/null; then
		echo "LD_PRELOAD=libosmem.so perl: a hash of 100000 words"
		# shellcheck disable=SC2016 # the dollars are Perl's
		counted env LD_PRELOAD="$library" perl -e '
$words{"word$_"} = $_ for 1 .. 100000;
print scalar(keys %words), " words\n"'
	else
		echo "LD_PRELOAD=libosmem.so sort: the folders of /usr, the last one"
		find /usr -type d | counted env LD_PRELOAD="$library" sort | tail -n 1
	fi
}

real_program && show_stats || exit 1
echo
echo "Step by step: offset[status size] of every block, and where the break is."
counted ../bin/demo/demo && show_stats
