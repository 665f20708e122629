#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Needs: libosmem.so, heapview
#
# OSMEM_OPTIONS=serve, with curl and with clients that curl is not.

# shellcheck disable=SC2317 # functions are called through expect
# shellcheck source-path=SCRIPTDIR source=../lib/report.sh
. "${0%/*}/../lib/report.sh"
# shellcheck source-path=SCRIPTDIR source=serve/lib.sh
. "$here/serve/lib.sh"

client() {
	"$scratch/client" "$socket" "$@"
}

# ---- Endpoints ----

# Each path that GET / lists is answered, with the length that it promises.
all_paths_answer() {
	start "serve=$socket" "$scratch/subject" && get /profile/start -X POST &&
		get / | sed -n 's/^GET *\([^ ]*\) .*/\1/p' >"$scratch/paths" &&
		[ "$(wc -l <"$scratch/paths")" -ge 6 ] || return
	while read -r path; do
		get "$path" --fail >"$scratch/body" || return
		[ -s "$scratch/body" ] || return
		length=$(get "$path" --head | sed -n 's/^Content-Length: \([0-9]*\).$/\1/p')
		case $path in # others have changing figures
		/) [ "$length" -eq "$(wc -c <"$scratch/body")" ] || return ;;
		*) [ "$length" -gt 0 ] || return ;;
		esac
	done <"$scratch/paths"
	stop
}

json_is_json() {
	start "serve=$socket" "$scratch/subject" && get /stats.json >"$scratch/body" && stop &&
		python3 - "$was" "$scratch/body" <<-'EOT'
			import json, sys
			s = json.load(open(sys.argv[2]))
			assert s["process"] == int(sys.argv[1]) and s["live_bytes"] > 0
			assert s["held_bytes"] >= s["live_bytes"] and s["resident_bytes"] > 0
		EOT
}

