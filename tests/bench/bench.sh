#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# Compare libosmem with glibc's malloc, with every other allocator that is installed, and with those
# that PEERS names: "NAME=/path/of/a/library.so …". A peer that cannot be used ends the run before
# anything is measured.
#
#	bench.sh [-q] [NAME]…
#
# NAME is a benchmark, a workload, or what comes before a dash in its name; all without one:
#
#	course        os_free and os_malloc beside glibc's free and malloc, by number of live blocks
#	brk           brk calls of a heap that grows to 1 GiB in blocks of 100 bytes
#	instructions  of a pair of malloc and free, as callgrind counts: exact where times are noise
#	memory        of a trivial program, after a rush, of a sparse table, of buffers that shrink, of
#	              a forked child, for each of many threads, and beside the live bytes of a long run
#	extremes      a size that is refused, time while malloc_trim is called all the time, and memory
#	              while threads fork all the time
#	fragmentation memory over live bytes, at the peak and in the end, of load/fragment.h's traces
#	load          the suite: the programs of load/ under LD_PRELOAD, as the file workloads has them
#	real          the suite: the programs of real/ under LD_PRELOAD
#
# A workload of real/ is a script: "prepare" makes what it needs in the current folder, a scratch
# one, once and without preloading (exit status 77 and a reason: skipped), and "run" is measured.
# SCALE is the amount of work in percent.
#
# ROUNDS (5) is how often everything runs, by turns, so that whatever else the machine does meets
# all alike. -q, quick: two rounds of a twentieth of the work, and no peers' instructions. Writes
# bench.csv, bench.md and bench.svg to BENCH_OUT (tests/out/). Exit status 1 if libosmem failed to run
# something; targets that are missed are only reported, for times depend on what else the machine
# does.

cd "${0%/*}" || exit 1
here=$PWD
bin=$here/../bin/bench
out=${BENCH_OUT:-$here/../out}
is_quick=
if [ "${1-}" = -q ]; then
	shift
	is_quick=1
	ROUNDS=${ROUNDS:-2} SCALE=${SCALE:-5}
fi
rounds=${ROUNDS:-5}
export SCALE="${SCALE:-100}"
wanted=$*
mkdir -p "$out"
csv=$out/bench.csv
scratch=$(mktemp -d) || exit 1
skipped=$scratch/skipped
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' HUP INT TERM
# A copy, so that a build that begins meanwhile is not measured.
library=$scratch/libosmem.so
cp "${SRC_PATH:-../../src}/libosmem.so" "$library"

die() {
	echo "bench.sh: $1" >&2
	exit "${2-1}"
}

# can_preload FILE
can_preload() {
	[ -z "$(LD_PRELOAD=$1 env true 2>&1)" ]
}

can_preload "$library" || die "libosmem.so cannot be preloaded"

# is_wanted BENCH WORKLOAD
is_wanted() {
	[ -z "$wanted" ] && return 0
	for want in $wanted; do
		case "$1 $2 " in
		"$want"[\ -]* | *" $want"[\ -]*) return 0 ;;
		esac
	done
	return 1
}

skip() {
	echo "skipped: $1 ($2)" | tee -a "$skipped" >&2
}

