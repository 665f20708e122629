#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Needs: libosmem.so
#
# What containers lack: /proc, folders that can be written to, and memory. Programs run as ever, and
# the library is silent, unless an option asks for what cannot be: then a line says so.

# shellcheck disable=SC2317 # functions are called through expect
# shellcheck source-path=SCRIPTDIR source=../lib/report.sh
. "${0%/*}/../lib/report.sh"

cc=${CC:-cc}
group= # a control group of ours
trap '[ -z "$group" ] || rmdir "$group"; rm -rf "$scratch"' EXIT

# inside SETUP OPTIONS: the subject in a mount namespace of its own, behind a command.
inside() {
	OSMEM_OPTIONS=$2 $unshare sh -c "$1 && LD_PRELOAD=$library exec $scratch/subject" \
		>"$scratch/out" 2>"$scratch/err" && cmp -s "$scratch/out" "$scratch/good" && return
	cat "$scratch/out" "$scratch/err"
	return 1
}

silent() {
	inside "$1" "$2" && [ ! -s "$scratch/err" ] && return
	cat "$scratch/err"
	return 1
}

# says TEXT OPTIONS SETUP
says() {
	inside "$3" "$2" && ! grep -Ev "^osmem: .*$1" "$scratch/err" && [ -s "$scratch/err" ] && return
	cat "$scratch/err"
	return 1
}

no_proc='umount -l /proc'
read_only='mount -o remount,bind,ro /'

if ! has "$cc"; then
	skip container "$cc is not installed"
	finish
fi
echo '{"brk", SYS_brk},' >"$scratch/calls.h"
"$cc" -std=gnu11 -O1 -D_GNU_SOURCE -Wall -Wextra -fno-builtin -pthread -I"$scratch" \
	-o "$scratch/subject" "$here/seccomp/subject.c" || exit 1
"$cc" -std=gnu11 -O1 -D_GNU_SOURCE -Wall -Wextra -fno-builtin -pthread -o "$scratch/phases" \
	"$here/container/phases.c" || exit 1
"$scratch/subject" >"$scratch/good" || exit 1

unshare='unshare --mount'
[ "$(id -u)" -eq 0 ] || unshare='unshare --mount --map-root-user'
if has unshare && $unshare sh -c "$no_proc && ! [ -e /proc/self ]" 2>"$scratch/err"; then
	expect no_proc silent "$no_proc" purge_delay=20
	expect no_proc_hardened silent "$no_proc" hardened
	expect no_proc_options silent "$no_proc" \
		"profile=$scratch/profile,map=$scratch/map,trace=$scratch/trace,background,guard,check"
	expect no_proc_leaks says 'leaks: .*/proc' leaks "$no_proc"
else
	skip no_proc "no namespaces here: $(cat "$scratch/err")"
fi
if has unshare && $unshare sh -c "$read_only && ! touch $scratch/new" 2>"$scratch/err"; then
	expect read_only silent "$read_only" hardened,background
	for option in trace map stats profile serve; do
		expect "read_only_$option" says EROFS "$option=$scratch/file" "$read_only"
	done
else
	skip read_only "no namespaces here: $(cat "$scratch/err")"
fi

# Memory.

folder=/sys/fs/cgroup
limit=memory.max
if ! grep -qs memory "$folder/cgroup.subtree_control"; then
	folder=$folder/memory
	limit=memory.limit_in_bytes
fi
make_group() {
	mkdir "$folder/osmem-test.$$" || return
	group=$folder/osmem-test.$$
	[ -w "$group/$limit" ] && echo $((100 << 20)) >"$group/$limit"
}

# lives OPTIONS MIB: the phases use MIB of the 100 that there are.
lives() {
	(
		sh -c 'echo $PPID' >"$group/cgroup.procs" || exit 9
		OSMEM_OPTIONS=$1 LD_PRELOAD=$library exec "$scratch/phases" "$2"
	) >"$scratch/out" 2>"$scratch/err"
	status=$?
	[ "$status" -eq 0 ] && [ ! -s "$scratch/err" ] && [ "$(cat "$scratch/out")" = 'done' ] && return
	echo "exit status $status; $(cat "$scratch/err")"
	return 1
}

is_killed() {
	! lives '' 200
}

if make_group 2>"$scratch/err"; then
	expect memory_limit_counts is_killed
	expect memory_max lives '' 35
	expect memory_max_nearly_used lives purge_delay=0 70
	if [ -w "$group/memory.high" ]; then
		echo $((60 << 20)) >"$group/memory.high"
		expect memory_high lives '' 35
	else
		skip memory_high "no control groups of version 2 with memory"
	fi
else
	skip memory_max "no control groups to make: $(cat "$scratch/err")"
fi
finish