# Each sample has a HELP and a TYPE before it, and a number; counters, and they alone, end in _total.
metrics_are_metrics() {
	start "serve=$socket" "$scratch/subject" && get /metrics >"$scratch/body" && stop &&
		awk '
			/^# HELP / { if (help[$3]++ || NF < 4) exit bad = 1; next }
			/^# TYPE / {
				if (!help[$3] || type[$3]) exit bad = 1
				type[$3] = $4
				if (($4 == "counter") != ($3 ~ /_total$/)) exit bad = 1
				if ($4 != "counter" && $4 != "gauge") exit bad = 1
				next
			}
			!/^osmem_[a-z_]+(\{[a-z]+="[^"]*"\})? [0-9]+$/ { exit bad = 1 }
			{ sub(/[{ ].*/, ""); if (!type[$0]) exit bad = 1; samples++ }
			END { exit bad || samples < 30 }' "$scratch/body" &&
		grep -q '^osmem_resident_bytes [1-9]' "$scratch/body"
}

map_is_a_map() {
	start "serve=$socket" "$scratch/subject" && get /map >"$scratch/map" && stop &&
		"$src/tools/heapview" --svg "$scratch/map" -o "$scratch/map.svg" && [ -s "$scratch/map.svg" ]
}

# status STATUS PATH [OPTION…]: of the reply, which is one line
status() {
	want=$1
	shift
	[ "$(get "$@" -o "$scratch/body" -w '%{http_code}')" = "$want" ] &&
		[ "$(wc -l <"$scratch/body")" -eq 1 ]
}

errors_are_answered() {
	start "serve=$socket" "$scratch/subject" && status 404 /nothing && status 404 /stats/ &&
		status 405 /trim && status 405 /stats -X POST && status 405 / -X DELETE &&
		get /trim -i | grep -q '^Allow: POST' && status 400 '/trace/start?file=relative' -X POST &&
		status 400 /trace/start -X POST && status 409 /trace/stop -X POST &&
		status 500 "/trace/start?file=$scratch/none/file" -X POST &&
		status 200 "/trim?ignored" -X POST && stop
}

# What waits for reuse until purge_delay is over is returned at once.
trim_trims() {
	start "serve=$socket,purge_delay=60000" "$scratch/subject" peak 64 1000 1 || return
	body=$(get /trim -X POST) && stop || return
	echo "$body"
	# shellcheck disable=SC2086 # words
	set -- $body
	[ "$3" -gt $((40 << 20)) ] && [ "$5" -lt $((20 << 20)) ]
}

# A second trace goes to another file: the first is never overwritten.
trace_starts_and_stops() {
	start "serve=$socket" "$scratch/subject" tight || return
	get "/trace/start?file=$scratch/trace.%25p" -X POST --fail && sleep 0.3 &&
		status 409 /trace/start -X POST && get /trace/stop -X POST --fail &&
		status 409 /trace/start -X POST && status 409 /trace/stop -X POST &&
		get /trace/start -X POST --fail -d "file=$scratch/again" && sleep 0.2 &&
		get /trace/stop -X POST --fail || return
	kill_subject KILL
	for file in "$scratch/trace.$was" "$scratch/again"; do
		"$src/tools/heapview" --text "$file" >"$scratch/text" && [ -s "$scratch/text" ] || return
	done
	"$src/tools/heapview" "$scratch/trace.$was" -o "$scratch/page" && grep -q malloc "$scratch/page"
}

profile_starts_and_stops() {
	start "serve=$socket,profile_interval=1000" "$scratch/subject" tight && status 409 /profile &&
		get /profile/start -X POST --fail && sleep 0.5 && status 409 /profile/start -X POST &&
		get /profile --fail >"$scratch/profile" && get /profile/stop -X POST --fail &&
		status 409 /profile/stop -X POST && get /profile --fail >"$scratch/late" || return
	kill_subject KILL
	for file in profile late; do
		"$src/tools/heapview" "$scratch/$file" -o "$scratch/page" || return
		grep -q make_and_free "$scratch/page" || return
	done
}

# A trace that does not fit is short; the program lives, and so does the service.
full_disk_harms_nobody() {
	(ulimit -f 64 && start "serve=$socket" "$scratch/subject" tight &&
		get "/trace/start?file=$scratch/short" -X POST && sleep 0.2 && get /stats --fail &&
		get /trace/stop -X POST && status 500 "/trace/start?file=/dev/full" -X POST &&
		get /stats --fail && kill -0 "$subject" && kill_subject KILL && [ ! -s "$scratch/err" ])
}

# ---- Clients ----

malformed_requests_are_refused() {
	start "serve=$socket" "$scratch/subject" || return
	while read -r want text; do
		client send "$text" >"$scratch/reply" || return
		grep -q "^HTTP/1.0 $want " "$scratch/reply" || {
			echo "$text: $(head -n 1 "$scratch/reply")"
			return 1
		}
	done <"$here/serve/requests.txt"
	client split 'HEAD /stats HTTP/1.1\r\nHost: x\r\n\r\n' | grep -q '^HTTP/1.0 200' &&
		client half 'GET /stats HTTP/1.0\r\n\r\n' | grep -q '^HTTP/1.0 200' &&
		client half 'GET /st' | grep -q '^HTTP/1.0 400' &&
		client send "GET /$(head -c 9000 /dev/zero | tr '\0' a) HTTP/1.0\r\n\r\n" |
		grep -q '^HTTP/1.0 413' && get /stats --fail && stop
}

crowd_is_served() {
	start "serve=$socket" "$scratch/subject" && client crowd 100 && client crowd 200 &&
		client rude 1000 && client crowd 10 && stop
}

slow_ones_wait_alone() {
	start "serve=$socket" "$scratch/subject" peak 128 200000 1 && client slow && client silent && stop
}

# ---- The socket ----

# Whatever the umask: it only takes rights away.
mode_is_0600() {
	for mask in 000 022 077 777; do
		# In a shell of its own, for the umask.
		mode=$(umask "$mask" && OSMEM_OPTIONS=serve=$socket LD_PRELOAD=$library stat -c %a "$socket")
		[ "$mask" = 777 ] || [ "$mode" = 600 ] || return
		[ "$mask" != 777 ] || [ "$mode" = 0 ] || return
	done
}

# another COMMAND…: as another user
another() {
	setpriv --reuid 65534 --clear-groups "$@"
}

# Even if somebody makes the socket accessible.
other_users_are_refused() {
	chmod 755 "$scratch"
	start "serve=$socket" "$scratch/subject" && ! another "$scratch/client" "$socket" send 'GET / HTTP/1.0\r\n\r\n' &&
		chmod 777 "$socket" &&
		[ -z "$(another "$scratch/client" "$socket" send 'GET / HTTP/1.0\r\n\r\n')" ] &&
		get / --fail && stop
}

stale_socket_is_replaced() {
	start "serve=$socket" "$scratch/subject" && kill_subject KILL && [ -S "$socket" ] &&
		start "serve=$socket" "$scratch/subject" && get / --fail && stop && [ ! -e "$socket" ] &&
		[ ! -s "$scratch/err" ]
}

live_socket_is_left() {
	start "serve=$socket" "$scratch/subject" || return
	OSMEM_OPTIONS=serve=$socket LD_PRELOAD=$library "$scratch/subject" </dev/null >/dev/null \
		2>"$scratch/second" || return
	echo "osmem: OSMEM_OPTIONS: serve: process $subject serves $socket" | cmp - "$scratch/second" &&
		get / --fail && stop
}

file_is_left() {
	echo data >"$socket"
	start "serve=$socket" "$scratch/subject" && stop
	said=$(cat "$scratch/err") data=$(cat "$socket")
	rm -f "$socket"
	[ "$said" = "osmem: OSMEM_OPTIONS: serve: $socket: EEXIST" ] && [ "$data" = data ]
}

# It ends with the process, wherever that has gone, but not if another has taken its place.
socket_is_removed_at_exit() {
	(cd "$scratch" && start serve=socket "$scratch/subject" moved && get / --fail && stop) &&
		[ ! -e "$socket" ] && start "serve=$socket" "$scratch/subject" && rm "$socket" &&
		echo data >"$socket" && stop && [ -e "$socket" ]
	result=$?
	rm -f "$socket"
	return "$result"
}

long_path_is_refused() {
	start "serve=$scratch/$(head -c 120 /dev/zero | tr '\0' a)" "$scratch/subject" && stop &&
		grep -q '^osmem: OSMEM_OPTIONS: serve: .*: ENAMETOOLONG$' "$scratch/err"
}

# ---- The process ----

# Without %p a child is not served, has no descriptor of the socket, and does not remove it.
child_is_apart() {
	start "serve=$socket" "$scratch/subject" forked || return
	child=$(head -n 1 "$scratch/out")
	! find "/proc/$child/fd" -lname 'socket:*' | grep . && get /stats | grep -q "process $subject" &&
		kill "$child" && get / --fail && stop && start "serve=$socket" "$scratch/subject" exits &&
		get / --fail && stop
}

# A child takes over from a parent that has ended, without a word.
daemon_takes_over() {
	start "serve=$socket" "$scratch/subject" daemon && until_true daemon_is_served && stop &&
		until_true test ! -e "$socket" && [ ! -s "$scratch/err" ]
}

daemon_is_served() {
	get /stats 2>/dev/null | grep '^osmem: process' | grep -qv "process $subject:"
}

# With %p each process has a socket.
child_has_its_own() {
	start "serve=$socket.%p" "$scratch/subject" forked || return
	child=$(head -n 1 "$scratch/out") socket=$socket.$subject
	get /stats | grep -q "process $subject" && socket=${socket%.*}.$child &&
		until_true test -S "$socket" && get /stats | grep -q "process $child"
	result=$?
	stop && until_true test ! -e "$socket" || result=1
	socket=$scratch/socket
	return "$result"
}

brief_children_leave_nothing() {
	start "serve=$socket.%p" "$scratch/subject" exits && sleep 0.3 &&
		[ "$(find "$scratch" -name 'socket.*' | wc -l)" = 1 ] && stop
}

# A program that is executed has none of the descriptors, and takes over the path.
execution_is_a_new_start() {
	start "serve=$socket" "$scratch/subject" executed "$scratch/subject" && get / --fail &&
		[ "$(service | wc -l)" = 1 ] && stop && [ ! -e "$socket" ]
}

# Its descriptors are not the program's: it sees none, and can close none.
descriptors_are_apart() {
	start "serve=$socket" "$scratch/subject" closed && get / --fail &&
		! find "/proc/$subject/fd" -lname 'socket:*' | grep . &&
		! find "/proc/$subject/fd" -lname 'anon_inode:*' | grep . && stop && [ ! -e "$socket" ]
}

# All signals but those of libc: 32 and 33.
signals_are_blocked() {
	start "serve=$socket" "$scratch/subject" && mask=$(sed -n 's/^SigBlk:.//p' \
		"/proc/$subject/task/$(service)/status") && stop && [ "$mask" = fffffffe7ffbfeff ]
}

service_never_allocates() {
	preload="$scratch/shim.so $library"
	start "serve=$socket,stats,dump_on=USR1" "$scratch/subject" tight &&
		for path in / /stats /stats/full /stats.json /metrics /map /nothing; do
			get "$path" >"$scratch/body" || break
		done &&
		client crowd 20 && get /trim -X POST && get /profile/start -X POST && get /profile && get "/trace/start?file=$scratch/shim" -X POST &&
		kill -USR1 "$subject" && sleep 0.3 && get /trace/stop -X POST && kill -0 "$subject"
	result=$?
	preload=
	kill_subject KILL
	! grep 'called malloc' "$scratch/err" && return "$result"
}

# ---- Refusals ----

# refused CALLS [OPTION]: the program runs, with one line or without
refused() {
	calls=$1 line=$2
	# shellcheck disable=SC2086 # the calls are words
	"$scratch/refuse" $calls -- true
	[ $? != 77 ] || return 0
	preload=
	# shellcheck disable=SC2086
	start "serve=$socket" "$scratch/refuse" $calls -- "$scratch/subject" && stop || return
	cat "$scratch/err"
	[ "$(wc -l <"$scratch/err")" -eq 1 ] && grep -q "^osmem: OSMEM_OPTIONS: serve: $line$" "$scratch/err"
}

if ! has "$cc" || ! build client || ! build subject || ! build refuse ||
	! build shim -shared -fPIC -o "$scratch/shim.so"; then
	skip all "no $cc that builds the programs"
	finish
fi
if has curl; then
	for test in all_paths_answer metrics_are_metrics map_is_a_map errors_are_answered trim_trims \
		trace_starts_and_stops profile_starts_and_stops full_disk_harms_nobody malformed_requests_are_refused \
		crowd_is_served slow_ones_wait_alone mode_is_0600 stale_socket_is_replaced \
		live_socket_is_left file_is_left socket_is_removed_at_exit long_path_is_refused \
		child_is_apart daemon_takes_over child_has_its_own brief_children_leave_nothing execution_is_a_new_start descriptors_are_apart \
		signals_are_blocked service_never_allocates; do
		expect $test $test
	done
	expect no_thread refused "clone3 clone" "thread: EPERM"
	expect no_descriptors refused close_range "descriptors of its own: EPERM"
	expect no_signalfd refused signalfd4 "a descriptor for signals: EPERM"
	expect no_socket refused socket "$socket: EPERM"
	expect no_bind refused bind "$socket: EPERM"
	if has python3; then
		expect json_is_json json_is_json
	else
		skip json_is_json "no python3"
	fi
	if [ "$(id -u)" = 0 ] && has setpriv; then
		expect other_users_are_refused other_users_are_refused
	else
		skip other_users_are_refused "not root, or no setpriv"
	fi
else
	skip all "no curl"
fi
finish
