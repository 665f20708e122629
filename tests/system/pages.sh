#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Needs: libosmem.so, heapview, bin/model/play
#
# The pages (every *.md): their commands work, their links lead somewhere, the files that they name
# exist, they are short enough, and figures that they repeat agree.
#
# A block of commands is fenced and of the kind "sh". It runs from the top folder, after those before
# it in its page; /tmp/ stands for a folder of the test. A word after "sh" says why it does not run
# here: "long", "root", "network" or "installed", and it is skipped; or "by FOLDER/NAME", the test
# that runs it.

# shellcheck disable=SC2016,SC2317 # the backticks are those of the pages; functions are called through expect
# shellcheck source-path=SCRIPTDIR source=../lib/report.sh
. "${0%/*}/../lib/report.sh"

top=$(cd "$tests/.." && pwd)

pages() {
	(cd "$top" && find . -name bin -prune -o -name out -prune -o -name '*.md' -print) | sed 's|^\./||' | LC_ALL=C sort
}

# ---- Lengths ----

# limit PAGE: the number of words that it may have; nothing: any
limit() {
	case $1 in
	README.md) echo 1500 ;;
	src/README.md) echo 1200 ;;
	src/*/README.md) echo 900 ;;
	esac
}

pages_are_short() {
	for page in $(pages); do
		most=$(limit "$page")
		words=$(wc -w <"$top/$page")
		[ "$words" -le "${most:-$words}" ] || echo "$page: $words words, not $most at most"
	done | tee "$scratch/long"
	! [ -s "$scratch/long" ]
}

each_wing_has_a_page() {
	for wing in "$src"/*/; do
		wing=$(basename "$wing")
		if ! grep -q '^## .*, and rejected$' "$src/$wing/README.md" || ! grep -q "($wing/README.md)" "$src/README.md"; then
			echo "src/$wing: no README.md that ends with what was rejected, or no link to it"
			return 1
		fi
	done
}

# Words of the code that mean nothing to a reader.
words_are_plain() {
	! (cd "$top" && pages | xargs grep -niwE 'mark(s|ed)?|shards?|seal(s|ed)?|settle[sd]?|shel(f|ves)|door')
}

# ---- Links ----

# anchors PAGE: of its headings, as GitHub makes them
anchors() {
	sed -n '/^```/,/^```/d; s/^##* //p' "$1" | tr '[:upper:]' '[:lower:]' |
		sed -e 's/[^a-z0-9 _-]//g' -e 's/ /-/g'
}

# links PAGE: what its links and pictures lead to, outside of fenced blocks
links() {
	sed '/^```/,/^```$/d' "$1" | grep -oE -e ']\([^)]*\)' -e 'src(set)?="[^"]*"' | sed -E 's/^(]\(|src.*=")//; s/[)"]$//'
}

# leads PAGE LINK: there is such a file, and such a heading in it
leads() {
	case $2 in
	http*) return 0 ;;
	esac
	file=${2%%#*} anchor=
	case $2 in
	*'#'*) anchor=${2#*#} ;;
	esac
	file=$(dirname "$1")/${file:-$(basename "$1")}
	[ -e "$top/$file" ] || return 1
	[ -z "$anchor" ] || anchors "$top/$file" | grep -qxF -e "$anchor"
}

links_lead_somewhere() {
	for page in $(pages); do
		for link in $(links "$top/$page"); do
			leads "$page" "$link" || echo "$page: there is no $link"
		done
	done | tee "$scratch/dead"
	! [ -s "$scratch/dead" ]
}

# Names in backticks: a path from the top folder, from src/ or from the page's own. With capitals,
# wildcards or "…" it stands for others.
names_exist() {
	for page in $(pages); do
		sed '/^```/,/^```$/d' "$top/$page" | grep -o '`[a-z_./-]*/[a-z0-9_./-]*`' | tr -d '\140' |
			grep -Ev '^(/|\./|tests/(out|bin)|\.\./)' | while read -r name; do
			[ -e "$top/$name" ] || [ -e "$src/$name" ] || [ -e "$tests/$name" ] ||
				[ -e "$(dirname "$top/$page")/$name" ] || [ -e "$tests/$name.c" ] || [ -e "$tests/$name.sh" ] ||
				echo "$page: there is no $name"
		done
	done | tee "$scratch/absent"
	! [ -s "$scratch/absent" ]
}

# ---- Figures ----

# row FILE BEGINNING: its cells, without bold, one a line
row() {
	grep -m 1 "^| $2 |" "$1" | tr '|' '\n' | sed 's/[ *]*\([^*]*[^ *]\)[ *]*/\1/' | grep -v '^ *$'
}

