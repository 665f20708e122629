#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Needs: libosmem.so
#
# OSMEM_OPTIONS=background: memory returns while the program sleeps. BACKGROUND_MIB is the size of
# the peak.

# shellcheck disable=SC2317 # functions are called through expect
# shellcheck source-path=SCRIPTDIR source=../lib/report.sh
. "${0%/*}/../lib/report.sh"
# shellcheck source-path=SCRIPTDIR source=serve/lib.sh
. "$here/serve/lib.sh"

mib=${BACKGROUND_MIB:-192}

# peak OPTIONS SIZE THREADS: the resident MiB at the peak, and 2 seconds after its end
peak() {
	start "$1" "$scratch/subject" peak "$mib" "$2" "$3" || return
	stop || return
	# shellcheck disable=SC2046 # words
	set -- $(head -n 1 "$scratch/out")
	first=$1
	shift
	last=$9
	echo "$first" "$*" "$(cat "$scratch/err")"
}

# A small program's own memory is 6 MiB, and what 8 sleeping threads have cached.
returns_all() {
	peak "${3:-background}" "$1" "$2" && [ "$first" -gt $((mib / 2)) ] && [ "$last" -le $((mib / 20 + 6)) ]
}

# Otherwise nothing returns without a call: the test above would notice.
stays() {
	peak "$1" 1000 1 && [ "$last" -gt $((mib / 2)) ]
}

serve_includes_it() {
	peak "serve=$socket" 1000 1 && [ "$last" -le $((mib / 20 + 6)) ]
}

# looks: how often the thread has woken up
looks() {
	sed -n 's/^voluntary_ctxt_switches:.//p' "/proc/$subject/task/$(service)/status"
}

# A sleeping program costs a look each 0.7 seconds.
sleeps_well() {
	start background "$scratch/subject" && sleep 2 && before=$(looks) && sleep 3 &&
		after=$(looks) && stop && echo "$before $after" && [ $((after - before)) -le 6 ] &&
		[ $((after - before)) -ge 2 ]
}

# With dump_on alone it sleeps for good.
sleeps_for_good() {
	start dump_on=USR1 "$scratch/subject" && sleep 0.5 && before=$(looks) && sleep 2 &&
		after=$(looks) && stop && [ "$after" = "$before" ]
}

if ! has "$cc" || ! build subject; then
	skip all "no $cc that builds the programs"
	finish
fi
for threads in 1 8; do
	for size in 64 1000 100000 5000000; do
		expect "returns_${size}_bytes_of_${threads}_threads" returns_all $size $threads
	done
done
expect hardened_returns_all returns_all 1000 1 background,hardened
expect serve_includes_it serve_includes_it
expect stays_when_off stays stats
expect stays_with_dump_on stays dump_on=USR1
expect stays_with_trim_threshold stays background,trim_threshold=never
expect stays_with_purge_delay stays background,purge_delay=60000
expect sleeps_well sleeps_well
expect sleeps_for_good sleeps_for_good
finish
