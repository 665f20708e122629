#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Needs: libosmem.so
#
# Real programs under LD_PRELOAD=libosmem.so and a tight limit, from one at which they do not even
# start to one at which all is well. They must end as they do without the library: some way or other
# of saying that there is no memory, never a crash, unless they crash at that limit without it too.

# shellcheck disable=SC2317 # functions are called through expect
# shellcheck source-path=SCRIPTDIR source=../lib/report.sh
. "${0%/*}/../lib/report.sh"

# crashed LOG STATUS: a signal, in the program or in one that it started. Python aborts on purpose
# when it has no memory to start with, and says so.
crashed() {
	grep -q -e '^osmem: ' -e 'internal compiler error' -e 'Segmentation fault' "$1" && return 0
	[ "$2" -ge 128 ] && ! grep -q '^Fatal Python error' "$1"
}

# limited PRELOAD LIMIT MIB COMMAND…: leaves the output in $scratch/said; its exit status.
limited() {
	preload=$1 limit=$2 mib=$3
	shift 3
	(
		cd "$scratch" || exit 1
		[ -z "$preload" ] || export LD_PRELOAD="$preload"
		timeout 60 prlimit --core=0 "--$limit=$((mib << 20))" "$@" >said 2>&1
	)
}

# orderly LIMIT "MIB…" COMMAND…: at the last of these limits it works, at one of them it does not.
orderly() {
	limit=$1 mibs=$2 was_refused=
	shift 2
	for mib in $mibs; do
		limited "$library" "$limit" "$mib" "$@"
		status=$?
		[ "$status" -eq 0 ] || was_refused=yes
		crashed "$scratch/said" "$status" || continue
		reason="$limit of $mib MiB: exit status $status, $(tail -n 1 "$scratch/said")"
		limited '' "$limit" "$mib" "$@"
		crashed "$scratch/said" $? || {
			echo "$reason"
			return 1
		}
	done
	[ "$status" -eq 0 ] || echo "$limit of $mib MiB: exit status $status"
	[ "$was_refused" ] || echo "works at every limit"
	[ "$status" -eq 0 ] && [ "$was_refused" ]
}

if ! has prlimit; then
	skip limits "prlimit is not installed"
	finish
fi

python=$(python3 -c 'import sys; print(sys.executable)' 2>/dev/null)
words='import json, re, threading
blocks = [bytearray(i % 3000) for i in range(20000)]
text = json.dumps([str(i) for i in range(20000)])
threads = [threading.Thread(target=lambda: [bytes(i) for i in range(2000)]) for i in range(3)]
[t.start() for t in threads]
[t.join() for t in threads]
print(len(blocks), len(re.findall("1", text)))'
if [ -n "$python" ]; then
	expect python3_as orderly as '14 20 28 40 60 300' "$python" -c "$words"
	PYTHONMALLOC=malloc
	export PYTHONMALLOC
	expect python3_data orderly data '3 6 12 25 300' "$python" -c "$words"
	unset PYTHONMALLOC
else
	skip python3 "not installed"
fi

cat >"$scratch/good.c" <<-'EOT'
	#include <stdio.h>
	#include <stdlib.h>
	static int f(int n) { return n < 2 ? n : f(n - 1) + f(n - 2); }
	int main(void) { printf("%d\n", f(20)); return 0; }
EOT
if has gcc; then
	expect gcc_as orderly as '42 46 52 58 64 300' gcc -O2 -c good.c
	expect gcc_data orderly data '4 8 12 300' gcc -O2 -c good.c
else
	skip gcc "not installed"
fi
# shellcheck disable=SC2016 # the dollars are perl's
if has perl; then
	expect perl_as orderly as '8 14 20 300' perl -e '$x{$_} = "a" x $_ for 1 .. 6000'
	expect perl_data orderly data '2 6 300' perl -e '$x{$_} = "a" x $_ for 1 .. 6000'
else
	skip perl "not installed"
fi
finish