# The library of that name that the loader knows, or that lies in one of the usual folders.
library_file() {
	{
		PATH=$PATH:/sbin:/usr/sbin ldconfig -p 2>/dev/null |
			sed -n "s|.*lib$1\.so.* => ||p"
		for folder in /usr/lib /usr/lib64 /usr/lib/*-linux-gnu /usr/local/lib; do
			find "$folder" -maxdepth 1 -name "lib$1.so*" 2>/dev/null
		done
	} | while read -r file; do
		can_preload "$file" && echo "$file" && break
	done
}

# add_peer NAME=FILE: to $variants. The loader takes no path with a colon, the runner none with a +.
add_peer() {
	name=${1%%=*} file=${1#*=}
	case $1 in
	*=*) ;;
	*) die "PEERS: $1 is not NAME=FILE" 2 ;;
	esac
	case $name in
	'' | *[!A-Za-z0-9._-]*) die "PEERS: $1: a name has letters, digits, '.', '_' and '-'" 2 ;;
	glibc | osmem | hardened | profile | guard) die "PEERS: $1: the name $name is reserved" 2 ;;
	esac
	case " $variants" in
	*" $name="*) die "PEERS: $1: there is a $name already" 2 ;;
	esac
	case $file in
	*[:+]*) die "PEERS: $1: the path has a ':' or a '+'" 2 ;;
	/*) ;;
	*) die "PEERS: $1: the path does not begin with a /" 2 ;;
	esac
	[ -f "$file" ] || die "PEERS: $1: there is no such file" 2
	can_preload "$file" || die "PEERS: $1: not a library that can be preloaded" 2
	variants="$variants $1"
}

# VARIANT=LIBRARY for every allocator to be preloaded, in $variants; libosmem comes second, and three
# times more, hardened, with a heap profile and with guarded blocks, at the end. In $counted those that are worth the time of valgrind.
find_allocators() {
	variants="glibc osmem=$library"
	for name in jemalloc mimalloc tcmalloc_minimal; do
		found=$(library_file $name)
		if [ -n "$found" ]; then
			variants="$variants ${name%_minimal}=$found"
		else
			skip "${name%_minimal}" "not installed"
		fi
	done
	for peer in ${PEERS-}; do
		add_peer "$peer"
	done
	counted=$variants
	variants="$variants hardened=$library+hardened profile=$library+profile=$scratch/profile guard=$library+guard"
	[ "$is_quick" ] && counted="glibc osmem=$library"
}

# scaled AMOUNT
scaled() {
	echo $(($1 * SCALE / 100))
}

run() {
	"$bin/runner" -n "$rounds" "$@" >>"$csv"
}

# fitting COUNT MB: that many blocks of so many MB, or half of them, and so on, until they take a
# third of the memory that is there.
fitting() {
	awk -v count="$1" -v mb="$2" '
		$1 == "MemAvailable:" { room = $2 / 1000 }
		END {
			while (room && count > 1 && 3 * count * mb > room)
				count = int(count / 2)
			print count
		}' /proc/meminfo
}

# figure BENCH WORKLOAD VARIANT VALUE BASE UNIT TARGET: a row that is not measured by the runner; BASE
# is glibc's value or 0. Without a VALUE it has failed.
figure() {
	if [ -z "$4" ]; then
		echo "$1,$2,$3,1,failed" >>"$csv"
		return
	fi
	ratio=$(awk "BEGIN { print ($5 > 0 ? $4 / $5 : 0) }")
	echo "$1,$2,$3,1,ok,$6,$7,0,0,0,0,$4,0,0,0,0,$4,0,0,0,0,$ratio" >>"$csv"
}

# course NAME LIVE PAIRS
course() {
	run -v ns -m x3 course "$1" glibc osmem -- "$bin/course-{}" "$2" "$(scaled "$3")"
}

brk() {
	echo "brk grow" >&2
	counts=$("$bin/grow") || counts=
	figure brk "calls to 1 MiB" osmem "${counts% *}" 0 calls ""
	figure brk "calls from 1 MiB to 1 GiB" osmem "${counts#* }" 0 calls "<200"
}

# has_valgrind NAME: before NAME is measured with it.
has_valgrind() {
	if ! command -v valgrind >/dev/null; then
		skip "$1" "valgrind not found"
		return 1
	fi
	echo "instructions $1" >&2
}

# count_instructions LIBRARY PROGRAM [ARGUMENT]…
count_instructions() {
	(
		LD_PRELOAD=$1
		program=$bin/$2
		shift 2
		export LD_PRELOAD
		exec valgrind --tool=callgrind --callgrind-out-file=/dev/null "$program" "$@"
	) 2>&1 >/dev/null | sed -n 's/.*Collected : //p'
}

# instructions_of LIBRARY COMMAND: of one pair of malloc and free, calls and loop included: what
# twice as many pairs cost more. COMMAND has {} in place of their number. Some peers do not run there.
instructions_of() {
	pairs=50000
	# shellcheck disable=SC2046 # the command is words
	few=$(count_instructions "$1" $(echo "$2" | sed "s/{}/$pairs/"))
	# shellcheck disable=SC2046
	many=$(count_instructions "$1" $(echo "$2" | sed "s/{}/$((2 * pairs))/"))
	[ "${many:-0}" -gt "${few:-0}" ] && awk "BEGIN { printf \"%.1f\", ($many - $few) / $pairs }"
}

# instructions NAME TARGET COMMAND
instructions() {
	has_valgrind "$1" || return
	base=
	for variant in $counted; do
		file=${variant#"${variant%%=*}"}
		variant=${variant%%=*}
		count=$(instructions_of "${file#=}" "$3")
		base=${base:-$count}
		figure instructions "$1" "$variant" "$count" "$base" instructions "$2"
	done
}

# course_instructions NAME LIVE: of a pair of os_free and os_malloc; nothing is preloaded.
course_instructions() {
	has_valgrind "$1" || return
	base=$(instructions_of "" "course-glibc $2 {}")
	count=$(instructions_of "" "course-osmem $2 {}")
	figure instructions "$1" glibc "$base" "$base" instructions ""
	figure instructions "$1" osmem "$count" "$base" instructions ""
}

# memory NAME ROUNDS UNIT TARGET PROGRAM [ARGUMENT]…: what the program prints of itself
memory() {
	name=$1 times=$2 unit=$3 target=$4 program=$5
	shift 5
	# shellcheck disable=SC2086 # the variants are words
	"$bin/runner" -n "$times" -v "$unit" -m "${target#none}" "$bench" "$name" $variants -- \
		"$bin/$program" "$@" >>"$csv"
}

# load NAME PROGRAM AMOUNT ARGUMENT…: a workload of load/
load() {
	name=$1 program=$2 amount=$3
	shift 3
	if [ ! -x "$bin/$program" ]; then
		skip "$name" "no compiler for it"
		return
	fi
	# shellcheck disable=SC2086 # the variants are words
	run load "$name" $variants -- "$bin/$program" "$(scaled "$amount")" "$@"
}

# real NAME
real() {
	script=$here/real/$1.sh
	mkdir "$scratch/$1" && cd "$scratch/$1" || exit 1
	if reason=$(sh "$script" prepare); then
		# shellcheck disable=SC2086
		run real "$1" $variants -- sh "$script" run
	else
		skip "$1" "${reason:-its preparation failed}"
	fi
	cd "$here" || exit 1
	rm -rf "${scratch:?}/$1"
}

# BENCHMARK NAME ARGUMENT… of everything there is.
list() {
	cat <<-EOT
		course course-100 100 5000000
		course course-1000 1000 5000000
		course course-10000 10000 5000000
		course course-100000 100000 2000000
		course course-1000000 1000000 2000000
		brk grow
		instructions pair-32 <=42 count {} 1 32
		instructions pair-1000 <=42 count {} 1 1000
		instructions pair-64k <=150 count {} 1 65536
		instructions pair-1m <=300 count {} 1 1048576
		instructions batch-32 <=42 count {} 1 32 1000
		instructions batch-1000 <=42 count {} 1 1000 1000
		instructions-course course-pair-100 100
		instructions-course course-pair-10000 10000
		memory trivial 15 KiB +200 trivial
		memory idle 1 % <5 idle $(scaled 1024)
		memory waves-high 1 % none waves $(scaled 400000) 1 high
		memory waves-low 1 % none waves $(scaled 400000) 1 low
		memory sparse 1 MiB <=3 sparse
		memory shrink 1 % <=130 shrink $(scaled 200)
		memory forked-child 1 MiB none copied $(scaled 200)
		memory threads-hold 1 KiB none threads $(scaled 1000) hold 20
		memory threads-burst 1 KiB none threads $(scaled 1000) burst
		memory threads-active 1 KiB none threads $(scaled 1000) burst 0 5
		memory threads-once 1 KiB none threads $(scaled 4000) once 30
		extremes refused $rounds µs <=1 refused
		extremes trim $rounds % none trim $(scaled 1000)
		extremes forks-overlap 1 MiB <=64 forks
	EOT
	for trace in lives sawtooth drift survivors pages cache generations; do
		echo "fragmentation $trace-peak 1 % none fragment $(scaled 32) $trace peak"
		echo "fragmentation $trace-steady 1 % none fragment $(scaled 32) $trace steady"
	done
	sed -n 's/^\([a-z]\)/load \1/p' workloads
	echo "load uniform-60m uniform 200 1 1000000 60000000 $(fitting 26 30)"
	for script in real/*.sh; do
		name=${script##*/}
		echo "real ${name%.sh}"
	done
}

