#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Needs: libosmem.so, heapview
#
# OSMEM_OPTIONS=dump_on: a signal writes everything that is on.

# shellcheck disable=SC2317 # functions are called through expect
# shellcheck source-path=SCRIPTDIR source=../lib/report.sh
. "${0%/*}/../lib/report.sh"
# shellcheck source-path=SCRIPTDIR source=serve/lib.sh
. "$here/serve/lib.sh"

summary() {
	grep -q '^osmem:   live ' "$scratch/err"
}

# The status of a program that the signal ended.
ended_by() {
	[ "$1" -eq $((128 + $2)) ]
}

# Twice, and once more at exit; the program continues.
program_continues() {
	start "stats,dump_on=$1" "$scratch/subject" || return
	for n in 1 2; do
		kill -"$2" "$subject" && until_true dumped "$n" || return
	done
	stop && dumped 3
}

dumped() {
	[ "$(grep -c '^osmem:   live ' "$scratch/err")" -eq "$1" ]
}

# The signal ends the program as it would have, but the summary is there, once.
program_ends() {
	start "stats,dump_on=$1" "$scratch/subject" "$3" || return
	kill -"$2" "$subject"
	wait "$subject"
	status=$?
	stop
	echo "status $status"
	ended_by "$status" "$2" && dumped 1 && ! grep interrupted "$scratch/out"
}

files_are_written() {
	options="map=$scratch/map,stats=$scratch/stats.json,trace=$scratch/trace"
	options="$options,profile=$scratch/profile,profile_interval=1,dump_on=SIGUSR2"
	start "$options" "$scratch/subject" forked && kill -USR2 "$subject" &&
		until_true grep -q '"process"' "$scratch/stats.json" &&
		until_true test -s "$scratch/map" && until_true test -s "$scratch/profile" || return
	sleep 0.2
	cp "$scratch/map" "$scratch/map.1" && cp "$scratch/stats.json" "$scratch/stats.1" &&
		"$src/tools/heapview" --svg "$scratch/map.1" -o "$scratch/map.svg" && stop &&
		"$src/tools/heapview" --svg "$scratch/map" -o "$scratch/map.svg" &&
		[ "$(grep -c '"process"' "$scratch/stats.json")" = 1 ] && [ ! -s "$scratch/err" ]
}

# What was moved away is kept as it is: the next dump makes new files, and so does the exit.
files_are_rotated() {
	start "map=$scratch/map,stats=$scratch/stats.json,dump_on=USR1" "$scratch/subject" || return
	for n in 1 2; do
		kill -USR1 "$subject" && until_true test -s "$scratch/stats.json" && sleep 0.2 || return
		for file in map stats.json; do
			mv "$scratch/$file" "$scratch/$file.$n" && cksum "$scratch/$file.$n" || return
		done
	done >"$scratch/sums"
	stop && cksum "$scratch/map.1" "$scratch/stats.json.1" "$scratch/map.2" "$scratch/stats.json.2" |
		cmp - "$scratch/sums" && [ -s "$scratch/map" ] && [ -s "$scratch/stats.json" ] &&
		[ -s "$scratch/map.2" ] && [ ! -s "$scratch/err" ]
}

# One who installs a handler gets the signal; nothing is written before the exit.
program_takes_it() {
	start "stats,dump_on=$1" "$scratch/subject" handles && kill -"$1" "$subject" &&
		until_true grep -q "^took SIG$1" "$scratch/out" && sleep 0.3 && dumped 0 && stop && dumped 1
}

# What the parent has had ignored stays so: nohup.
ignored_stays_ignored() {
	(trap '' HUP && start stats,dump_on=HUP "$scratch/subject" && kill -HUP "$subject" && sleep 0.3 &&
		dumped 0 && stop && dumped 1 && grep -q '^osmem: OSMEM_OPTIONS: dump_on: ' "$scratch/err")
}

# Standard error is the program's, although the thread has descriptors of its own.
terminal_is_found() {
	start "stats,dump_on=USR1" "$scratch/refuse" pidfd_getfd -- "$scratch/subject" closed &&
		kill -USR1 "$subject" && until_true dumped 1 && stop
}

child_dumps_too() {
	start "stats,dump_on=USR1" "$scratch/subject" forked && child=$(head -n 1 "$scratch/out") &&
		kill -USR1 "$child" && until_true grep -q "process $child" "$scratch/err" && dumped 1 && stop
}

socket_is_removed() {
	start "serve=$socket,dump_on=TERM" "$scratch/subject" || return
	kill -TERM "$subject"
	wait "$subject"
	ended_by $? 15 && [ ! -e "$socket" ]
}

# A handler that waits for the dump does not wait for a lock that its thread holds.
busy_program_ends() {
	for _ in 1 2 3 4 5 6 7 8; do
		program_ends TERM 15 tight || return
	done
}

invalid_is_reported() {
	for signal in KILL STOP SEGV 9 0 32 99 FOO ''; do
		start "dump_on=$signal" "$scratch/subject" && stop &&
			grep -q '^osmem: OSMEM_OPTIONS: invalid value in "dump_on=.*; dump_on takes USR1, ' \
				"$scratch/err" || return
	done
}

if ! has "$cc" || ! build subject || ! build refuse; then
	skip all "no $cc that builds the programs"
	finish
fi
expect usr1_continues program_continues USR1 USR1
expect sigusr2_continues program_continues SIGUSR2 USR2
expect number_continues program_continues 10 USR1
expect winch_continues program_continues WINCH WINCH
expect real_time_continues program_continues 40 40
expect term_ends program_ends TERM 15 wait
expect term_ends_sleep program_ends TERM 15 sleeps
expect xcpu_ends program_ends SIGXCPU 24 wait
expect alrm_ends program_ends 14 14 sleeps # nohup would ignore SIGHUP
expect busy_program_ends busy_program_ends
expect files_are_written files_are_written
expect files_are_rotated files_are_rotated
expect program_takes_usr1 program_takes_it USR1
expect program_takes_term program_takes_it TERM
expect ignored_stays_ignored ignored_stays_ignored
expect terminal_is_found terminal_is_found
expect child_dumps_too child_dumps_too
expect socket_is_removed socket_is_removed
expect invalid_is_reported invalid_is_reported
finish
