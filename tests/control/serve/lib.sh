# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=sh
#
# Sourced by the scripts of this folder, behind report.sh: programs that are served, and their clients.

# shellcheck disable=SC2154 # of report.sh
# shellcheck disable=SC2034 # for those that source this

cc=${CC:-cc}
patience=${TEST_PATIENCE:-1}
subject= # its id, while it runs; was: that of the last one
was=
socket=$scratch/socket

# build NAME [FLAG…]: from serve/NAME.c
build() {
	name=$1
	shift
	$cc -std=gnu11 -O1 -g -D_GNU_SOURCE -pthread -fno-builtin -Wall -Wextra -o "$scratch/$name" \
		"$tests/control/serve/$name.c" "$@"
}

# until COMMAND…: wait until it succeeds, for 10 seconds at most
until_true() {
	for _ in $(seq $((100 * patience))); do
		"$@" && return
		sleep 0.1
	done
	return 1
}

# Its standard input is a pipe that stays open.
[ -p "$scratch/input" ] || mkfifo "$scratch/input"

# start OPTIONS COMMAND…: under the library; its output is in $scratch/out, what it reports in
# $scratch/err, its id in $subject. Waits until it is ready.
start() {
	options=$1
	shift
	[ -z "$subject" ] || kill_subject KILL # of a test that has failed
	: >"$scratch/out"
	LD_PRELOAD=${preload:-$library} OSMEM_OPTIONS=$options "$@" <"$scratch/input" >"$scratch/out" \
		2>"$scratch/err" &
	subject=$!
	exec 9>"$scratch/input"
	until_true grep -q . "$scratch/out"
}

# stop: let the program exit, and wait for it; its status
stop() {
	exec 9>&-
	wait "$subject"
	set -- $? "$subject"
	subject=
	was=$2
	return "$1"
}

# kill_subject SIGNAL
kill_subject() {
	kill -"$1" "$subject"
	stop 2>/dev/null
	true
}

# get PATH [OPTION…]: of curl; --fail makes its status tell
get() {
	path=$1
	shift
	curl --silent --show-error --max-time $((10 * patience)) --unix-socket "$socket" "$@" \
		"http://x$path"
}

# service: the id of the thread of the library in the program
service() {
	for task in /proc/"$subject"/task/*; do
		[ "$(cat "$task/comm")" != osmem ] || echo "${task##*/}"
	done
}
