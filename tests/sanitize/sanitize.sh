#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Needs: libosmem.so
#
# The library under the sanitizers and under valgrind. The sanitizers bring a malloc of their own,
# so it is compiled with others for the C library's names, and sanitize/*.c call these, os_*, large_*
# and tcache_*.

# shellcheck disable=SC2317 # functions are called through expect
# shellcheck source-path=SCRIPTDIR source=../lib/report.sh
. "${0%/*}/../lib/report.sh"

flags="-std=gnu11 -O1 -g -pthread -D_GNU_SOURCE -fno-strict-aliasing -fno-omit-frame-pointer
	-fno-builtin-malloc"

# The library's sources, as its Makefile has them, but for three files with names of the C and C++
# libraries that no scenario calls.
sources() {
	# shellcheck disable=SC2016 # a variable of make's
	make -s --no-print-directory -C "$src" --eval 'sources: ; @echo $(SRCS)' sources | tr ' ' '\n' |
		grep -Evx 'libc/(new|mallinfo|signal)\.c' | sed "s|^|$src/|"
	echo "$utils/printf.c"
}

# objects FOLDER COMPILER [FLAG…]: the library, with sanitized_malloc for malloc and so on, in a
# folder of the scratch one, unless it has been there; two files at a time.
objects() {
	objects=$scratch/$1
	shift
	[ -d "$objects" ] && return
	mkdir "$objects" || return
	# shellcheck disable=SC2016,SC2086 # of the shell that xargs runs; the flags are words
	sources | xargs -P 2 -I '{}' sh -c \
		'folder=$1 file=$2 && shift 2 && exec "$@" -c -o "$folder/$(basename "$file" .c).o" "$file"' \
		sh "$objects" '{}' "$@" $flags -I"$utils" -I"$src" &&
		grep -v '^os_' "$tests/system/exports.txt" | sed 's/.*/& sanitized_&/' >"$scratch/names" &&
		objcopy --redefine-syms="$scratch/names" "$objects/interpose.o"
}

