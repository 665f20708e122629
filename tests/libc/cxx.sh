#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Needs: libosmem.so
#
# C++ operator new and delete: the programs in cxx/, built with each C++ compiler that is installed,
# linked with the library and under LD_PRELOAD. CXX names the only one to use.

# shellcheck disable=SC2317 # functions are called through expect
# shellcheck source-path=SCRIPTDIR source=../lib/report.sh
. "${0%/*}/../lib/report.sh"

sources=$here/cxx
flags="-std=c++17 -O2 -g -Wall -Wextra -fno-builtin -pthread"
link="-L${library%/*} -losmem -Wl,-rpath,${library%/*}"

# build OUTPUT COMPILER ARGUMENTS…: in the scratch folder; complains as a failed test.
build() {
	output=$scratch/$1
	shift
	# shellcheck disable=SC2086 # the flags are words
	"$@" -o "$output" >"$scratch/log" 2>&1 && return 0
	fail "build_${output##*/}" "$(grep -m 1 error "$scratch/log")"
	return 1
}

preloaded() {
	timeout 60 env LD_PRELOAD="$library" "$@"
}

# each_form PROGRAM PREFIX RUNNER…
each_form() {
	program=$1 prefix=$2
	shift 2
	for form in $("$program"); do
		expect "${prefix}_$form" "$@" "$program" "$form"
	done
}

with_compiler() {
	cxx=$1
	case $cxx in
	clang++) extra="-fsized-deallocation" ;;
	*) extra= ;;
	esac
	# shellcheck disable=SC2086
	build "forms.$cxx" "$cxx" $flags $extra "$sources/forms.cc" $link &&
		each_form "$scratch/forms.$cxx" "$cxx.linked" timeout 60
	# shellcheck disable=SC2086
	build "forms.$cxx" "$cxx" $flags $extra "$sources/forms.cc" &&
		each_form "$scratch/forms.$cxx" "$cxx.preload" preloaded
	for program in replaced replaced_aligned; do
		# shellcheck disable=SC2086
		build "$program.$cxx" "$cxx" $flags $extra "$sources/$program.cc" &&
			expect "$cxx.preload_program_with_new_$program" \
				preloaded "$scratch/$program.$cxx"
	done
}

# A runtime linked into the program keeps its own operators; under them malloc is ours.
static_runtime() {
	# shellcheck disable=SC2086
	build forms.static g++ $flags -static-libstdc++ -static-libgcc "$sources/forms.cc" || return
	for form in plain aligned_array bad_alloc handler_throws_in_nothrow containers_in_threads; do
		expect "preload_static_runtime_$form" preloaded "$scratch/forms.static" "$form"
	done
}

other_runtime() {
	# shellcheck disable=SC2086
	if ! clang++ $flags -stdlib=libc++ -fsized-deallocation -o "$scratch/forms.libc++" \
		"$sources/forms.cc" >"$scratch/log" 2>&1; then
		skip preload_libc++ "clang++ with libc++ is not installed"
		return
	fi
	each_form "$scratch/forms.libc++" preload_libc++ preloaded
}

plugin() {
	# shellcheck disable=SC2086
	build plugin.so g++ $flags -shared -fPIC "$sources/plugin.cc" &&
		build host cc -O2 "$sources/host.c" &&
		expect preload_plugin_of_a_c_program preloaded "$scratch/host" "$scratch/plugin.so"
}

# throws_without_runtime FORM
throws_without_runtime() {
	timeout 60 "$scratch/no_runtime" "$1" 2>"$scratch/said"
	[ $? -eq 134 ] && grep -q '^osmem: operator new(' "$scratch/said"
}

no_runtime() {
	# shellcheck disable=SC2086
	build no_runtime cc -O2 "$sources/no_runtime.c" $link || return
	expect no_runtime_works timeout 60 "$scratch/no_runtime"
	for form in plain aligned; do
		expect "no_runtime_cannot_throw_$form" throws_without_runtime "$form"
	done
}

for compiler in ${CXX:-g++ clang++}; do
	if has "$compiler"; then
		with_compiler "$compiler"
	else
		skip "$compiler" "not installed"
	fi
done
if has g++; then
	static_runtime
	plugin
else
	skip plugin "g++ is not installed"
fi
[ "$CXX" ] || other_runtime
no_runtime
finish
