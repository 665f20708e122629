#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Needs: libosmem.so
#
# OSMEM_OPTIONS, on programs of the machine, and on one that is linked with the library or the
# archive.

# shellcheck disable=SC2317 # functions are called through expect
# shellcheck source-path=SCRIPTDIR source=../lib/report.sh
. "${0%/*}/../lib/report.sh"

cc=${CC:-cc}

# run OPTIONS COMMAND…: its standard error is left in $scratch/err, its output in $scratch/out.
run() {
	options=$1
	shift
	LD_PRELOAD=$library OSMEM_OPTIONS=$options "$@" >"$scratch/out" 2>"$scratch/err"
}

# The figure of malloc's column.
figure() {
	sed -n "s/^osmem:   $1  *[0-9-]*  *\([0-9]*\)$/\1/p" "$scratch/err"
}

stats_shows_what_happened() {
	run stats=full sort "$tests/run.sh" && sort "$tests/run.sh" | cmp - "$scratch/out" &&
		[ "$(figure 'blocks allocated')" -gt 0 ] &&
		[ "$(figure 'blocks allocated')" -ge "$(figure 'blocks freed')" ] &&
		[ "$(figure 'peak bytes')" -gt 1000 ]
}

# Counted from before main on, so that nothing is missing in what is live.
stats_counts_cells() {
	run stats=full sort "$tests/run.sh" && [ "$(figure 'cells allocated')" -gt 10 ] &&
		[ "$(figure 'live cells')" -eq \
			$(($(figure 'cells allocated') - $(figure 'cells freed'))) ] &&
		[ "$(figure 'live bytes in cells')" -ge "$(($(figure 'live cells') * 16))" ] &&
		[ "$(figure 'cached cells')" -gt 0 ] && [ "$(figure 'segments')" -gt 0 ] &&
		[ "$(figure 'mmap calls, segments')" -gt 0 ]
}

build_programs() {
	for form in "-L${library%/*} -losmem -Wl,-rpath,${library%/*}" "${library%.so}.a"; do
		program=$scratch/archived
		[ "${form#-}" = "$form" ] || program=$scratch/linked
		# shellcheck disable=SC2086 # the form is words
		$cc -std=gnu11 -O1 -D_GNU_SOURCE -Wall -Wextra -fno-builtin -pthread -I"$utils" -o "$program" \
			"$here/options/program.c" $form || return
	done
}

# calls NAME COLUMN: of the summary in err; calls, bytes requested, failed.
calls() {
	awk -v name="$1" -v column="$2" '
		sub("^osmem:   " name "  +", "") { print $column; found = 1 }
		END { if (!found) print 0 }' "$scratch/err"
}

# counts PROGRAM THREADS: of each name so many calls, bytes and failures are in a round. What libc
# does of itself is in all summaries.
counts() (
	OSMEM_OPTIONS=stats=full "$1" 1 "$2" 2>"$scratch/err" || exit
	mv "$scratch/err" "$scratch/first"
	OSMEM_OPTIONS=stats=full "$1" 101 "$2" 2>"$scratch/err" || exit
	mv "$scratch/err" "$scratch/last"
	n=$((100 * ($2 ? $2 : 1)))
	while read -r name calls bytes failed; do
		column=0
		for figure in "$calls" "$bytes" "$failed"; do
			column=$((column + 1))
			cp "$scratch/first" "$scratch/err"
			first=$(calls "$name" "$column")
			cp "$scratch/last" "$scratch/err"
			last=$(calls "$name" "$column")
			[ $((last - first)) -eq $((n * figure)) ] || {
				echo "$name: $last - $first is not $n * $figure"
				exit 1
			}
		done
	done <<-EOT
		os_malloc 1 100 0
		os_calloc 1 15 0
		os_realloc 1 300 0
		os_free 2 0 0
		malloc 3 5243880 1
		calloc 1 63 0
		realloc 1 5000 0
		posix_memalign 1 70 0
		free 4 0 0
	EOT
)

