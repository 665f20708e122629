#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Needs: libosmem.so
#
# What a program would notice of the thread of the library, and must not.

# shellcheck disable=SC2317 # functions are called through expect
# shellcheck source-path=SCRIPTDIR source=../lib/report.sh
. "${0%/*}/../lib/report.sh"
# shellcheck source-path=SCRIPTDIR source=serve/lib.sh
. "$here/serve/lib.sh"

# last_ends OPTIONS [ARGUMENT]: the process ends with the last thread of the program
last_ends() {
	OSMEM_OPTIONS=$1 LD_PRELOAD=$library "$scratch/last" ${2:+"$2"} && [ ! -e "$socket" ]
}

# rests CALL: where the kernel refuses this, clients and a signal cost no more than 0.3 s of CPU time
rests() {
	"$scratch/refuse" "$1" -- true
	[ $? != 77 ] || return 0
	start "serve=$socket,dump_on=USR1" "$scratch/refuse" "$1" -- "$scratch/subject" || return
	timeout 1 "$scratch/client" "$socket" send 'GET / HTTP/1.0\r\n\r\n' >"$scratch/reply"
	kill -USR1 "$subject"
	sleep 1
	ticks=$(awk '{ print $14 + $15 }' "/proc/$subject/task/$(service)/stat") && stop && echo "$ticks" &&
		[ "$ticks" -lt 30 ]
}

if ! has "$cc" || ! build last || ! build subject || ! build refuse || ! build client; then
	skip all "no $cc that builds the programs"
	finish
fi
expect last_thread_ends_process last_ends background
expect last_thread_removes_socket last_ends "serve=$socket"
expect last_thread_of_child last_ends background child
for call in poll accept4 rt_sigtimedwait; do
	expect "rests_without_$call" rests "$call"
done
finish
