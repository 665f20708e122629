# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=sh
#
# Sourced by the script of each target, which sets
#
#	compiler     the C compiler
#	cxx          the C++ compiler; empty: there is none
#	binutils     the prefix of ar, objcopy and others; empty: those of this machine
#	programs     real programs to build: words of busybox, lua, minigzip and sqlite
#	checked      words of TESTS= of make check, with what can run there
#	emulator     what runs the target's programs; empty: this machine does
#
# and calls check_target. Everything is built from a copy of the sources, tests/out/cross/TARGET,
# with the folder tools/ of it in front of PATH: its cc, c++ and install are those of the target, and
# what they make can be started like any program (front.c). left_out.txt names what a target cannot
# pass.

# shellcheck disable=SC2034,SC2154,SC2317 # variables of the scripts; functions are called through expect
# shellcheck source-path=SCRIPTDIR source=../lib/report.sh
. "${0%/*}/../lib/report.sh"

target=${script##*/}
tree=$tests/out/cross/$target
tools=$tree/tools
installed=$scratch/root/opt/osmem
# What make check runs, but for what takes long under emulation, and scripts that run programs of
# this machine.
checked_emulated="block/checker block/placement block/placement_errors block/placement_heap
	block/placement_realloc block/placement_regions slab/cells slab/checker slab/sizeclass slab/spans
	large/checker cache/bounds cache/checker cache/magazines cache/modes cache/threads cache/endings
	model/random misuse/blocks misuse/cells misuse/large misuse/sizes libc/align libc/alloc libc/forks
	libc/own libc/usable sample/behaviour sample/stack trace/records inspect/heap system/locks
	system/printf system/static soak/short demo/output"
unset MAKEFLAGS MFLAGS MAKELEVEL CC CXX CFLAGS CPPFLAGS LDFLAGS SRC_PATH UTILS_PATH OSMEM_OPTIONS

export TEST_PATIENCE=4
# shellcheck disable=SC3045 # dash and bash have it
ulimit -c 0 # the emulator writes files of its own where a program dies

# tool NAME LINE: a script.
tool() {
	printf '#!/bin/sh\n%s\n' "$2" >"$tools/$1" && chmod +x "$tools/$1"
}

# compiler_tool NAME COMPILER
compiler_tool() {
	if [ -z "$2" ]; then
		tool "$1" "echo 'no $1 for $target' >&2; exit 1"
	elif [ "$emulator" ]; then
		tool "$1" "FRONT='$tools/front' exec '$tests/cross/cc.sh' $2 \"\$@\""
	else
		tool "$1" "exec $2 \"\$@\""
	fi
}

# With a front, what it is in front of.
install_tool() {
	# shellcheck disable=SC2016 # for the script
	tool install "$(command -v install)"' "$@" || exit
		for folder; do :; done
		for file; do
			[ ! -f "$file.elf" ] || '"$(command -v install)"' "$file.elf" "$folder" || exit
		done'
}

# musl-gcc knows its own headers only. Those of the kernel are the same for every C library.
kernel_headers() {
	mkdir -p "$tree/kernel" || return
	for folder in linux asm asm-generic; do
		[ -d "/usr/include/$folder" ] || folder=$(cc -dumpmachine)/$folder
		ln -s "/usr/include/$folder" "$tree/kernel/" || return
	done
}

copy_sources() {
	rm -rf "$tree" && mkdir -p "$tools" &&
		(cd "$tests/.." && tar cf - --exclude=bin --exclude=out --exclude='*.[oda]' --exclude='*.so*' \
			--exclude=heapview Makefile README.md src utils tests) | tar xf - -C "$tree" &&
		cc -std=gnu11 -O2 -Wall -Wextra -D_GNU_SOURCE -static -I"$tests/lib" -o "$tools/front" \
			"$here/front.c" && install_tool && kernel_headers && compiler_tool cc "$compiler" && compiler_tool c++ "$cxx" &&
		compiler_tool g++ "$cxx" || return
	for binary in ar ld nm objcopy objdump readelf; do
		[ -z "$binutils" ] || tool "$binary" "exec $binutils$binary \"\$@\"" || return
	done
}

# made ARGUMENT…: make in the copy does not fail and says nothing like a warning.
made() {
	PATH=$tools:$PATH make -j"$(nproc)" -C "$tree" CC="$tools/cc" "$@" >"$scratch/made" 2>&1 || {
		grep -m 1 -i error "$scratch/made"
		return 1
	}
	! grep -i -m 1 'warning' "$scratch/made"
}

# The tests that the target cannot pass: programs, which may not even build; or single tests.
left_out() {
	while read -r targets test _; do
		case ",$targets," in
		*",$target,"* | *",${emulator:+emulated},"*) echo "$test" ;;
		esac
	done <"$here/left_out.txt" | grep "$@" | tr '\n' ' '
}

