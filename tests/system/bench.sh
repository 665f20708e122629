#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Needs: libosmem.so
#
# The peers that make bench takes by path: PEERS="NAME=FILE …"; what it makes of valgrind's counts;
# make bench-production.

# shellcheck disable=SC2317 # functions are called through expect
# shellcheck source-path=SCRIPTDIR source=../lib/report.sh
. "${0%/*}/../lib/report.sh"

out=$scratch/out
peer=$scratch/peer.so
cp "$library" "$peer"

# run_bench PEERS [WORKLOAD]…: as small as can be
run_bench() {
	peers=$1
	shift
	make -s -C "$tests/bench" ../bin/bench/runner ../bin/bench/trivial ../bin/bench/pairs &&
		PEERS=$peers BENCH_OUT=$out SRC_PATH=${library%/*} ROUNDS=1 SCALE=1 \
			"$tests/bench/bench.sh" -q "$@"
}

# A peer's name is in the tables, the CSV and the chart.
takes_peers() {
	run_bench "one=$peer two=$peer" trivial pairs-32 || return
	for peer_name in one two; do
		grep -q "^load,pairs-32,$peer_name,1,ok," "$out/bench.csv" &&
			grep -q "^memory,trivial,$peer_name,[0-9]*,ok," "$out/bench.csv" &&
			grep -q "^| workload .* $peer_name |" "$out/bench.md" &&
			grep -q "^| trivial | $peer_name | [0-9]* KiB" "$out/bench.md" &&
			grep -q ">$peer_name</text>" "$out/bench.svg" || return
	done
	# Each dot has a color.
	! grep 'stroke=""' "$out/bench.svg"
}

# refuses PEERS WHY: in one line, beside those on peers that are not installed, and with no report.
refuses() {
	rm -rf "$out"
	run_bench "$1" trivial >"$scratch/said" 2>&1
	status=$?
	sed -i '/^skipped: /d' "$scratch/said"
	cat "$scratch/said"
	[ "$status" -eq 2 ] && [ "$(wc -l <"$scratch/said")" -eq 1 ] && [ ! -e "$out/bench.csv" ] &&
		grep -q "^bench.sh: PEERS: .*$2" "$scratch/said"
}

# Some allocators do not start in valgrind, which then counts the same for any number of pairs.
equal_counts_have_failed() {
	mkdir -p "$scratch/bin"
	printf '#!/bin/sh\necho "Collected : 5" >&2\n' >"$scratch/bin/valgrind"
	chmod +x "$scratch/bin/valgrind"
	(PATH=$scratch/bin:$PATH run_bench "" pair-32)
	grep -q '^instructions,pair-32,osmem,1,failed' "$out/bench.csv"
}

# A server is profiled, watched and trimmed under load.
production_works() {
	(unset MAKEFLAGS MFLAGS MAKELEVEL && make -s -C "$tests/../src/tools") &&
		ROUNDS=1 REQUESTS=3000 SRC_PATH=$src timeout -s KILL 300 "$tests/bench/production.sh" \
			>"$scratch/table" || return
	cat "$scratch/table"
	grep -Eq '^median +[0-9.]+ +[0-9.]+$' "$scratch/table" &&
		grep -Eq '^watched: [1-9][0-9]* screens.* trimmed [1-9][0-9]* times' "$scratch/table" &&
		grep -q '^osmem:   live ' "$scratch/table" && grep -q ' MiB .* zmalloc' "$scratch/table"
}

expect takes_peers takes_peers
expect equal_counts_have_failed equal_counts_have_failed
expect refuses_no_equals_sign refuses "$peer" "is not NAME=FILE"
expect refuses_no_name refuses "=$peer" "a name has"
expect refuses_odd_name refuses "a,b=$peer" "a name has"
expect refuses_reserved_name refuses "hardened=$peer" "is reserved"
expect refuses_duplicate refuses "one=$peer one=$peer" "there is a one already"
expect refuses_relative_path refuses "one=peer.so" "does not begin with a /"
expect refuses_odd_path refuses "one=/c++/peer.so" "has a ':' or a '+'"
expect refuses_missing_file refuses "one=$scratch/missing.so" "there is no such file"
echo "no library" >"$scratch/text.so"
expect refuses_no_library refuses "one=$scratch/text.so" "not a library that can be preloaded"
if has redis-server redis-benchmark redis-cli curl script taskset; then
	expect production_works production_works
else
	skip production_works "needs redis, curl, script and taskset"
fi
finish
