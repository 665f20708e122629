#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Needs: libosmem.so
#
# Constructors of other libraries that run before those of the preloaded one.

# shellcheck disable=SC2317 # functions are called through expect
# shellcheck source-path=SCRIPTDIR source=../lib/report.sh
. "${0%/*}/../lib/report.sh"

cc=${CC:-cc}
sources=$here/constructors

# forks [OPTIONS]: in the constructor, among threads.
forks() {
	timeout 60 env LD_PRELOAD="$library" OSMEM_OPTIONS="$1" "$scratch/main" >"$scratch/out" 2>&1
	tail -n 1 "$scratch/out"
	[ "$(tail -n 1 "$scratch/out")" = "100 children of 100" ]
}

if ! has "$cc" || ! "$cc" -O1 -D_GNU_SOURCE -fno-builtin -fPIC -shared -pthread \
	-o "$scratch/libearly.so" "$sources/early.c" ||
	! "$cc" -o "$scratch/main" "$sources/main.c" -L"$scratch" -learly -Wl,-rpath,"$scratch"; then
	skip constructors "$cc cannot make a library here"
	finish
fi
expect forks_before_ours forks
expect forks_before_ours_hardened forks hardened
finish