# make_tests ARGUMENT…: in the copy, with what is checked.
make_tests() {
	made -C tests TESTS="$checked" WITHOUT="$(left_out -v '\.')" "$@"
}

# What the tests of the copy say, as ours.
run_tests() {
	"$tools/cc" -O2 -pthread -o "$scratch/plain" "$here/plain.c" # the demo's real program
	for test in $(left_out -v '\.'); do
		skip "$test" "left out"
	done
	TEST_LEFT_OUT=$(left_out '\.') DEMO=$scratch/plain make_tests check
	sed "s|^\(ok\|skip\|FAIL\) |\1 $target/|" "$scratch/made" >"$scratch/checked"
	grep '^[okskipFAIL]* ' "$scratch/checked"
	closing=$(sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed, \([0-9]*\) skipped$/\1 \2 \3/p' "$scratch/checked" |
		tail -n 1)
	read -r p f s <<-EOT
		${closing:-0 1 0}
	EOT
	passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
}

# A program that is preloaded with the library, and linked with it in both ways.
plain_programs() {
	"$tools/cc" -std=gnu11 -O2 -Wall -pthread -o "$scratch/plain" "$here/plain.c" &&
		"$tools/cc" -O2 -pthread -o "$scratch/linked" "$here/plain.c" -L"$installed/lib" \
			-Wl,--no-as-needed -losmem -Wl,-rpath,"$installed/lib" &&
		"$tools/cc" -O2 -pthread -o "$scratch/archive" "$here/plain.c" -Wl,-u,os_malloc \
			"$installed/lib/libosmem.a"
}

# counts COMMAND…: it prints the sums, and the library its figures.
counts() {
	timeout 60 "$@" >"$scratch/out" 2>"$scratch/err"
	cat "$scratch/err" "$scratch/out"
	[ "$(cat "$scratch/out")" = "124716 and 124716" ] && grep -q '^osmem: process' "$scratch/err"
}

install_it() {
	PATH=$tools:$PATH make -s -C "$tree" CC="$tools/cc" DESTDIR="$scratch/root" PREFIX=/opt/osmem install
}

osmem_run() {
	"$installed/bin/osmem-run" "$@"
}

# heapview's text and pages, of a trace and of a map that were made on the target.
heapview_shows() {
	(cd "$scratch" && osmem_run "--$1=$1" ./plain && "$installed/bin/heapview" --text "$1" &&
		"$installed/bin/heapview" "$1" -o page.html) >"$scratch/shown" 2>&1 || {
		tail -n 1 "$scratch/shown"
		return 1
	}
	grep '^#' "$scratch/shown" && [ "$(tail -n 1 "$scratch/page.html")" = '</html>' ]
}

check_installed() {
	expect install install_it
	expect plain_programs plain_programs
	expect preloaded counts env OSMEM_OPTIONS=stats LD_PRELOAD="$installed/lib/libosmem.so" "$scratch/plain"
	expect linked counts env OSMEM_OPTIONS=stats "$scratch/linked"
	expect archive counts env OSMEM_OPTIONS=stats "$scratch/archive"
	expect osmem_run counts "$installed/bin/osmem-run" --stats "$scratch/plain"
	expect heapview_trace heapview_shows trace
	expect heapview_map heapview_shows map
}

# shellcheck source-path=SCRIPTDIR source=programs.sh
. "$here/programs.sh"

# check_target PROGRAM…: all of it, if these are installed.
check_target() {
	for program in "$@"; do
		has "$program" && continue
		skip all "$program is not installed"
		finish
	done
	expect sources copy_sources
	expect library made all
	expect tests_build make_tests build
	check_installed
	# shellcheck disable=SC2086 # words
	check_programs $programs
	is_wanted tests && run_tests
	finish
}
