#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Needs: libosmem.so
#
# OSMEM_OPTIONS=stats in its forms: the summary of ten lines, the full table, JSON, and files.

# shellcheck disable=SC2317 # functions are called through expect
# shellcheck source-path=SCRIPTDIR source=../lib/report.sh
. "${0%/*}/../lib/report.sh"

cc=${CC:-cc}
subject=$scratch/subject

# run FORM ARGUMENT…: the program with stats, or stats=FORM; standard error is left in $scratch/err.
run() {
	form=$1
	shift
	(cd "$scratch" && OSMEM_OPTIONS=stats$form exec "$subject" "$@") 2>"$scratch/err"
}

# one_process: what the parent of the two processes said, in place of all.
one_process() {
	awk '/^osmem: process/ { n++ } n == 2' "$scratch/err" >"$scratch/parent" &&
		mv "$scratch/parent" "$scratch/err"
}

# shows NAME FIGURE MEANING: a line of the summary, by regular expressions.
shows() {
	grep -Eq "^osmem:   $1 +$2  [a-z].*$3" "$scratch/err" || {
		grep "^osmem:   $1 " "$scratch/err"
		return 1
	}
}

# Ten lines, none of them long; each figure has its unit and its meaning.
summary_is_for_people() {
	run '' hold && [ "$(wc -l <"$scratch/err")" -eq 20 ] && one_process &&
		! grep -v -E '^osmem:.{1,90}$' "$scratch/err" &&
		shows live '[34]\.[0-9] MiB' ' 4[0-9] objects' &&
		shows 'peak live' '[34]\.[0-9] MiB' '' &&
		shows held '[0-9.]+ MiB' 'live [+] cached [+] free [+] metadata' &&
		shows cached '[0-9.]+ ([KM]i)?B' '' && shows free '[0-9.]+ ([KM]i)?B' '' &&
		shows metadata '[0-9.]+ [KM]iB' '' && shows resident '[0-9.]+ MiB' '' &&
		shows 'peak resident' '[0-9.]+ MiB' '' && shows 'page faults' '[0-9,]+' ' from a disk'
}

thousands_are_grouped() {
	run '' 2000 &&
		grep -Eq '^osmem: process [0-9]+: [2-3][0-9],[0-9]{3} calls requested 9\.[0-9] GiB; 2,000 failed$' \
			"$scratch/err"
}

# As wide as the rows below, whatever the process number is.
headings_are_above_figures() {
	run '=full' 1 && [ "$(sed -n '/^osmem: process/{ p; n; p; }' "$scratch/err" | awk '{ print length }' | uniq | wc -l)" -eq 1 ]
}

# Without a file, the resident size is unknown; the rest is not.
unknown_is_a_dash() {
	run '' no-files && shows resident - '' && shows 'peak resident' '[0-9.]+ MiB' '' &&
		run '=full' no-files && grep -Eq '^osmem:   resident bytes +-$' "$scratch/err" &&
		run '=json' no-files && grep -Fxq '"resident_bytes":null,' "$scratch/err"
}

# What the table has, in the words that it has.
full_is_the_table() {
	run '=full' 1 && grep -Eq '^osmem:   cells allocated +- +[1-9]' "$scratch/err" &&
		grep -Eq '^osmem:   posix_memalign +1 +70 +0$' "$scratch/err"
}

# A file named as a form needs a folder; the ending tells JSON from the table.
files_are_written() {
	run '=table.txt' 1 && [ ! -s "$scratch/err" ] && grep -q 'blocks allocated' "$scratch/table.txt" &&
		run '=./full' 1 && [ ! -s "$scratch/err" ] && grep -q 'blocks allocated' "$scratch/full" &&
		run '=./json' 1 && [ ! -s "$scratch/err" ] && grep -q 'blocks allocated' "$scratch/json" &&
		run '=it.json' 1 && [ ! -s "$scratch/err" ] && [ "$(head -c 11 "$scratch/it.json")" = '{"process":' ]
}

# Without %p the parent's; with it, one of each process.
each_process_has_its_file() {
	run '=one' hold && [ "$(grep -c '^osmem: process' "$scratch/one")" -eq 1 ] &&
		mkdir -p "$scratch/each" && run '=each/%p.json' hold && [ ! -s "$scratch/err" ] &&
		[ "$(find "$scratch/each" -name '[0-9]*.json' -size +1 | wc -l)" -eq 2 ]
}

# The last one counts, whether a word or a file.
the_last_one_counts() {
	run '=unused.txt,stats=full' 1 && grep -q 'blocks allocated' "$scratch/err" &&
		[ ! -e "$scratch/unused.txt" ] &&
		run '=json,stats=used.txt' 1 && [ ! -s "$scratch/err" ] && [ -s "$scratch/used.txt" ]
}

