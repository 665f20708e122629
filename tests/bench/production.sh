#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# make bench-production: what profile, guard and serve cost redis-server together.
#
# Two servers run on one core, one without options and one with all three; redis-benchmark runs on
# another core. Each round loads them in the order off, on, on, off. A row has the requests per
# second and the CPU time of the server for each request, and the last row the medians of the
# ratios. Other programs on the machine disturb CPU time least.
#
# Then the second server is loaded once more, while heapview watches it in a terminal and curl trims
# it. Its statistics and its profile are printed. ROUNDS=, REQUESTS= (of each kind) and PIPELINE= (of
# a client at a time) are for both.

cd "${0%/*}" || exit 1
rounds=${ROUNDS:-9}
requests=${REQUESTS:-20000} # of each kind
kinds=set,get,incr,lpush,lpop,sadd,hset,zadd
cores=$(getconf _NPROCESSORS_ONLN)
src=$(cd "${SRC_PATH:-../../src}" && pwd) || exit 1
scratch=$(mktemp -d) || exit 1
servers=

finish() {
	for server in $servers; do
		kill "$server" 2>/dev/null
	done
	wait
	rm -rf "$scratch"
}
trap finish EXIT
trap 'exit 1' HUP INT TERM

for program in redis-server redis-benchmark redis-cli curl script taskset; do
	command -v $program >/dev/null || { echo "skip: $program not found" && exit; }
done

# serve NAME OPTIONS: start a server on the socket NAME; its process is $server.
serve() {
	OSMEM_OPTIONS=$2 LD_PRELOAD=$src/libosmem.so taskset -c 0 redis-server --port 0 --unixsocket "$scratch/$1" \
		--save '' --appendonly no --dir "$scratch" >"$scratch/$1.log" 2>&1 &
	server=$!
	servers="$servers $server"
	until redis-cli -s "$scratch/$1" ping >"$scratch/ping" 2>&1; do
		kill -0 "$server" || { cat "$scratch/$1.log" && exit 1; }
		sleep 0.05
	done
}

load() {
	taskset -c $((cores > 1)) redis-benchmark -s "$scratch/$1" -n "$requests" -P "${PIPELINE:-1}" -c 20 -r 50000 -d 200 -t $kinds --csv
}

# The CPU time of all threads of a process, in nanoseconds.
cpu_time() {
	awk '{ sum += $1 } END { printf "%.0f", sum }' "/proc/$1"/task/*/schedstat
}

# measure NAME: "NAME REQUESTS-PER-SECOND NANOSECONDS-OF-CPU-PER-REQUEST"
measure() {
	process=$off
	[ "$1" = off ] || process=$on
	before=$(cpu_time "$process")
	load "$1" >"$scratch/csv" || exit 1
	awk -F '"' -v name="$1" -v cpu=$(($(cpu_time "$process") - before)) -v n="$requests" '
		$4 + 0 { seconds += n / $4; kinds++ }
		END { printf "%s %.0f %.0f\n", name, kinds * n / seconds, cpu / (kinds * n) }' "$scratch/csv"
}

# median COLUMN
median() {
	awk -v c="$1" '{ print $c }' "$scratch/ratios" | sort -n |
		awk '{ v[NR] = $1 } END { print (v[int((NR + 1) / 2)] + v[int(NR / 2) + 1]) / 2 }'
}

serve off ''
off=$server
serve on "${OPTIONS-profile=$scratch/profile,guard},serve=$scratch/http"
on=$server
load off >"$scratch/csv" && load on >"$scratch/csv" || exit 1

echo '            requests/s          CPU ns/request      on/off'
echo 'round        off       on        off       on      rate  CPU time'
for round in $(seq "$rounds"); do
	for server in off on on off; do
		measure "$server" || exit 1
	done >"$scratch/round"
	awk -v round="$round" '
		{ seconds[$1] += 1 / $2; cpu[$1] += $3 / 2 }
		END {
			printf "%5d %10d %8d %10d %8d %9.3f %9.3f\n", round, 2 / seconds["off"],
				2 / seconds["on"], cpu["off"], cpu["on"], seconds["off"] / seconds["on"],
				cpu["on"] / cpu["off"]
		}' "$scratch/round" | tee "$scratch/row"
	awk '{ print $6, $7 }' "$scratch/row" >>"$scratch/ratios"
done
printf 'median %47.3f %9.3f\n' "$(median 1)" "$(median 2)"

# Under load: watched, trimmed and profiled from outside.
load on >"$scratch/csv" &
loading=$!
mkfifo "$scratch/keys" && exec 3<>"$scratch/keys" || exit 1
TERM=xterm timeout 60 script -qefc "stty rows 24 cols 80; $src/tools/heapview --live $scratch/http" \
	"$scratch/live" <"$scratch/keys" >"$scratch/screen" 2>&1 &
watching=$!
trims=0
while kill -0 $loading 2>/dev/null; do
	curl -sS --unix-socket "$scratch/http" -X POST http://x/trim >"$scratch/trimmed" && trims=$((trims + 1))
	sleep 0.5
done
wait $loading || exit 1
printf q >&3
wait $watching
curl -sS --unix-socket "$scratch/http" http://x/profile -o "$scratch/pb" || exit 1
echo
echo "watched: $(grep -ac Resident "$scratch/live") screens of heapview --live; trimmed $trims times; then"
curl -sS --unix-socket "$scratch/http" http://x/stats
"$src/tools/heapview" --text "$scratch/pb" | head -n 15