# The means of README.md are those of tests/bench/README.md, whose columns have another order.
means_agree() {
	for what in time 'peak memory'; do
		row "$top/README.md" "$what" | LC_ALL=C sort >"$scratch/here"
		row "$tests/bench/README.md" "$what" | LC_ALL=C sort | diff "$scratch/here" - || return 1
	done
	grep -q "^- \*\*$(row "$tests/bench/README.md" time | sed -n 2p) of glibc's time and $(row \
		"$tests/bench/README.md" 'peak memory' | sed -n 2p) of its peak memory\*\*" "$top/README.md"
}

chart_is_of_these() {
	awk -f "$tests/bench/means.awk" "$tests/bench/README.md" | diff "$tests/bench/pictures/means.svg" -
}

# reported COLUMN: how many misuses of the matrix are reported at each size
reported() {
	awk -F '|' -v column="$(($1 + 2))" '$column == " `RRR` " { n++ } END { print n + 0 }' "$tests/misuse/README.md"
}

matrix_agrees() {
	kinds=$(grep -c '^| .*`[A-Zn-][A-Zn-][A-Zn-]` |$' "$tests/misuse/README.md")
	echo "$kinds kinds; reported by osmem $(reported 1), glibc $(reported 3), tcmalloc $(reported 6)"
	tr -s ' \n' ' ' <"$top/README.md" | grep -q "\*\*$(reported 1) of $kinds kinds of misuse\*\*.* glibc reports $(reported 3), tcmalloc $(
		reported 6
	), jemalloc"
}

# ---- Commands ----

# blocks PAGE: the line of each block's fence and the words after "sh"
blocks() {
	grep -n '^```sh' "$top/$1" | sed 's/:```sh */ /'
}

# commands PAGE LINE: those of the block that begins there, with files in our folder. What a person
# would wait for may take longer here.
commands() {
	sed -n "$(($2 + 1)),\$p" "$top/$1" | sed '/^```$/,$d' | sed -e "s|/tmp/|$scratch/tmp/|g" \
		-e "s|^sleep 1\$|for i in \$(seq 100); do [ -S $scratch/tmp/osmem.sock ] \\&\\& break; sleep 0.1; done|" \
		-e 's/ sleep 5 &$/ sleep 30 \& server=$!/'
}

run_block() {
	{
		echo 'set -e'
		commands "$1" "$2"
		echo 'kill $server 2>/dev/null || :'
	} >"$scratch/block"
	(cd "$top" && timeout -s KILL 300 sh "$scratch/block" </dev/null)
}

# lacks PAGE LINE: a program of the block that is not installed
lacks() {
	for tool in curl python3 perl pprof man; do
		! commands "$1" "$2" | grep -qw "$tool" || has "$tool" || echo "$tool"
	done
}

# run_by TEST PAGE: there is such a test, and it reads the page
run_by() {
	grep -q "${2#tests/}" "$tests/$1.sh"
}

run_page() {
	blocks "$1" | while read -r line why test; do
		echo "$line ${why:-run} $test"
	done >"$scratch/blocks"
	while read -r line why test <&3; do
		name=${1%.md}:$line
		case $why in
		run)
			missing=$(lacks "$1" "$line")
			if [ "$missing" ]; then
				skip "$name" "$missing is not installed"
			else
				expect "$name" run_block "$1" "$line"
			fi
			;;
		by) expect "$name" run_by "$test" "$1" ;;
		long | root | network | installed) skip "$name" "its commands are of the kind \"$why\"" ;;
		*) fail "$name" "expected a reason that is known, but it is \"$why\"" ;;
		esac
	done 3<"$scratch/blocks"
}

# A command that fails is a failure, and so is a link to nothing.
failures_are_seen() {
	printf '%s\n' '```sh' 'false' 'true' '```' '[x](nowhere.md) [y](#none)' >"$scratch/page.md"
	! (top=$scratch && run_block page.md 1) && (top=$scratch && ! leads page.md nowhere.md && ! leads page.md '#none')
}

unset MAKEFLAGS MFLAGS MAKELEVEL OSMEM_OPTIONS
mkdir "$scratch/tmp"
for test in pages_are_short each_wing_has_a_page words_are_plain links_lead_somewhere names_exist means_agree \
	chart_is_of_these matrix_agrees failures_are_seen; do
	expect "$test" "$test"
done
for page in $(pages); do
	run_page "$page"
done
finish
