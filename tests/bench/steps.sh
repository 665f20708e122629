#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# What each step from the list walk to this library is worth: the same work without the step and
# with it, by turns, in CPU time.
#
#	steps.sh [NAME]…               measure all steps, or these; writes steps.csv, steps.md and
#	                               steps.svg to tests/out/
#	steps.sh --run NAME before     do that work once: this is what is measured
#	steps.sh --run NAME after
#
# A step is left out by another build of the library (the Makefile has them), an option, another
# function, or a plain allocator (naive.c). ROUNDS (5) and SCALE (100 percent of the work) are as in bench.sh.

cd "${0%/*}" || exit 1
bin=$PWD/../bin/bench
out=$PWD/../out
after=${SRC_PATH:-../../src}/libosmem.so
rounds=${ROUNDS:-5}
scale=${SCALE:-100}

# scaled AMOUNT
scaled() {
	echo $(($1 * scale / 100))
}

# with LIBRARY COMMAND…: the name of a build, or "after"
with() {
	library=$bin/without/$1/libosmem.so
	[ "$1" = after ] && library=$(readlink -f "$after")
	shift
	LD_PRELOAD=$library exec "$@"
}

# with_option OPTION COMMAND…
with_option() {
	export OSMEM_OPTIONS="$1"
	shift
	with after "$@"
}

# NAME, unit of what it prints of itself or -, and what is done instead of what.
list() {
	cat <<-'EOT'
		index ns search and coalescing: walks of the list → index and pending blocks
		ahead - growth: a brk for each → ahead of need
		cells - small objects: a header each → slabs of cells
		unlocked - one thread: a lock for each call → none
		caches - threads: one store → a cache for each
		magazines - full caches: into slabs cell by cell → set aside as they are
		kept - freed pages: back to the kernel at once → after a delay
		adopted - large blocks: a mapping each → kept and used again
		zero - calloc: zeroed again → known to be zero
	EOT
}

run_step() {
	case $1.$2 in
	index.before) exec "$bin/course-naive" 1000 "$(scaled 300000)" ;;
	index.after) with after "$bin/course-osmem" 1000 "$(scaled 300000)" ;;
	ahead.before) with exact "$bin/steps" grow "$(scaled 200)" ;;
	ahead.after) with after "$bin/steps" grow "$(scaled 200)" ;;
	cells.before) with after "$bin/steps" blocks "$(scaled 20000000)" ;;
	cells.after) with after "$bin/steps" cells "$(scaled 20000000)" ;;
	unlocked.before) with after "$bin/steps" pairs "$(scaled 20000000)" also ;;
	unlocked.after) with after "$bin/steps" pairs "$(scaled 20000000)" ;;
	caches.before) with uncached "$bin/batches" "$(scaled 10000000)" 4 random ;;
	caches.after) with after "$bin/batches" "$(scaled 10000000)" 4 random ;;
	magazines.before) with_option depot_size=0 "$bin/batches" "$(scaled 10000000)" 1 fifo 1000 ;;
	magazines.after) with after "$bin/batches" "$(scaled 10000000)" 1 fifo 1000 ;;
	kept.before) with_option purge_delay=0 "$bin/waves" "$(scaled 400000)" ;;
	kept.after) with after "$bin/waves" "$(scaled 400000)" ;;
	adopted.before) with_option mmap_threshold=128k "$bin/large" "$(scaled 500)" ;;
	adopted.after) with after "$bin/large" "$(scaled 500)" ;;
	zero.before) with after "$bin/steps" memset "$(scaled 1000)" ;;
	zero.after) with after "$bin/steps" calloc "$(scaled 1000)" ;;
	*)
		echo "steps.sh: there is no step $1" >&2
		exit 2
		;;
	esac
}

# is_wanted NAME, of those that the script was called with
is_wanted() {
	[ -z "$wanted" ] || case " $wanted " in *" $1 "*) ;; *) false ;; esac
}

measure() {
	"$bin/runner" --columns
	list | while read -r name unit words; do
		is_wanted "$name" || continue
		[ "$unit" = - ] && unit=
		"$bin/runner" -t 300 -n "$rounds" -v "$unit" "$name" "$words" before after -- \
			./steps.sh --run "$name" {}
	done
}

if [ "${1-}" = --run ]; then
	run_step "$2" "$3"
fi
wanted=$*
mkdir -p "$out"
measure >"$out/steps.csv"
awk -f csv.awk -f steps.awk -v form=table "$out/steps.csv" | tee "$out/steps.md"
awk -f csv.awk -f steps.awk -v form=chart "$out/steps.csv" >"$out/steps.svg"
! grep -v '^bench,' "$out/steps.csv" | cut -d , -f 5 | grep -qvx ok
