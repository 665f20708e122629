#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Needs: libosmem.so
#
# libosmem.so loaded late, by dlopen: os_* work, and the program's own malloc is untouched. And the
# other way round: what is dlopened allocates from its constructors in a preloaded program; or, with
# dlmopen, from threads of another libc.

# shellcheck disable=SC2317 # functions are called through expect
# shellcheck source-path=SCRIPTDIR source=../lib/report.sh
. "${0%/*}/../lib/report.sh"

sources=$here/dlopen
python=$(python3 -c 'import sys; print(sys.executable)' 2>/dev/null)

late() {
	cc -O2 -D_GNU_SOURCE -fno-builtin -pthread -o "$scratch/late" "$sources/late.c"
}

from_c() {
	late && timeout 60 "$scratch/late" "$library"
}

# With many other libraries loaded first, which take most of the room for late TLS.
from_python() {
	timeout 60 "$python" "$sources/late.py" "$library"
}

plugin() {
	cc -O2 -D_GNU_SOURCE -fno-builtin -shared -fPIC -o "$scratch/plugin.so" "$sources/plugin.c"
}

constructor_of_a_plugin() {
	plugin && cc -O2 -D_GNU_SOURCE -fno-builtin -o "$scratch/loader" "$sources/loader.c" &&
		timeout 60 env LD_PRELOAD="$library" "$scratch/loader" "$scratch/plugin.so"
}

# crowd PLUGIN: every thread has a copy of its own.
crowd() {
	cc -O2 -D_GNU_SOURCE -fno-builtin -pthread -o "$scratch/crowd" "$sources/crowd.c" || return
	for i in 1 2 3 4 5 6; do
		cp "$1" "$scratch/crowd.$i.so" || return
	done
	timeout 60 env LD_PRELOAD="$library" "$scratch/crowd" "$scratch"/crowd.[1-6].so
}

crowd_of_plugins() {
	plugin && crowd "$scratch/plugin.so"
}

crowd_of_cxx_plugins() {
	g++ -O2 -fno-gnu-unique -shared -fPIC -o "$scratch/locals.so" "$sources/locals.cc" &&
		crowd "$scratch/locals.so"
}

# A second copy that dlopen brings into a preloaded program is the first one.
late_into_preloaded() {
	late && timeout 60 env LD_PRELOAD="$library" "$scratch/late" "$library" preloaded
}

guest() {
	cc -O2 -D_GNU_SOURCE -pthread -shared -fPIC -o "$scratch/guest.so" "$sources/guest.c" &&
		cc -O2 -D_GNU_SOURCE -fno-builtin -o "$scratch/namespace" "$sources/namespace.c"
}

# another_namespace OPTIONS ROUNDS [os]: memory is bounded, too: what a thread has at its end is
# used again.
another_namespace() {
	timeout 60 env OSMEM_OPTIONS="$1" LD_PRELOAD="$library" "$scratch/namespace" "$scratch/guest.so" "$2" \
		128 ${3:+"$3"}
}

# Without the library: exit status 2 means that there are no such threads here.
has_namespaces() {
	guest >"$scratch/log" 2>&1 || return
	timeout 60 "$scratch/namespace" "$scratch/guest.so" 0 >"$scratch/log" 2>&1
	[ $? -ne 2 ]
}

if has cc; then
	expect from_c from_c
	expect late_into_preloaded late_into_preloaded
	expect constructor_of_a_plugin constructor_of_a_plugin
	expect crowd_of_plugins crowd_of_plugins
	if has_namespaces; then
		expect another_namespace another_namespace "" 30
		expect another_namespace_hardened another_namespace hardened 6
		expect another_namespace_os another_namespace "" 10 os
	else
		skip another_namespace "dlmopen does not work here"
	fi
else
	skip from_c "cc is not installed"
fi
if has cc g++; then
	expect crowd_of_cxx_plugins crowd_of_cxx_plugins
else
	skip crowd_of_cxx_plugins "g++ is not installed"
fi
if [ -n "$python" ]; then
	expect from_python from_python
else
	skip from_python "python3 is not installed"
fi
finish