# build OUTPUT SCENARIO FOLDER COMPILER [FLAG…]: the scenario with the objects in the folder.
build() {
	output=$scratch/$1 scenario=$tests/sanitize/$2.c
	shift 2
	# shellcheck disable=SC2086 # the flags are words
	objects "$@" >"$scratch/log" 2>&1 && shift &&
		"$@" $flags -I"$utils" -I"$src" -I"$tests/lib" -o "$output" "$scenario" "$tests/sanitize/kernel.c" \
			-Wl,--wrap=kernel_call "$objects"/*.o >"$scratch/log" 2>&1
}

# Can programs of this compiler with this sanitizer be made, and do they run here?
supports() {
	echo 'int main(void) { return 0; }' >"$scratch/empty.c"
	"$1" "$2" -o "$scratch/empty" "$scratch/empty.c" >"$scratch/log" 2>&1 &&
		"$scratch/empty" >"$scratch/log" 2>&1
}

# sanitized NAME SCENARIO COMPILER SANITIZERS
sanitized() {
	is_wanted "$1" || return 0
	if ! has "$3"; then
		skip "$1" "no $3"
	elif ! supports "$3" "-fsanitize=$4"; then
		skip "$1" "$3 has no -fsanitize=$4 that works here"
	elif build "$1" "$2" "objects.$3.$4" "$3" "-fsanitize=$4" -fno-sanitize-recover=all; then
		expect "$1" timeout 300 "$scratch/$1"
	else
		fail "$1" "$(grep -m 1 error "$scratch/log")"
	fi
}

# traced PROGRAM: the same, while every call is counted and recorded, and children have files of
# their own.
traced() {
	mkdir -p "$scratch/traces"
	if ! OSMEM_OPTIONS=stats=full,trace=$scratch/traces/%p,trace_size=16M timeout 300 "$1" \
		2>"$scratch/summary"; then
		grep SUMMARY "$scratch/summary"
		return 1
	fi
	grep -q '^osmem:   os_realloc' "$scratch/summary" && ! grep -q WARNING "$scratch/summary" &&
		[ "$(find "$scratch/traces" -type f -size +64 | wc -l)" -gt 10 ]
}

# served PROGRAM: the same without forks, while it is asked for everything, and memory returns. A
# child could not start its service: another thread may hold locks of the sanitizer at the fork. What
# the sanitizer says goes to files: the service has descriptors of its own.
served() {
	mkdir -p "$scratch/sockets"
	OSMEM_OPTIONS=serve=$scratch/sockets/%p,purge_delay=20 \
		TSAN_OPTIONS="$TSAN_OPTIONS log_path=$scratch/sockets/log" \
		timeout 300 "$1" without-forks 2>"$scratch/said" &
	program=$!
	while kill -0 "$program" 2>/dev/null; do
		for socket in "$scratch/sockets"/*; do
			[ -S "$socket" ] || continue
			for path in stats.json metrics map profile; do
				curl -s --max-time 5 --unix-socket "$socket" "http://x/$path" >>"$scratch/replies"
			done
			for path in trim profile/start profile/stop; do
				curl -s --max-time 5 --unix-socket "$socket" -X POST "http://x/$path" >>"$scratch/replies"
			done
		done
	done
	wait "$program"
	status=$?
	cat "$scratch/sockets/log"* 2>/dev/null | grep SUMMARY | sort | uniq -c
	grep -q osmem_live_bytes "$scratch/replies" && return "$status"
}

# guarded PROGRAM: the same, while many blocks are guarded.
guarded() {
	OSMEM_OPTIONS=guard=10,stats=/dev/null timeout 300 "$1"
}

# profiled PROGRAM: the same, while many allocations are sampled and profiles are written.
profiled() {
	OSMEM_OPTIONS=profile=$scratch/profile,profile_interval=2k,profile_growth=1M \
		timeout 300 "$1" && [ -s "$scratch/profile" ] && rm "$scratch/profile"
}

# memcheck NAME COMMAND…: an error that valgrind reports is a failure.
memcheck() {
	name=$1
	shift
	if has valgrind; then
		expect "$name" timeout 120 valgrind -q --error-exitcode=9 "$@"
	else
		skip "$name" "no valgrind"
	fi
}

preloaded_sort() {
	seq 1 2000 | LD_PRELOAD=$library timeout 120 valgrind -q --error-exitcode=9 "$@" \
		sort -rn >"$scratch/sorted" && seq 2000 -1 1 | cmp - "$scratch/sorted"
}

# The deadlock detector has room for 64 locks at a time; a fork takes one for each class.
export ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1
export TSAN_OPTIONS="detect_deadlocks=0 history_size=7 suppressions=$tests/sanitize/races.txt"

for cc in gcc clang; do
	sanitized "address_undefined_random_$cc" random "$cc" address,undefined
	sanitized "address_undefined_threads_$cc" threads "$cc" address,undefined
	sanitized "thread_threads_$cc" threads "$cc" thread
	if [ -x "$scratch/thread_threads_$cc" ]; then
		expect "thread_threads_traced_$cc" traced "$scratch/thread_threads_$cc"
		expect "thread_threads_guarded_$cc" guarded "$scratch/thread_threads_$cc"
		rm -rf "$scratch/traces"
	else
		skip "thread_threads_traced_$cc" "its program was not built"
		skip "thread_threads_guarded_$cc" "its program was not built"
	fi
done

# With clang, names come from another process, which the service's descriptors do not reach, so no
# meant race is recognised.
if ! [ -x "$scratch/thread_threads_gcc" ]; then
	skip thread_threads_served_gcc "its program was not built"
elif ! has curl; then
	skip thread_threads_served_gcc "no curl"
else
	expect thread_threads_served_gcc served "$scratch/thread_threads_gcc"
fi

for program in thread_threads_gcc thread_threads_clang address_undefined_threads_gcc; do
	if [ -x "$scratch/$program" ]; then
		expect "${program}_profiled" profiled "$scratch/$program"
	else
		skip "${program}_profiled" "its program was not built"
	fi
done

if build plain random objects.plain "${CC:-cc}"; then
	memcheck memcheck_random "$scratch/plain" 1500
else
	fail memcheck_random "$(grep -m 1 error "$scratch/log")"
fi
if has valgrind; then
	expect memcheck_preloaded_sort preloaded_sort
	expect memcheck_preloaded_sort_own_malloc preloaded_sort \
		--soname-synonyms=somalloc=nouserintercepts
else
	skip memcheck_preloaded_sort "no valgrind"
	skip memcheck_preloaded_sort_own_malloc "no valgrind"
fi

finish