# Of one round, whichever the form: what is largest in it, and what else there is.
peak_is_the_most() {
	OSMEM_OPTIONS=stats=full "$scratch/linked" 7 2>"$scratch/err" &&
		peak=$(calls "peak live bytes, malloc" 1) &&
		[ "$peak" -ge 5242880 ] && [ "$peak" -lt 6000000 ] &&
		[ "$(calls 'all mmap calls' 1)" -ge "$(figure 'mmap calls')" ] &&
		[ "$(calls 'page faults' 1)" -gt 0 ] && grep -q '^osmem:   fragmentation .*%$' "$scratch/err"
}

calls_are_counted() {
	counts "$scratch/linked" 0
}

calls_of_threads_are_counted() {
	counts "$scratch/linked" 4
}

# Their steps are not recorded anywhere, and change nothing.
counting_and_tracing_go_together() {
	OSMEM_OPTIONS=stats=full,trace=$scratch/t "$scratch/linked" 10 2>"$scratch/err" &&
		[ "$(calls os_malloc 1)" -eq 10 ] && [ "$(head -c 8 "$scratch/t")" = OSMEMTRC ]
}

# Programs that link the archive.

archived_programs_have_options() {
	counts "$scratch/archived" 0 && OSMEM_OPTIONS=no "$scratch/archived" 1 2>"$scratch/err" &&
		named 'unknown option' no && OSMEM_OPTIONS=trace=$scratch/t,map=$scratch/m "$scratch/archived" 1 &&
		[ "$(head -c 8 "$scratch/t")" = OSMEMTRC ] && [ "$(head -c 8 "$scratch/m")" = OSMEMTRC ] &&
		OSMEM_OPTIONS='' "$scratch/archived" 1 >"$scratch/out" 2>&1 && [ ! -s "$scratch/out" ]
}

# One that calls nothing but os_*.
archived_os_only_has_options() {
	printf '#include "osmem.h"\nint main(void) { return !os_malloc(100); }\n' >"$scratch/os_only.c" &&
		$cc -I"$utils" -o "$scratch/os_only" "$scratch/os_only.c" "${library%.so}.a" -pthread &&
		OSMEM_OPTIONS=stats=full "$scratch/os_only" 2>"$scratch/err" && [ "$(calls os_malloc 1)" -eq 1 ]
}

# What is wrong in the end is said, and not passed over.
check_at_exit_reports() {
	cat >"$scratch/damage.c" <<-'EOT'
		#include <string.h>
		#include "osmem.h"
		int main(int argc, char **argv)
		{
			char *p = os_malloc(40), *q = os_malloc(40);

			(void)argv;
			memset(q - 32, 0x5a, argc > 1 ? 32 : 0);
			return !p;
		}
	EOT
	$cc -w -I"$utils" -o "$scratch/damage" "$scratch/damage.c" -L"${library%/*}" -losmem \
		-Wl,-rpath,"${library%/*}" && OSMEM_OPTIONS=check "$scratch/damage" && "$scratch/damage" 1 || return
	(cd "$scratch" && OSMEM_OPTIONS=check exec ./damage 1) 2>"$scratch/err"
	[ $? -eq 134 ] && grep -q '^osmem: exit(0x0): H[0-9]: ' "$scratch/err" && [ "$(wc -l <"$scratch/err")" -eq 1 ]
}

# The same program with a set-user-ID bit, of somebody else; for root only, where the bit counts.
privileged_programs_have_none() {
	OSMEM_OPTIONS=stats,no,trace=$scratch/secret,map=$scratch/secret.map "$scratch/privileged" secure \
		>"$scratch/out" 2>"$scratch/err" &&
		[ "$(cat "$scratch/out")" = secure ] && [ ! -s "$scratch/err" ] &&
		[ ! -e "$scratch/secret" ] && [ ! -e "$scratch/secret.map" ] &&
		OSMEM_OPTIONS=stats=full "$scratch/archived" secure >"$scratch/out" 2>"$scratch/err" &&
		[ "$(cat "$scratch/out")" = 'not secure' ] && [ -s "$scratch/err" ]
}

