#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Needs: libosmem.so, libosmem.a
#
# OSMEM_OPTIONS=profile: files that this folder's reader accepts, with the functions that allocated
# on top of each stack, whatever the program was doing.

# shellcheck disable=SC2317 # functions are called through expect
# shellcheck source-path=SCRIPTDIR source=../lib/report.sh
. "${0%/*}/../lib/report.sh"

cc=${CC:-cc}
cxx=${CXX:-c++}

build() {
	# shellcheck disable=SC2086 # words
	$cc -std=gnu11 -D_GNU_SOURCE -Wall -Wextra -fno-builtin -pthread -I"$utils" \
		-I"$tests/lib" "$@"
}

build_programs() {
	build -O1 -o "$scratch/read" "$here/profile/read.c" &&
		build -O1 -shared -fPIC -o "$scratch/plugin.so" "$here/profile/plugin.c"
}

# profiled OPTIONS PROGRAM [ARGUMENT]…: it ends well and says nothing. Each process has its profile
# in $scratch/profiles; timeout has one, too.
profiled() {
	rm -rf "$scratch/profiles"
	mkdir "$scratch/profiles"
	options=profile=$scratch/profiles/%p$1
	shift
	(LD_PRELOAD=$library OSMEM_OPTIONS=$options exec timeout -s KILL 60 "$@") \
		>"$scratch/out" 2>"$scratch/err"
	status=$?
	cat "$scratch/err"
	[ "$status" -eq 0 ] && [ ! -s "$scratch/err" ]
}

# read_profiles: what is in them, in $scratch/said, and nothing but profiles is there.
read_profiles() {
	! find "$scratch/profiles" -type f -name '*[!0-9]*' | grep . || return
	for file in "$scratch"/profiles/*; do
		"$scratch/read" "$file" || return
	done >"$scratch/said"
}

# allocated SCENARIO OBJECTS BYTES TIMES: so many profiles have them in all, on that stack
allocated() {
	[ "$(grep -c "^$2 $3 0 0 0 known_$1;call_$1[;+]*" "$scratch/said")" -eq "$4" ] && return
	echo "$1: not $4 times:"
	grep "known_$1" "$scratch/said"
	return 1
}

# lives SCENARIO BYTES TIMES: in so many profiles, one object with the label of its thread
lives() {
	[ "$(grep -c "^0 0 1 $2 [1-9][0-9]* known_$1;call_$1[;+]*" "$scratch/said")" -eq "$3" ] && return
	echo "$1 does not live $3 times:"
	grep "known_$1" "$scratch/said"
	return 1
}

# With an interval of 1 each object is a sample. The child has what it inherits and its own.
scenarios_are_found() {
	build "$@" -rdynamic -o "$scratch/program" "$here/profile/program.c" || return
	profiled ,profile_interval=1 "$scratch/program" "$scratch/plugin.so" && read_profiles || return
	number=0
	for scenario in main handler thread end coroutine loading child exit plugin; do
		number=$((number + 1))
		times=2
		case $scenario in
		child | exit) times=1 ;;
		esac
		allocated "$scenario" 1 $((10000 + number)) "$times" &&
			lives "$scenario" $((10000 + number)) "$times" || return
	done
}

found_as_compiled() {
	scenarios_are_found -O2
}

found_without_frame_pointers() {
	scenarios_are_found -O2 -fomit-frame-pointer
}

found_with_frame_pointers() {
	scenarios_are_found -O2 -fno-omit-frame-pointer
}

found_without_unwind_tables() {
	scenarios_are_found -O2 -fno-omit-frame-pointer -fno-asynchronous-unwind-tables -fno-unwind-tables
}

# A program that never exits has the profile of its last growth.
growth_is_written() {
	build -O1 -rdynamic -o "$scratch/killed" "$here/profile/killed.c" || return
	LD_PRELOAD=$library OSMEM_OPTIONS=profile=$scratch/grown,profile_interval=1,profile_growth=1M \
		"$scratch/killed"
	"$scratch/read" "$scratch/grown" >"$scratch/said" || return
	bytes=$(sed -n 's/^0 0 [0-9]* \([0-9]*\) [0-9]* known_grown;call_grown;.*/\1/p' "$scratch/said")
	echo "$bytes bytes"
	[ "$bytes" -gt 8000000 ] && [ "$(echo "$scratch"/grown*)" = "$scratch/grown" ]
}

# Nothing is read of an object that another thread unloads.
objects_may_go() {
	build -O1 -rdynamic -I"$src" -o "$scratch/unload" "$here/profile/unload.c" -L"$src" -losmem \
		-Wl,-rpath,"$src" || return
	OSMEM_OPTIONS=profile=$scratch/unloaded,profile_interval=1 timeout -s KILL 60 \
		"$scratch/unload" "$scratch/plugin.so" "$scratch/written" &&
		"$scratch/read" "$scratch/written" >"$scratch/said"
}

