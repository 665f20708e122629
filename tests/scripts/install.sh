#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# make install and uninstall: what is installed is enough to build and run a program.

# shellcheck disable=SC2317 # functions are called through expect
# shellcheck source-path=SCRIPTDIR source=lib/report.sh
. "${0%/*}/lib/report.sh"

root=$scratch/root
installed=$root/opt/osmem

top_make() {
	make -s -C "$tests/.." DESTDIR="$root" PREFIX=/opt/osmem "$@"
}

# what_is_there: the files below $root, sorted, on one line.
what_is_there() {
	(cd "$root" && find . -type f | sort | tr '\n' ' ')
}

# build_and_run LINKER_ARGUMENT…
build_and_run() {
	cat >"$scratch/program.c" <<-'EOT'
		#include <block_meta.h>
		#include <osmem.h>
		int main(void)
		{
			struct block_meta *b = os_malloc(100);

			return !(b && b[-1].size == 104 && b[-1].status == STATUS_ALLOC);
		}
	EOT
	${CC:-cc} -I"$installed/include" -o "$scratch/program" "$scratch/program.c" "$@" &&
		LD_LIBRARY_PATH=$installed/lib "$scratch/program"
}

unset MAKEFLAGS MFLAGS MAKELEVEL
mkdir "$root"
expect install top_make install
expect files test "$(what_is_there)" = "./opt/osmem/include/block_meta.h \
./opt/osmem/include/osmem.h ./opt/osmem/lib/libosmem.a ./opt/osmem/lib/libosmem.so "
expect shared_library build_and_run -L"$installed/lib" -losmem
expect static_library build_and_run "$installed/lib/libosmem.a" -pthread
expect uninstall top_make uninstall
expect leaves_nothing test -z "$(find "$root" -mindepth 1 2>/dev/null)"
finish