# make_privileged: false if that cannot be done here; why is in reason. The folder is open, or it
# cannot be executed, and would write nothing.
make_privileged() {
	reason='only root can give files away'
	[ "$(id -u)" -eq 0 ] || return 1
	reason='set-user-ID bits do not count here'
	chmod 777 "$scratch" && cp "$scratch/archived" "$scratch/privileged" &&
		chown 65534 "$scratch/privileged" && chmod 4755 "$scratch/privileged" &&
		[ "$("$scratch/privileged" secure)" = secure ]
}

# As coreutils do it: close_stdout runs after main, before the library's destructor.
stats_survives_a_closed_stderr() {
	run stats=full ls / && grep -q 'blocks allocated' "$scratch/err"
}

nothing_is_said_without_options() {
	run '' ls / && [ ! -s "$scratch/err" ] && run ',,' ls / && [ ! -s "$scratch/err" ]
}

# is_said LINE: it is all of standard error.
is_said() {
	[ "$(cat "$scratch/err")" = "osmem: OSMEM_OPTIONS: $1" ]
}

# named WHAT WORD: standard error is one line, about WORD, that ends in the names of all options.
named() {
	grep -q "^osmem: OSMEM_OPTIONS: $1 \"$2\"; the options are: stats, trace, trace_size, map, " \
		"$scratch/err" && [ "$(wc -l <"$scratch/err")" -eq 1 ]
}

unknown_is_named_and_ignored() {
	run nonsense ls / && [ -s "$scratch/out" ] && named 'unknown option' nonsense
}

# osmem(7) has every option in its table, and a paragraph on each.
all_options_are_documented() {
	man=$src/tools/man
	run nonsense ls /
	sed -n 's/.*the options are: //p' "$scratch/err" | tr -d ' ' | tr ',' '\n' >"$scratch/names"
	[ "$(wc -l <"$scratch/names")" -ge 22 ] || return
	while read -r option; do
		if ! grep -Eq "^\.BI? ${option}(=.*)?\$|^\.BR ${option}[ =]" "$man/osmem.7" ||
			! grep -Eq "^${option}(\[?=.*)?	" "$man/osmem.7"; then
			echo "$option"
			return 1
		fi
	done <"$scratch/names"
}

# A line names the values that the option takes.
bad_values_are_explained_and_ignored() {
	size='a size in bytes, which may end in k, M or G'
	while IFS=';' read -r word takes; do
		run "$word" ls / && [ -s "$scratch/out" ] &&
			is_said "invalid value in \"$word\"; ${word%%=*} takes $takes" || return 1
	done <<-EOT
		stats=;no value, full, json or a file
		trace=;a file
		trace;a file
		trace_size;$size
		trace_size=7x;$size
		trace_size=k;$size
		trace_size=99999999999G;$size
		trace_size=1kk;$size
		map=;a file
		check=x;no value, or 0 to 1073741824
		misuse;abort or warn
		misuse=ignore;abort or warn
		backtrace=1;no value
		hardened=yes;no value
		guard=0;no value, or 1 to 1073741824
		course=1;no value
		mmap_threshold=-1;$size and is at least 32k
		mmap_threshold=never;$size and is at least 32k
		mmap_threshold=10;$size and is at least 32k
		trim_threshold=nevermore;$size, or never
		trim_threshold=neve;$size, or never
		purge_delay=1k;milliseconds, 0 to 86400000
		purge_delay=86400001;milliseconds, 0 to 86400000
		depot_size=;$size
		profile_interval=131073G;$size
		profile_growth=131073G;$size, or 0 for off
		thp=sometimes;default, always or never
		thp;default, always or never
		perturb=256;1 to 255, or 0 for off
		perturb=;1 to 255, or 0 for off
	EOT
}

