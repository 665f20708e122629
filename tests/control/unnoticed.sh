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

if ! has "$cc" || ! build last; then
	skip all "no $cc that builds the program"
	finish
fi
expect last_thread_ends_process last_ends background
expect last_thread_removes_socket last_ends "serve=$socket"
expect last_thread_of_child last_ends background child
finish
