#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Needs: libosmem.so
#
# make install and uninstall: what is installed is enough to build and run a program, wherever it
# is, and with spaces in all paths.

# shellcheck disable=SC2317 # functions are called through expect
# shellcheck source-path=SCRIPTDIR source=../lib/report.sh
. "${0%/*}/../lib/report.sh"

top=$(cd "$tests/.." && pwd)
work="$scratch/a folder"
root="$work/the root"
prefix="/opt/os mem"
version=$(sed -n 's/^VERSION = //p' "$top/src/version.mk")
installed=$root$prefix
cc=${CC:-cc}

top_make() {
	make -s -C "$top" DESTDIR="$root" PREFIX="$prefix" "$@"
}

# what_is_there: the files and links below $installed, sorted, on one line.
what_is_there() {
	(cd "$installed" && find . ! -type d | LC_ALL=C sort | tr '\n' ' ')
}

# package ARGUMENT…: what pkg-config says, to be evaluated for its quoting.
package() {
	PKG_CONFIG_PATH=$installed/lib/pkgconfig PKG_CONFIG_SYSROOT_DIR=$root pkg-config "$@" osmem
}

# compile ARGUMENT…: a program that knows the rules.
compile() {
	cat >"$work/program.c" <<-'EOT'
		#include <block_meta.h>
		#include <osmem.h>
		int main(void)
		{
			struct block_meta *b = os_malloc(100);

			return !(b && b[-1].size == 104 && b[-1].status == STATUS_ALLOC);
		}
	EOT
	$cc -o "$work/a program" "$work/program.c" "$@"
}

build_with_paths() {
	compile -I"$installed/include" -L"$installed/lib" -losmem &&
		LD_LIBRARY_PATH=$installed/lib "$work/a program"
}

build_with_archive() {
	compile -I"$installed/include" "$installed/lib/libosmem.a" -pthread && "$work/a program"
}

build_with_package() {
	eval "compile $(package --cflags --libs)" && LD_LIBRARY_PATH=$installed/lib "$work/a program"
}

build_static_with_package() {
	eval "compile -static $(package --static --cflags --libs)" && "$work/a program"
}

# find_package(osmem VERSION): configure and build; the rest is cmake's own.
build_with_cmake() {
	mkdir -p "$work/cmake" && cp "$work/program.c" "$work/cmake" && cat >"$work/cmake/CMakeLists.txt" <<-EOT || return
		cmake_minimum_required(VERSION 3.10)
		project(program C)
		find_package(osmem $1 REQUIRED)
		add_executable(program program.c)
		target_link_libraries(program osmem::osmem)
	EOT
	rm -rf "$work/cmake/build"
	cmake -S "$work/cmake" -B "$work/cmake/build" -DCMAKE_PREFIX_PATH="$installed" \
		-DCMAKE_FIND_USE_PACKAGE_REGISTRY=OFF >"$work/out" 2>&1 &&
		cmake --build "$work/cmake/build" >"$work/out" 2>&1
}

cmake_finds_the_package() {
	build_with_cmake "${version%.*}" && "$work/cmake/build/program" &&
		build_with_cmake '' && build_with_cmake "$version EXACT" && "$work/cmake/build/program"
}

cmake_refuses_other_versions() {
	for other in 0.9 "${version%%.*}.999" 2.0; do
		if build_with_cmake "$other" || ! tr -s ' \n' ' ' <"$work/out" | grep -q 'compatible with requested version'; then
			echo "$other"
			return 1
		fi
	done
}

# Each function has a page that leads to the one that describes it.
every_function_has_a_page() {
	for function in os_malloc os_calloc os_realloc os_free $(sed -n \
		'/^typedef/d; s/^[a-z].*[ *]\(osmem_[a-z_]*\)(.*/\1/p' "$installed/include/osmem_inspect.h"); do
		MANPATH=$installed/share/man man -w 3 "$function" >"$work/out" 2>&1 &&
			MANPATH=$installed/share/man MANWIDTH=80 man 3 "$function" 2>"$work/err" | grep -q "$function" ||
			return
	done
}

# installs_live ID FOLDERS: make install without DESTDIR, by the user of that number, where the
# loader looks in FOLDERS. The system's own cache is left alone.
installs_live() {
	mkdir -p "$work/programs"
	printf '#!/bin/sh\necho %s\n' "$1" >"$work/programs/id"
	cat >"$work/programs/ldconfig" <<-EOT
		#!/bin/sh
		case \$1 in
		-*) printf '%s: (from <builtin>:0)\n' $2 ;;
		*) echo ran >"$scratch/ran" ;;
		esac
	EOT
	chmod 755 "$work/programs/id" "$work/programs/ldconfig"
	rm -f "$scratch/ran"
	PATH=$work/programs:$PATH make -s -C "$top" DESTDIR= PREFIX="$scratch/live" install >"$work/out" 2>&1 &&
		grep -q ldconfig "$work/out"
}