wanted_list() {
	list | while read -r bench name arguments; do
		is_wanted "$bench" "$name" && echo "$bench $name $arguments"
	done
}

# run_one BENCHMARK NAME [ARGUMENT]…
run_one() {
	bench=$1
	shift
	case $bench in
	course) course "$@" ;;
	brk) brk ;;
	instructions) name=$1 target=$2 && shift 2 && instructions "$name" "$target" "$*" ;;
	instructions-course) course_instructions "$@" ;;
	memory | extremes | fragmentation) memory "$@" ;;
	load) load "$@" ;;
	real) real "$@" ;;
	esac
}

run_all() {
	total=$(wanted_list | wc -l)
	[ "$total" -gt 0 ] || die "there is no benchmark or workload called $wanted" 2
	number=0
	while read -r line <&3; do
		number=$((number + 1))
		printf '[%d/%d] ' "$number" "$total" >&2
		# shellcheck disable=SC2086 # words
		run_one $line
	done 3<<-EOT
		$(wanted_list)
	EOT
}

write_report() {
	echo "# Benchmarks"
	echo
	echo "Medians of $rounds interleaved rounds with $SCALE % of the work; ratios to glibc are medians of"
	echo "the rounds' ratios."
	awk -f csv.awk -f suite.awk -f report.awk "$csv"
	status=$?
	[ -s "$skipped" ] && printf '\n## Skipped\n\n' && sed 's/^skipped: /- /' "$skipped"
	return $status
}

: >"$skipped"
find_allocators
"$bin/runner" --columns >"$csv"
run_all
write_report >"$out/bench.md"
status=$?
awk -f csv.awk -f suite.awk -f chart.awk "$csv" >"$out/bench.svg"
cat "$out/bench.md"
exit $status
