#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Needs: libosmem.so, bin/block/placement
#
# The build: in a copy of the tree whose path has spaces in it, with each compiler that is
# installed, over our utils/ and over one that has only what a course's has (build/utils).

# shellcheck disable=SC2317 # functions are called through expect
# shellcheck source-path=SCRIPTDIR source=../lib/report.sh
. "${0%/*}/../lib/report.sh"

tree="$scratch/a tree"
cc=${CC:-cc}
# What the caller of this script was built with is not what is tested here.
unset CC CFLAGS CPPFLAGS LDFLAGS MAKEFLAGS MFLAGS MAKELEVEL UTILS_PATH

# What the copy has been built with: the arguments of made, or nothing that another test could use.
is_made=

# A fresh copy of the sources.
copy() {
	is_made=
	rm -rf "$tree"
	mkdir -p "$tree/src" "$tree/utils" "$tree/course"
	(cd "$src" && find . -name '*.[ch]' -o -name Makefile -o -name '*.mk') |
		(cd "$src" && xargs tar cf -) | (cd "$tree/src" && tar xf -)
	cp "$utils"/*.[ch] "$tree/utils"
	cp "$here"/build/utils/*.[ch] "$tree/course"
	(cd "$tree" && find . | sort) >"$scratch/copied"
}

# build [ARGUMENT…]: make in the copy's src/.
build() {
	make -C "$tree/src" "$@"
}

fresh() {
	copy
	build "$@" && is_made=$*
}

# made [ARGUMENT…]: the copy is built so, by the test before or now.
made() {
	[ "$is_made" = "$*" ] || fresh "$@"
}

# Succeeds if the build does and says nothing like a warning.
silent() {
	fresh "$@" >"$scratch/out" 2>&1 || {
		grep -m 1 error "$scratch/out"
		return 1
	}
	! grep -i -m 1 warning "$scratch/out"
}

rebuilds_nothing() {
	made -j8 && build | grep -i nothing
}

# Afterwards the header is as old as it was.
header_is_a_dependency() {
	made -j8 && sleep 1 && touch "$tree/src/block/index.h" && build -n >"$scratch/commands"
	touch -r "$tree/src/block/index.c" "$tree/src/block/index.h"
	grep index.c "$scratch/commands"
}

leaves_nothing() {
	made -j8 && build clean && is_made= || return 1
	(cd "$tree" && find . | sort) | diff "$scratch/copied" -
}

# The compiler is the one asked for, for every file, with the flags asked for and none of the usual.
respects_variables() {
	printf '#!/bin/sh\necho "$*" >>"%s"\nexec %s "$@"\n' "$scratch/calls" "$cc" >"$scratch/mycc"
	chmod +x "$scratch/mycc"
	rm -f "$scratch/calls"
	fresh CC="$scratch/mycc" CFLAGS="-O0 -DMY_C=1" CPPFLAGS=-DMY_CPP=1 LDFLAGS=-Wl,-O1 || return 1
	[ "$(grep -c -e '-O0 -DMY_C=1 -c' "$scratch/calls")" -eq "$(objects)" ] &&
		[ "$(grep -c -e '-DMY_CPP=1' "$scratch/calls")" -eq "$(objects)" ] &&
		[ "$(grep -c -e '-shared.*-Wl,-O1' "$scratch/calls")" -eq 1 ] &&
		! grep -e -O2 "$scratch/calls"
}

objects() {
	find "$tree/src" -name '*.o' ! -name libosmem.o | wc -l
}

# program OUTPUT UTILS ARGUMENT…: build the program over these utils.
program() {
	output=$scratch/$1 over=$tree/$2
	shift 2
	"$cc" -std=gnu11 -Wall -Wextra -fno-builtin -I"$over" -o "$output" \
		"$here/build/program.c" "$@" -pthread
}

# The program says what it should, and is stopped where it should be.
works() {
	[ "$("$1")" = "done 1" ] || return 1
	"$1" misuse 2>"$scratch/err" && return 1
	grep -x 'osmem: os_free(0x[0-9a-f]*): this block is already free' "$scratch/err"
}

over_our_utils() {
	made -j8 && program ours utils "$tree/utils/printf.c" -L"$tree/src" -losmem \
		"-Wl,-rpath,$tree/src" && works "$scratch/ours"
}

# The library keeps its printf to itself, so the program brings its own; over_course_utils with a
# printf.c that has _putchar, or without.
over_course_utils() {
	[ "$is_made" = course ] || copy
	[ "$1" = with ] && cat >>"$tree/course/printf.c" <<-'EOT'

		#include <unistd.h>

		void _putchar(char character)
		{
			if (write(1, &character, 1) != 1)
				_exit(1);
		}
	EOT
	build -j2 UTILS_PATH=../course CFLAGS=-O0 || return 1
	is_made=course
	cat >"$scratch/putchar.c" <<-'EOT'
		#include <stdio.h>
		void _putchar(char character)
		{
			fputc(character, stdout);
		}
	EOT
	program course course "$here/build/utils/printf.c" "$scratch/putchar.c" \
		-L"$tree/src" -losmem "-Wl,-rpath,$tree/src" && works "$scratch/course"
}

linked_statically() {
	made -j8 && program static utils "$tree/src/libosmem.a" "$@" && works "$scratch/static"
}

# placement ARGUMENT…: the placement rules hold in a library built so.
placement() {
	made "$@" && LD_PRELOAD="$tree/src/libosmem.so" "$tests/bin/block/placement"
}

# alone COMPILER FLAGS HEADER…: each compiles alone.
alone() {
	compiler="$1 $2"
	shift 2
	for header in "$@"; do
		echo "#include \"$header\"" >"$scratch/alone.c"
		# shellcheck disable=SC2086 # the compiler and its language
		$compiler -Wall -Wextra -Wundef -Werror -D_GNU_SOURCE -fsyntax-only -I"$src" -I"$utils" \
			"$scratch/alone.c" || return 1
	done
}

expect variables_are_respected respects_variables
expect parallel silent -j8
expect second_make_does_nothing rebuilds_nothing
expect headers_are_dependencies header_is_a_dependency
expect our_utils over_our_utils
expect static_library linked_statically
expect static_program linked_statically -static
expect make_clean_leaves_nothing leaves_nothing
expect course_utils over_course_utils without
expect course_utils_with_putchar over_course_utils with

# with COMPILER FLAG
with() {
	expect "no_warning_$1_$2" silent -j2 CC="$1" CFLAGS="$2"
	if [ -x "$tests/bin/block/placement" ]; then
		expect "placement_$1_$2" placement -j2 CC="$1" CFLAGS="$2"
	else
		skip "placement_$1_$2" "bin/block/placement has not been built"
	fi
}

for compiler in gcc clang; do
	for flag in -O0 -O2 -O3; do
		if has "$compiler"; then
			with "$compiler" "$flag"
		else
			skip "$compiler$flag" "no $compiler"
		fi
	done
done

expect headers_alone alone "$cc" "-xc -std=gnu11" "$src"/*.h "$src"/*/*.h "$utils"/*.h
if has c++; then
	expect headers_alone_cxx alone c++ -xc++ "$utils/osmem.h" "$utils/block_meta.h" \
		"$utils/printf.h" "$src/osmem_inspect.h"
else
	skip headers_alone_cxx "no c++"
fi

finish