# The kernel maps the segments of a program apart.
found_in_a_program_with_gaps() {
	scenarios_are_found -O2 -no-pie -Wl,-z,max-page-size=0x200000,-z,separate-code
}

# The library's own frames are above those of the program in an archive.
static_programs_have_one() {
	build -O1 -static -Wl,--eh-frame-hdr -o "$scratch/static" "$here/profile/program.c" "$src/libosmem.a" \
		2>/dev/null || return
	profiled ,profile_interval=1 "$scratch/static" && read_profiles &&
		grep -q '^1 10001 0 0 0 ' "$scratch/said"
}

exceptions_pass() {
	$cxx -O1 -pthread -rdynamic -o "$scratch/exceptions" "$here/profile/exceptions.cc" || return
	profiled ,profile_interval=1 "$scratch/exceptions" && read_profiles &&
		allocated thrower 1000 10010000 2
}

# The mapping of each object has the build id of its file.
build_ids_are_those_of_the_files() {
	build -O1 -Wl,--build-id=0x0123456789abcdef -o "$scratch/program" "$here/profile/program.c" &&
		profiled ,profile_interval=1 "$scratch/program" || return
	id=$(readelf -n "$scratch/program" | sed -n 's/.*Build ID: //p')
	libc=$(readelf -n "$(ldd "$scratch/program" | awk '/libc.so/ { print $3 }')" |
		sed -n 's/.*Build ID: //p')
	[ "$id" = 0123456789abcdef ] && [ "${#libc}" -ge 32 ] &&
		[ "$(grep -al "$id" "$scratch"/profiles/* | wc -l)" -eq 2 ] &&
		[ "$(grep -al "$libc" "$scratch"/profiles/* | wc -l)" -eq 3 ]
}

# Nobody but the first process writes to a file without %p, and a reader never sees a part.
one_process_has_the_file() {
	file=$scratch/single
	LD_PRELOAD=$library OSMEM_OPTIONS=profile=$file,profile_interval=1 timeout 60 sh -c "
		'$scratch/program' && cp '$file' '$file.before'" && [ ! -s "$file.before" ] &&
		"$scratch/read" "$file" >"$scratch/said" && ! grep known_ "$scratch/said" &&
		[ "$(echo "$file"*)" = "$file $file.before" ]
}

# Although it is written to again and again.
a_full_disk_is_one_line() {
	LD_PRELOAD=$library OSMEM_OPTIONS=profile=/dev/full,profile_interval=1,profile_growth=1 \
		"$scratch/program" 2>"$scratch/err" &&
		echo 'osmem: OSMEM_OPTIONS: profile: cannot write /dev/full: ENOSPC' |
		diff - "$scratch/err"
}

# The file is the old one, and nothing else is left.
a_file_too_large_changes_nothing() {
	rm -rf "$scratch/profiles"
	mkdir "$scratch/profiles"
	echo old >"$scratch/profiles/file"
	(
		ulimit -f 0
		LD_PRELOAD=$library OSMEM_OPTIONS=profile=$scratch/profiles/file,profile_interval=1 \
			"$scratch/program"
	) 2>&1 | grep -q 'file: EFBIG$' && [ "$(ls "$scratch/profiles")" = file ] &&
		[ "$(cat "$scratch/profiles/file")" = old ]
}

# The reader that the format was made for reads the child's.
pprof_reads_it() {
	build -O1 -g -rdynamic -o "$scratch/program" "$here/profile/program.c" || return
	profiled ,profile_interval=1 "$scratch/program" || return
	file=$(grep -al known_child "$scratch"/profiles/*) && [ -f "$file" ] || return
	pprof -symbolize=none -sample_index=alloc_space -traces "$scratch/program" "$file" \
		>"$scratch/said" 2>"$scratch/err" &&
		grep -A1 'known_main' "$scratch/said" | grep -q call_main &&
		pprof -sample_index=inuse_space -top "$scratch/program" "$file" 2>"$scratch/err" |
		grep -q 'known_child'
}

if ! has "$cc" timeout; then
	skip programs "no $cc, or no timeout"
	finish
fi
expect build_programs build_programs
for test in found_as_compiled found_without_frame_pointers found_with_frame_pointers \
	found_without_unwind_tables found_in_a_program_with_gaps one_process_has_the_file a_full_disk_is_one_line \
	a_file_too_large_changes_nothing growth_is_written objects_may_go; do
	expect "$test" "$test"
done
if has "$cxx"; then
	expect exceptions_pass exceptions_pass
else
	skip exceptions_pass "no $cxx"
fi
if has readelf; then
	expect build_ids_are_those_of_the_files build_ids_are_those_of_the_files
else
	skip build_ids_are_those_of_the_files "no readelf"
fi
if echo 'int main(void) { return 0; }' | build -static -xc -o "$scratch/none" - 2>/dev/null; then
	expect static_programs_have_one static_programs_have_one
else
	skip static_programs_have_one "no C library to link statically"
fi
if has pprof; then
	expect pprof_reads_it pprof_reads_it
else
	skip pprof_reads_it "no pprof"
fi
finish
