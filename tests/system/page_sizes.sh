#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Needs: libosmem.so, paged
#
# Pages of 16 and 64 KiB: a part of what "make pages" runs, and programs with the library preloaded
# over the simulated kernel of lib/pages.c.

# shellcheck disable=SC2317 # functions are called through expect
# shellcheck source-path=SCRIPTDIR source=../lib/report.sh
. "${0%/*}/../lib/report.sh"

paged=$tests/bin/paged

# tests_pass SIZE PROGRAM…
tests_pass() {
	size=$1
	shift
	for program in "$@"; do
		TEST_PAGE=$size LD_LIBRARY_PATH=$paged "$tests/bin/$program" || return 1
	done
}

# same_output SIZE OPTIONS COMMAND…: as without the library, and nothing else is said.
same_output() {
	size=$1 options=$2
	shift 2
	"$@" >"$scratch/want" 2>&1
	TEST_PAGE=$size OSMEM_OPTIONS=$options LD_PRELOAD=$paged/libosmem.so "$@" >"$scratch/got" 2>&1
	cmp "$scratch/want" "$scratch/got"
}

# Self-test: a purge of four KiB is refused.
small_pieces_are_refused() {
	cat >"$scratch/piece.c" <<-'EOC'
		#include <stdlib.h>
		#include <sys/mman.h>
		#include <sys/syscall.h>
		#include <unistd.h>
		long paged_kernel_call(long number, long a, long b, long c, long d, long e, long f);
		long __real_kernel_call(long number, long a, long b, long c, long d, long e, long f)
		{
			(void)f;
			return syscall(number, a, b, c, d, e, f);
		}
		unsigned long __real_getauxval(unsigned long type)
		{
			return type;
		}
		int main(void)
		{
			char *p = (char *)paged_kernel_call(SYS_mmap, 0, 1 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
			int whole = !paged_kernel_call(SYS_madvise, (long)p, 1, MADV_DONTNEED, 0, 0, 0);
			return !(whole && (unsigned long)p % 65536 == 0 && sysconf(_SC_PAGESIZE) == 65536 &&
				 paged_kernel_call(SYS_madvise, (long)p + 4096, 4096, MADV_DONTNEED, 0, 0, 0) == -1);
		}
	EOC
	"${CC:-cc}" -w -D_GNU_SOURCE -o "$scratch/piece" "$scratch/piece.c" "$tests/lib/pages.c" &&
		TEST_PAGE=65536 "$scratch/piece"
}

seq 20000 | sort -R >"$scratch/lines"
expect small_pieces_are_refused small_pieces_are_refused
for size in 16384 65536; do
	expect "tests_pass_$size" tests_pass $size paged/slab/cells paged/slab/windows paged/cache/span_cache \
		paged/sample/guard paged/trace/records libc/align block/placement libc/usable libc/hardened
	for options in "" hardened guard=50 perturb=165 purge_delay=0; do
		expect "sort_${size}_${options%=*}" same_output $size "$options" sort -n "$scratch/lines"
		expect "ls_${size}_${options%=*}" same_output $size "$options" ls -l /usr/bin
	done
	if has python3; then
		expect "python3_$size" same_output $size "" env PYTHONMALLOC=malloc python3 -c \
			'print(sum(len(str(x) * (x % 3000)) for x in range(20000)), len({x: [x] for x in range(99999)}))'
	else
		skip "python3_$size" "no python3"
	fi
done
finish
