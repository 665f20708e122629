#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Needs: libosmem.so
#
# System call filters, as containers have them: the kernel answers EPERM or ENOSYS to one of the
# calls that the library can make, each in turn, from the program's start on, and from main on. The
# program says and does what it does without the library under that filter, and the library is
# silent. If an option asks for what cannot be, a line says so.

# shellcheck disable=SC2317 # functions are called through expect
# shellcheck source-path=SCRIPTDIR source=../lib/report.sh
. "${0%/*}/../lib/report.sh"

cc=${CC:-cc}
subject=$scratch/subject
output=$scratch/output

# Those of the library's sources, by the macros of kernel.h, and what libc makes for it. Not futex,
# without which libc's threads end the process.
calls() {
	{
		cat "$src"/*.c "$src"/*/*.c | tr '\n\t' '  ' | grep -Eo '[^A-Z_](CALL|RAW)\( *[a-z][a-z0-9_]*' |
			sed 's/.*( *//'
		printf '%s\n' brk clock_gettime clone3 getrandom membarrier mincore rseq set_robust_list
	} | grep -vx futex | sort -u
}

# work PRELOAD OPTIONS COMMAND…: leaves $scratch/out and $scratch/err; the exit status.
work() {
	preload=$1 options=$2
	shift 2
	timeout 60 env LD_PRELOAD="$preload" OSMEM_OPTIONS="$options" "$@" \
		>"$scratch/out" 2>"$scratch/err"
}

# said LINES: no more than these, all of them the library's.
said() {
	[ "$(wc -l <"$scratch/err")" -le "$1" ] && ! grep -qv '^osmem: ' "$scratch/err"
}

# same LINES OPTIONS COMMAND…: as ever, or as without the library.
same() {
	lines=$1 asked=$2
	shift 2
	work "$library" "$asked" "$@"
	status=$?
	said "$lines" && [ "$status" -eq 0 ] && cmp -s "$scratch/out" "$scratch/good" && return
	mv "$scratch/out" "$scratch/ours" && mv "$scratch/err" "$scratch/messages"
	work '' '' "$@"
	plain=$?
	[ ! -s "$scratch/err" ] || return 0 # it does not even start
	mv "$scratch/messages" "$scratch/err"
	said "$lines" && [ "$status" -eq "$plain" ] && cmp -s "$scratch/out" "$scratch/ours" && return
	echo "\"$asked\", $*: exit status $status, not $plain;" \
		"$(tail -n 1 "$scratch/ours"); $(head -n 1 "$scratch/err")"
	return 1
}

# compare CALL ERROR [SUBJECT]: from main on, or from the start on; silently, also hardened; or with
# options that write files and start the service, of which each may say that it cannot.
compare() {
	same 0 purge_delay=20 "$subject" "$@" || return
	[ "$2" = EPERM ] || return 0
	rm -rf "$output"*
	same 0 hardened,purge_delay=20 "$subject" "$@" && same 12 "$all_options" "$subject" "$@"
}

# refused CALL
refused() {
	for error in EPERM ENOSYS; do
		compare "$1" "$error" && compare "$1" "$error" "$subject" || return
	done
}

# no_memory CALL: without it there is none, where libc has another way. malloc says so.
no_memory() {
	for error in EPERM ENOSYS; do
		work "$library" '' "$subject" "$1" "$error"
		status=$?
		[ "$status" -eq 3 ] && said 0 && continue
		echo "$1, $error: exit status $status; $(cat "$scratch/out" "$scratch/err")"
		return 1
	done
}

all_options=stats=$output.stats,trace=$output.trace,map=$output.map,profile=$output.profile,backtrace
all_options=$all_options,guard=100,misuse=warn,check=10,leaks,serve=$output.socket,dump_on=USR2
all_options=$all_options,purge_delay=20
calls >"$scratch/calls"
sed 's/.*/{"&", SYS_&},/' "$scratch/calls" >"$scratch/calls.h"
if ! has "$cc"; then
	skip seccomp "$cc is not installed"
	finish
fi
"$cc" -std=gnu11 -O1 -D_GNU_SOURCE -Wall -Wextra -fno-builtin -pthread -I"$scratch" -o "$subject" \
	"$here/seccomp/subject.c" || exit 1
"$subject" >"$scratch/good" || exit 1
"$subject" prctl EPERM >"$scratch/out"
if [ $? -eq 2 ]; then
	skip seccomp "no system call filters here"
	finish
fi
expect there_are_calls [ "$(wc -l <"$scratch/calls")" -ge 40 ]
while read -r call; do
	if [ "$call" = mmap ]; then
		expect mmap no_memory mmap
	else
		expect "$call" refused "$call"
	fi
done <"$scratch/calls"
finish
