#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# Compare libosmem with glibc's malloc, and with every other allocator that is installed.
#
#	bench.sh [NAME]…     benchmarks or workloads; all of them without an argument
#
#	pairs         os_free and os_malloc beside glibc's free and malloc, by number of live blocks
#	instructions  the same, counted by callgrind: exact where times are noise
#	brk           brk calls of a heap that grows to 1 GiB in blocks of 100 bytes
#	load          the programs of load/ under LD_PRELOAD
#	real          the programs of real/ under LD_PRELOAD
#
# A workload of real/ is a script: "prepare" makes what it needs in the current folder, a scratch
# one, once and without preloading (exit status 77 and a reason: skipped), and "run" is measured.
#
# ROUNDS (5) is how often everything runs, by turns. Writes bench.csv and bench.md to tests/out/.
# Exit status 1 if libosmem failed to run something; marks that are missed are only reported, for
# times depend on what else the machine does.

cd "${0%/*}" || exit 1
here=$PWD
bin=$here/../bin/bench
out=$here/../out
rounds=${ROUNDS:-5}
wanted=$*
mkdir -p "$out"
csv=$out/bench.csv
skipped=$out/bench.skipped
scratch=$(mktemp -d) || exit 1
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' HUP INT TERM
# A copy, so that a build that begins meanwhile is not measured.
library=$scratch/libosmem.so
cp "${SRC_PATH:-../../src}/libosmem.so" "$library"
if [ -n "$(LD_PRELOAD=$library true 2>&1)" ]; then
	echo "bench.sh: libosmem.so cannot be preloaded" >&2
	exit 1
fi

# is_wanted BENCH [WORKLOAD]
is_wanted() {
	[ -z "$wanted" ] && return 0
	for want in $wanted; do
		[ "$want" = "$1" ] && return 0
		[ "$want" = "${2-}" ] && return 0
	done
	return 1
}

skip() {
	echo "$1: skipped, $2" | tee -a "$skipped" >&2
}

# VARIANT=LIBRARY for every allocator to be preloaded, in $variants; libosmem comes second.
find_allocators() {
	variants="glibc osmem=$library"
	for name in jemalloc mimalloc tcmalloc_minimal; do
		found=
		for file in /usr/lib/lib"$name".so* /usr/lib64/lib"$name".so* \
			/usr/lib/*-linux-gnu/lib"$name".so* /usr/local/lib/lib"$name".so*; do
			[ -e "$file" ] || continue
			[ -z "$(LD_PRELOAD=$file true 2>&1)" ] && found=$file && break
		done
		if [ -n "$found" ]; then
			variants="$variants ${name%_minimal}=$found"
		else
			skip "${name%_minimal}" "not installed"
		fi
	done
}

# figure BENCH WORKLOAD VARIANT VALUE UNIT RATIO MARK: a row that is not measured by the runner.
figure() {
	echo "$1,$2,$3,1,ok,0,0,0,$4,$5,0,0,0,$6,$7" >>"$csv"
}

run() {
	"$bin/runner" -n "$rounds" "$@" >>"$csv"
}

bench_pairs() {
	cp "$bin/replace" "$scratch/pairs.glibc"
	cp "$bin/replace.osmem" "$scratch/pairs.osmem"
	for live in 100 1000 10000 100000 1000000; do
		is_wanted pairs "pairs-$live" || continue
		pairs=5000000
		[ "$live" -gt 10000 ] && pairs=2000000
		run -v ns -m x3 pairs "pairs-$live" glibc osmem -- \
			"$scratch/pairs.{}" "$live" "$pairs"
	done
}

# count_instructions PROGRAM ARGUMENT…
count_instructions() {
	valgrind --tool=callgrind --callgrind-out-file=/dev/null "$@" 2>&1 >/dev/null |
		sed -n 's/.*Collected : //p'
}

# The instructions of one pair: what 100000 more of them cost, loop included.
instructions_of() {
	few=$(count_instructions "$1" "$2" 100000)
	many=$(count_instructions "$1" "$2" 200000)
	echo $(((many - few) / 100000))
}

bench_instructions() {
	if ! command -v valgrind >/dev/null; then
		skip instructions "valgrind is not installed"
		return
	fi
	for live in 100 10000; do
		is_wanted instructions "instructions-$live" || continue
		echo "instructions instructions-$live" >&2
		base=$(instructions_of "$bin/replace" "$live")
		ours=$(instructions_of "$bin/replace.osmem" "$live")
		ratio=$(awk "BEGIN { printf \"%.3f\", $ours / $base }")
		figure instructions "instructions-$live" glibc "$base" instructions 1 ""
		figure instructions "instructions-$live" osmem "$ours" instructions "$ratio" ""
	done
}

bench_brk() {
	echo "brk grow" >&2
	if ! counts=$("$bin/grow"); then
		echo "brk,grow,osmem,1,failed,0,0,0,0,,0,0,0,0," >>"$csv"
		return
	fi
	figure brk "calls to 1 MiB" osmem "${counts% *}" calls 0 ""
	figure brk "calls from 1 MiB to 1 GiB" osmem "${counts#* }" calls 0 "<200"
}

bench_load() {
	for source in load/*.c; do
		name=${source##*/}
		name=${name%.c}
		is_wanted load "$name" || continue
		# shellcheck disable=SC2086 # the variants are words
		run load "$name" $variants -- "$bin/$name"
	done
}

bench_real() {
	for script in "$here"/real/*.sh; do
		[ -f "$script" ] || continue
		name=${script##*/}
		name=${name%.sh}
		is_wanted real "$name" || continue
		mkdir -p "$scratch/$name" && cd "$scratch/$name" || exit 1
		if reason=$(sh "$script" prepare); then
			# shellcheck disable=SC2086
			run -m x1.3 real "$name" $variants -- sh "$script" run
		else
			skip "$name" "${reason:-its preparation failed}"
		fi
		cd "$here" || exit 1
		rm -rf "${scratch:?}/$name"
	done
}

write_report() {
	echo "# Benchmarks"
	echo
	echo "Medians of $rounds interleaved rounds; ratios to glibc are medians of the rounds' ratios."
	awk -f report.awk "$csv"
	status=$?
	[ -s "$skipped" ] && printf '\n' && sed 's/^/- /' "$skipped"
	return $status
}

: >"$skipped"
echo "bench,workload,variant,rounds,status,wall_ms,cpu_ms,rss_kib,value,unit,wall_ratio,cpu_ratio,\
rss_ratio,value_ratio,mark" >"$csv"
find_allocators
bench_pairs
is_wanted instructions && bench_instructions
is_wanted brk && bench_brk
bench_load
bench_real
write_report >"$out/bench.md"
status=$?
cat "$out/bench.md"
exit $status
