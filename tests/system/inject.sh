#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Needs: libosmem.so
#
# System calls that fail in a real process under the library, one after another and all of them:
# strace makes them. What the library calls on its own account must not disturb the program, and
# what the program has got stays as it was.

# shellcheck disable=SC2317 # functions are called through expect
# shellcheck source-path=SCRIPTDIR source=../lib/report.sh
. "${0%/*}/../lib/report.sh"

cc=${CC:-cc}

# work [FLAG…]: the subject, with a trace and a summary, under strace; leaves what it prints in
# $scratch/said, what the library prints in $scratch/messages, and the calls in $scratch/calls.
work() {
	timeout 60 strace -f -o "$scratch/calls" -E LD_PRELOAD="$library" \
		-E OSMEM_OPTIONS="stats=full,trace=$scratch/trace" "$@" "$scratch/subject" \
		>"$scratch/said" 2>"$scratch/messages"
}

# undisturbed CALL RESULT FIRST: calls from number FIRST on, which is behind the loader's, have that
# result, one alone or all.
undisturbed() {
	was_injected=
	for when in "$3" $(($3 + 1)) $(($3 + 4)) "$3+"; do
		work -e trace="$1" -e inject="$1:$2:when=$when"
		status=$?
		if [ "$status" -ne 0 ] || [ "$(cat "$scratch/said")" != "done" ]; then
			tail -n 1 "$scratch/messages"
			echo "$1 number $when: exit status $status"
			return 1
		fi
		! grep -q INJECTED "$scratch/calls" || was_injected=yes
	done
	[ "$was_injected" ] || echo "$1 is never called"
	[ "$was_injected" ]
}

# The number of the first CALL that is the library's: the loader's come before the trace is opened.
first() {
	awk -v call=" $1(" '/\/trace"/ { exit } index($0, call) { n++ } END { print n + 1 }' \
		"$scratch/all"
}

if ! has strace "$cc" ||
	! "$cc" -std=gnu11 -O2 -D_GNU_SOURCE -Wall -Wextra -fno-builtin -pthread -I"$utils" \
		-o "$scratch/subject" "$here/inject/subject.c" || ! work; then
	skip injection "strace or $cc is not installed, or may not work here"
	finish
fi
mv "$scratch/calls" "$scratch/all"
while read -r call result; do
	expect "$call-$result" undisturbed "$call" "$result" "$(first "$call")"
done <<-'EOT'
	fallocate error=ENOSPC
	fallocate error=EOPNOTSUPP
	flock error=EAGAIN
	ftruncate error=EIO
	readlinkat error=EACCES
	fcntl error=EMFILE
	openat error=EMFILE
	mmap error=ENOMEM
	munmap error=ENOMEM
	mremap error=ENOMEM
	madvise error=EINVAL
	brk retval=0
EOT
finish