what_cannot_be_written_is_said() {
	run '=no/such/folder/stats' 1 && [ "$(cat "$scratch/err")" = \
		"osmem: OSMEM_OPTIONS: stats: cannot write $scratch/no/such/folder/stats: ENOENT" ] &&
		run '=/dev/full' 1 &&
		[ "$(cat "$scratch/err")" = "osmem: OSMEM_OPTIONS: stats: cannot write /dev/full: ENOSPC" ]
}

# counted NAME: of its calls and bytes, in the full table.
counted() {
	sed -n "s/^osmem:   $1  *//p" "$scratch/err"
}

# With misuse=warn, a call that did nothing is not among them.
wrong_calls_are_not_counted() {
	run '=full,misuse=warn' twice 0 && ! grep -q 'already free' "$scratch/err" &&
		frees=$(counted free) live=$(counted 'peak live bytes, malloc') &&
		run '=full,misuse=warn' twice 7 && [ "$(grep -c 'already free' "$scratch/err")" -eq 1 ] &&
		[ "$(counted free)" = "$frees" ] && [ "$(counted 'peak live bytes, malloc')" = "$live" ]
}

# Every member of the header's structs is in the object, and the figures agree with each other.
json_has_every_figure() {
	run '=json' "$1" "$2" && python3 - "$tests/../src/osmem_inspect.h" "$scratch/err" <<-'EOT'
		import json, re, sys
		header = open(sys.argv[1]).read()
		said = json.load(open(sys.argv[2]))
		def members(struct):
		    body = re.search(r"struct %s {(.*?)\n};" % struct, header, re.S).group(1)
		    body = re.sub(r"/\*.*?\*/", "", body, flags=re.S)
		    return [m for line in re.findall(r"size_t ([^;]*);", body) for m in line.split(", ")]
		for name, struct in ("course", "heap"), ("libc", "heap"), ("cells", "cell"):
		    assert list(said[name]) == members("osmem_%s_stats" % struct), name
		course, libc, cells = said["course"], said["libc"], said["cells"]
		assert said["process"] > 0 and said["time_ms"] > 1500000000000
		assert said["live_bytes"] == cells["live_bytes"] + sum(
		    h["live_bytes"] + h["mapped_bytes"] for h in (course, libc))
		assert said["held_bytes"] == sum(cells[m + "_bytes"] for m in
		    ("live", "cached", "free", "own", "dirty")) + sum(
		    h["region_bytes"] + h["ahead_bytes"] + h["mapped_bytes"] for h in (course, libc))
		assert said["peak_live_bytes"] >= 5 << 20
		assert 0 < said["resident_bytes"] <= said["peak_resident_bytes"]
		assert said["minor_faults"] > 0 and said["major_faults"] >= 0
		assert said["system_calls"]["mmap"] >= course["mmap_calls"] + libc["mmap_calls"]
		classes = said["classes"]
		assert sum(c["live"] for c in classes) == cells["live"]
		assert sum(c["live"] * c["size"] for c in classes) == cells["live_bytes"]
		assert sum(c["cached"] for c in classes) == cells["cached"]
		assert all(c["live"] + c["cached"] <= c["room"] for c in classes)
		assert len(said["threads"]) == cells["threads"] >= 1
		assert sum(t["cells"] for t in said["threads"]) <= cells["cached"]
		assert said["calls"]["os_malloc"]["bytes"] == 100 * said["calls"]["os_malloc"]["calls"] > 0
	EOT
}

if ! has "$cc"; then
	skip programs "no $cc"
	finish
fi
"$cc" -std=gnu11 -O1 -D_GNU_SOURCE -Wall -Wextra -fno-builtin -pthread -I"$utils" -o "$subject" \
	"$here/options/program.c" "-L${library%/*}" -losmem "-Wl,-rpath,${library%/*}" || exit 1
for test in summary_is_for_people thousands_are_grouped headings_are_above_figures \
	unknown_is_a_dash full_is_the_table \
	files_are_written each_process_has_its_file the_last_one_counts wrong_calls_are_not_counted what_cannot_be_written_is_said; do
	expect "$test" "$test"
done
# A large process executes a small one, whose peak is its own.
peak_is_of_the_program() {
	python3 - "$library" <<-'EOT'
		import os, subprocess, sys
		large = b"x" * (64 << 20)
		said = subprocess.run(["true"], stderr=subprocess.PIPE, preexec_fn=lambda: None,
		    env=dict(os.environ, LD_PRELOAD=sys.argv[1], OSMEM_OPTIONS="stats=full")).stderr.decode()
		line = [l for l in said.splitlines() if "peak resident bytes" in l][0]
		assert 0 < int(line.split()[-1].replace(",", "")) < 32 << 20, line
	EOT
}

if has python3; then
	expect peak_is_of_the_program peak_is_of_the_program
	expect json_has_every_figure json_has_every_figure 50 0
	expect json_after_threads json_has_every_figure 50 8
else
	skip json "no python3"
fi
finish