# The library draws nothing: who asks for a picture is told who does, and gets no file.
pictures_are_refused() {
	for file in map trace profile; do
		for end in svg png pdf; do
			word=$file=/nonexistent/a.$end
			run "$word" ls / && [ -s "$scratch/out" ] && is_said \
				"cannot draw a picture: \"$word\"; use $file=FILE, then: heapview --svg FILE" || return 1
		done
	done
	run "map=$scratch/a.svg,map=$scratch/svg" ls / && [ ! -e "$scratch/a.svg" ] && [ -s "$scratch/svg" ]
}

# Those of the allocator that does not serve malloc then.
course_names_what_it_ignores() {
	for word in guard=3 hardened mmap_threshold=64k trim_threshold=never purge_delay=0 depot_size=1M \
		thp=never perturb=1 background; do
		run "course,$word" ls / && [ -s "$scratch/out" ] &&
			is_said "\"$word\" is ignored: it has no meaning with course" &&
			run "$word,course" ls / && is_said "\"$word\" is ignored: it has no meaning with course" ||
			return 1
	done
}

# All figures are those of the block list.
course_goes_with_what_looks() {
	run "course,stats=full,check,leaks,misuse=warn,backtrace,profile=$scratch/p,profile_interval=1,map=$scratch/m" \
		sort "$tests/run.sh" && sort "$tests/run.sh" | cmp - "$scratch/out" &&
		[ -s "$scratch/p" ] && [ -s "$scratch/m" ] && ! grep -q ignored "$scratch/err" &&
		grep -Eq '^osmem:   blocks allocated +[1-9][0-9]* +0$' "$scratch/err" &&
		[ "$(figure 'live cells')" -eq 0 ] && [ "$(figure 'blocks allocated')" -eq 0 ]
}

sizes_have_units() {
	for word in trace_size=4096 mmap_threshold=64k trim_threshold=1M depot_size=1G \
		trim_threshold=never mmap_threshold=32k purge_delay=0 check check=0 check=1 perturb=0 \
		thp=default thp=always thp=never; do
		run "$word" ls / && [ ! -s "$scratch/err" ] || return 1
	done
}

unknown_does_not_hide_the_next() {
	run 'no,,stats=full,' ls / && grep -q 'unknown option "no"' "$scratch/err" &&
		grep -q 'blocks allocated' "$scratch/err"
}

a_part_of_a_name_is_unknown() {
	run stat ls / && grep -q 'unknown option "stat"' "$scratch/err" &&
		run statsx ls / && grep -q 'unknown option "statsx"' "$scratch/err"
}

a_long_name_is_cut() {
	run "$(printf '%0500d' 0)" ls / && [ "$(wc -l <"$scratch/err")" -eq 1 ] &&
		[ "$(wc -c <"$scratch/err")" -lt 512 ]
}

for test in stats_shows_what_happened stats_counts_cells stats_survives_a_closed_stderr \
	nothing_is_said_without_options unknown_is_named_and_ignored \
	all_options_are_documented \
	bad_values_are_explained_and_ignored pictures_are_refused course_names_what_it_ignores \
	course_goes_with_what_looks \
	sizes_have_units \
	unknown_does_not_hide_the_next a_part_of_a_name_is_unknown a_long_name_is_cut; do
	expect "$test" "$test"
done

if has "$cc"; then
	build_programs >"$scratch/log" 2>&1 || fail build_programs "$(tail -n 1 "$scratch/log")"
	for test in calls_are_counted calls_of_threads_are_counted peak_is_the_most \
		counting_and_tracing_go_together archived_programs_have_options \
		archived_os_only_has_options check_at_exit_reports; do
		expect "$test" "$test"
	done
	if make_privileged; then
		expect privileged_programs_have_none privileged_programs_have_none
	else
		skip privileged_programs_have_none "$reason"
	fi
else
	skip programs "no $cc"
fi
finish