ldconfig_runs() {
	installs_live 0 "/usr/lib $scratch/live/lib" && [ -e "$scratch/ran" ] && rm "$scratch/ran" &&
		PATH=$work/programs:$PATH make -s -C "$top" DESTDIR= PREFIX="$scratch/live" uninstall &&
		[ -e "$scratch/ran" ] && [ ! -e "$scratch/live" ]
}

ldconfig_is_left_to_others() {
	installs_live 1000 "$scratch/live/lib" && [ ! -e "$scratch/ran" ] &&
		installs_live 0 "/usr/lib $scratch/live/lib/other /other$scratch/live/lib" && [ ! -e "$scratch/ran" ] &&
		make -s -C "$top" DESTDIR= PREFIX="$scratch/live" uninstall
}

# What the program above looks for is the major version, and there is one.
wants_major_version() {
	LC_ALL=C readelf -d "$work/a program" | grep -q 'NEEDED.*\[libosmem\.so\.1\]'
}

# A course's programs look for what they were linked with, in src/.
course_name_is_plain() {
	LC_ALL=C readelf -d "$library" | grep -q 'SONAME.*\[libosmem\.so\]'
}

# The wrapper, from another folder and by a relative path.
wrapper() {
	(cd "$work" && OSMEM_OPTIONS='' "./the root$prefix/bin/osmem-run" "$@")
}

wrapper_preloads() {
	wrapper --stats printf '<%s>' 'two  words' >"$work/out" 2>"$work/err" &&
		[ "$(cat "$work/out")" = '<two  words>' ] &&
		grep -q '^osmem: process' "$work/err"
}

wrapper_through_link() {
	ln -s "$installed/bin/osmem-run" "$work/link" &&
		OSMEM_OPTIONS=stats "$work/link" -- true 2>&1 | grep -q '^osmem: process'
}

# In a path without spaces the library goes by its path.
wrapper_of_checkout() {
	cp -R "$top/src" "$scratch" &&
		"$scratch/src/tools/osmem-run" --stats true 2>&1 | grep -q '^osmem: process' &&
		[ "$("$scratch/src/tools/osmem-run" printenv LD_PRELOAD)" = "$scratch/src/libosmem.so" ]
}

wrapper_keeps_preload() {
	[ "$(LD_PRELOAD=libm.so.6 wrapper printenv LD_PRELOAD)" = "libosmem.so.$version:libm.so.6" ]
}

# Options reach the library in order; files are absolute.
wrapper_passes_options() {
	[ "$(OSMEM_OPTIONS=stats "$installed/bin/osmem-run" --trace=/t --hardened check=2 -- \
		printenv OSMEM_OPTIONS 2>/dev/null)" = stats,trace=/t,hardened,check=2 ] &&
		[ "$(wrapper --map=m.map --stats=full --stats=s.json printenv OSMEM_OPTIONS 2>/dev/null)" = \
			"map=$work/m.map,stats=full,stats=$work/s.json" ] &&
		[ "$(wrapper --leaks --leaks=exit --guard --guard=7 --profile=p --serve=s \
			printenv OSMEM_OPTIONS 2>/dev/null)" = \
			"leaks,leaks=exit,guard,guard=7,profile=$work/p,serve=$work/s" ]
}

# refuses STATUS WORDS ARGUMENT…: the wrapper says so and runs nothing.
refuses() {
	status=$1 words=$2
	shift 2
	wrapper "$@" >"$work/out" 2>"$work/err"
	[ $? -eq "$status" ] && [ ! -s "$work/out" ] && grep -q -e "$words" "$work/err"
}

# Recorded and viewed from another folder, files with spaces too.
heapview_shows_a_trace() {
	wrapper --trace='a trace' ls / >"$work/out" &&
		(cd "$work" && "./the root$prefix/bin/heapview" 'a trace' -o 'a page.html') &&
		[ "$(tail -n 1 "$work/a page.html")" = '</html>' ] && rm "$work/a page.html" "$work/a trace"
}

wrapper_says_version() {
	[ "$(wrapper --version)" = "osmem $version" ] &&
		[ "$("$top/src/tools/osmem-run" --version)" = "osmem $version" ]
}

# A debugger finds the lines in the file that the library names.
library_is_stripped() {
	(cd "$installed/lib" && [ -z "$(nm libosmem.so 2>/dev/null)" ] && [ -n "$(nm libosmem.so.debug)" ] &&
		objdump -g libosmem.so.debug | grep -q osmem.c &&
		readelf -p .gnu_debuglink libosmem.so | grep -q 'libosmem\.so\.debug')
}

wrapper_helps() {
	wrapper --help | grep -q '^usage: osmem-run'
}

wrapper_status() {
	wrapper sh -c 'exit 7'
	[ $? -eq 7 ]
}

