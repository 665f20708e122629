#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Needs: libosmem.so
#
# Programs of an ordinary user, who may lock 8 MiB: mlockall works under the library as it does
# without, and what can be allocated then is not much less. The kernel counts all that is mapped,
# also what is not used.

# shellcheck disable=SC2317 # functions are called through expect
# shellcheck source-path=SCRIPTDIR source=../lib/report.sh
. "${0%/*}/../lib/report.sh"

cc=${CC:-cc}
as_user=
[ "$(id -u)" -ne 0 ] || as_user="setpriv --reuid=65534 --regid=65534 --clear-groups"

# locked PRELOAD ARGUMENT…: the subject's two figures; what it complains about is in $scratch/err.
locked() {
	# shellcheck disable=SC2086 # several words
	LD_PRELOAD=$1 $as_user prlimit --memlock=8388608:8388608 "$scratch/subject" "$2" "$3" "$4" \
		2>"$scratch/err"
}

# nearly_as_much FLAGS SIZE THREADS: at least two thirds of what there is without the library, for
# size classes round up, and at most 1.25 MiB more is locked at the start.
nearly_as_much() {
	plain=$(locked '' "$@") || { cat "$scratch/err" && return 1; }
	ours=$(locked "$library" "$@") || { cat "$scratch/err" && return 1; }
	cat "$scratch/err"
	echo "$ours, and $plain without the library (KiB got, KiB locked before)"
	[ ! -s "$scratch/err" ] && [ $((${ours% *} * 3)) -ge $((${plain% *} * 2)) ] &&
		[ $((${ours#* } - ${plain#* })) -le 1280 ]
}

if ! has prlimit "$cc" || { [ "$as_user" ] && ! has setpriv; }; then
	skip mlock "prlimit, setpriv or $cc is not installed"
	finish
fi
chmod 755 "$scratch"
"$cc" -std=gnu11 -O1 -D_GNU_SOURCE -Wall -Wextra -fno-builtin -pthread -o "$scratch/subject" \
	"$here/mlock/subject.c" || exit 1
cp "$library" "$scratch/libosmem.so" && library=$scratch/libosmem.so # where that user may read it
if ! locked '' 3 100 0 >/dev/null; then
	skip mlock "an ordinary user may not lock 8 MiB here: $(cat "$scratch/err")"
	finish
fi
for size in 100 5000 40000 300000 1000000; do
	expect "all_$size" nearly_as_much 3 "$size" 0
	expect "future_$size" nearly_as_much 2 "$size" 0
done
expect threads_100 nearly_as_much 3 100 4
expect threads_5000 nearly_as_much 3 5000 4
finish