# pages COMMAND…: it says nothing about any page.
pages() {
	for page in "$top"/src/tools/man/*.[1-8]; do
		"$@" "$page" >"$work/out" 2>&1 || return
		if [ -s "$work/out" ]; then
			cat "$work/out"
			return 1
		fi
	done
}

man_shows() {
	for page in "$top"/src/tools/man/*.[1-8]; do
		MANWIDTH=80 man -l "$page" 2>/dev/null | grep -q NAME || return
	done
}

# The names in the pages' titles and their files' agree, and every option of the wrapper is there.
pages_are_complete() {
	for option in $("$installed/bin/osmem-run" --help | sed -n 's/^ *--\([a-z]*\).*/\1/p'); do
		grep -q "\\\\-\\\\-$option" "$top/src/tools/man/osmem-run.1" || return
	done
}

# The checkout itself, where there are spaces: built, shown, and the least of the tests run.
builds_with_spaces() {
	mkdir "$work/check out" &&
		(cd "$top" && tar cf - --exclude=bin --exclude=out --exclude='*.o' --exclude='*.so*' \
			--exclude='*.a' --exclude='*.d' Makefile src utils tests) |
		tar xf - -C "$work/check out" &&
		make -s -C "$work/check out" CFLAGS=-O1 &&
		make -s -C "$work/check out" CFLAGS=-O1 demo &&
		make -s -C "$work/check out/tests" CFLAGS=-O1 bin/block/placement bin/slab/sizeclass &&
		(cd "$work/check out/tests" && ./run.sh bin/block/placement bin/slab/sizeclass)
}

# expect_with PROGRAM NAME COMMAND…: where the program is installed.
expect_with() {
	if has "$1"; then
		shift
		expect "$@"
	else
		skip "$2" "$1 is not installed"
	fi
}

unset MAKEFLAGS MFLAGS MAKELEVEL OSMEM_OPTIONS
mkdir -p "$root"
expect install top_make install
expect files test "$(what_is_there)" = "./bin/heapview ./bin/osmem-run ./include/block_meta.h ./include/osmem.h ./include/osmem_inspect.h \
./lib/cmake/osmem/osmemConfig.cmake ./lib/cmake/osmem/osmemConfigVersion.cmake \
./lib/libosmem.a ./lib/libosmem.so ./lib/libosmem.so.1 ./lib/libosmem.so.$version ./lib/libosmem.so.debug ./lib/pkgconfig/osmem.pc \
./share/bash-completion/completions/heapview ./share/bash-completion/completions/osmem-run \
./share/man/man1/heapview.1 ./share/man/man1/osmem-run.1 ./share/man/man3/os_calloc.3 \
./share/man/man3/os_free.3 ./share/man/man3/os_malloc.3 ./share/man/man3/os_realloc.3 \
./share/man/man3/osmem.3 ./share/man/man3/osmem_check.3 ./share/man/man3/osmem_get_stats.3 \
./share/man/man3/osmem_inspect.3 ./share/man/man3/osmem_walk.3 ./share/man/man3/osmem_write_map.3 \
./share/man/man3/osmem_write_profile.3 ./share/man/man7/osmem.7 "
expect shared_library build_with_paths
expect_with readelf wants_major_version wants_major_version
expect_with readelf course_name_is_plain course_name_is_plain
expect static_library build_with_archive
expect_with pkg-config package build_with_package
expect_with pkg-config static_package build_static_with_package
expect_with cmake cmake_finds_the_package cmake_finds_the_package
expect_with cmake cmake_refuses_other_versions cmake_refuses_other_versions
expect wrapper_preloads wrapper_preloads
expect wrapper_through_link wrapper_through_link
expect wrapper_of_checkout wrapper_of_checkout
expect wrapper_keeps_preload wrapper_keeps_preload
expect wrapper_passes_options wrapper_passes_options
expect heapview_shows_a_trace heapview_shows_a_trace
expect wrapper_says_version wrapper_says_version
expect library_is_stripped library_is_stripped
expect wrapper_helps wrapper_helps
expect wrapper_status wrapper_status
expect wrapper_without_program refuses 2 '^usage:'
expect wrapper_unknown_option refuses 2 'unknown option --nonsense' --nonsense true
expect wrapper_file_missing refuses 2 '--map=FILE' --map true
expect wrapper_comma refuses 2 comma name=a,b true
expect wrapper_unknown_program refuses 127 'not found' no-such-program
expect pages_are_complete pages_are_complete
expect_with groff pages_groff pages groff -man -ww -z -Tutf8
expect_with mandoc pages_mandoc pages mandoc -T lint
expect_with man pages_man man_shows
expect_with man every_function_has_a_page every_function_has_a_page
expect ldconfig_runs ldconfig_runs
expect ldconfig_is_left_to_others ldconfig_is_left_to_others
expect uninstall top_make uninstall
expect leaves_nothing test -z "$(find "$root" -mindepth 1 2>/dev/null)"
expect libdir top_make LIBDIR="$prefix/lib/x86_64 gnu" install
expect libdir_wrapper wrapper_preloads
expect libdir_uninstall top_make LIBDIR="$prefix/lib/x86_64 gnu" uninstall
expect libdir_leaves_nothing test -z "$(find "$root" -mindepth 1 2>/dev/null)"
expect builds_with_spaces builds_with_spaces
finish
