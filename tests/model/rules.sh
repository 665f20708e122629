#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Needs: libosmem.so, bin/model/play
#
# The drawings in RULES.md and STUDENT.md are what play prints for the calls in them. With --write,
# which "make rules" uses, they are drawn anew.
#
# A drawing is a fenced block of the kind "list", or "list first-fit" for the naive model with first
# fit. Its lines that begin with "> " are the script; play.c says what they may be.
#
# The page of heapview has each rule's heading and first paragraph: src/tools/page/rules.html.

# shellcheck disable=SC2317 # functions are called through expect

write=
if [ "$1" = --write ]; then
	write=1
	shift
fi

# shellcheck source-path=SCRIPTDIR source=../lib/report.sh
. "${0%/*}/../lib/report.sh"

play=$tests/bin/model/play
traced="7 8 9 10 11 12 13 14 17 18" # the rules that steps of a trace name

# play_block KIND: the script on standard input, played.
play_block() {
	if [ "$1" = first-fit ]; then
		"$play" --first-fit
	else
		rm -f "$scratch/trace"
		OSMEM_OPTIONS=trace=$scratch/trace "$play" "$scratch/trace"
	fi
}

# played PAGE: the page with each drawing made anew.
played() {
	while IFS= read -r line; do
		printf '%s\n' "$line"
		case $line in
		'```list'*) ;;
		*) continue ;;
		esac
		kind=${line#'```list'}
		: >"$scratch/script"
		while IFS= read -r line && [ "$line" != '```' ]; do
			printf '%s\n' "$line" >>"$scratch/script"
		done
		play_block "${kind# }" <"$scratch/script" || return 1
		printf '```\n'
	done <"$1"
}

draws_the_same() {
	played "$here/$1" >"$scratch/page" || return 1
	if [ "$write" ]; then
		cmp -s "$scratch/page" "$here/$1" || cp "$scratch/page" "$here/$1"
	else
		diff "$here/$1" "$scratch/page"
	fi
}

rules_html() {
	awk '
		function print_rule() {
			if (!text)
				return
			gsub(/`/, "", text)
			gsub(/&/, "\\&amp;", text)
			gsub(/</, "\\&lt;", text)
			printf "<li id=\"rule-%d\"><b>%s.</b> %s</li>\n", number, title, text
			text = ""
		}
		BEGIN {
			print "<ol id=\"rule-list\">"
		}
		/^## Rule / {
			number = $3 + 0
			title = $0
			sub(/^## Rule [0-9]*: /, "", title)
			if (title !~ /^os_/)
				title = toupper(substr(title, 1, 1)) substr(title, 2)
			is_first = 1
			next
		}
		is_first && /./ {
			text = text (text ? " " : "") $0
			next
		}
		text {
			print_rule()
			is_first = 0
		}
		END {
			print "</ol>"
		}' "$here/RULES.md"
}

page_of_heapview_has_the_rules() {
	rules_html >"$scratch/rules.html"
	[ "$write" ] && cp "$scratch/rules.html" "$src/tools/page/rules.html"
	diff "$src/tools/page/rules.html" "$scratch/rules.html"
}

section() {
	awk -v head="## Rule $1: " '/^## / { is_in = index($0, head) == 1 } is_in' "$here/RULES.md"
}

# Each rule has its heading, in order; a paragraph; and at least two drawings, before and after.
each_rule_is_drawn() {
	sed -n 's/^## Rule \([0-9]*\): ..*/\1/p' "$here/RULES.md" >"$scratch/numbers"
	seq 18 | diff - "$scratch/numbers" || return 1
	for rule in $(seq 18); do
		section "$rule" | sed -n 3p | grep -q '^[A-Z`]' || {
			echo "rule $rule: no paragraph below the heading"
			return 1
		}
		[ "$(section "$rule" | grep -c '^  ┌')" -ge 2 ] || {
			echo "rule $rule: fewer than two drawings"
			return 1
		}
	done
}

# A rule whose steps are in traces has been applied in its own drawing.
each_rule_is_applied() {
	for rule in $traced; do
		section "$rule" | grep -Eq "^  .*rules? ([0-9, ]*, )?${rule}[,;]" || {
			echo "rule $rule: no call of its section applies it"
			return 1
		}
	done
}

# The comments of osmem.c cite rules that there are, and each of those that it implements.
comments_cite_the_rules() {
	grep -oE '\b[Rr]ules? [0-9]+[a-d]?((,| to| and) [0-9]+[a-d]?)*' "$src/osmem.c" | grep -oE '[0-9]+' | sort -nu >"$scratch/cited"
	[ "$(tail -n 1 "$scratch/cited")" -eq 18 ] || return 1
	for rule in $(seq 5 18); do
		grep -qx "$rule" "$scratch/cited" || echo "rule $rule is not cited"
	done | tee "$scratch/uncited"
	! [ -s "$scratch/uncited" ]
}

# A page that says something else is found out.
a_wrong_drawing_is_noticed() {
	sed 's/heap + 32;/heap + 40;/' "$here/RULES.md" >"$scratch/wrong" &&
		! cmp -s "$scratch/wrong" "$here/RULES.md" &&
		played "$scratch/wrong" >"$scratch/right" && ! cmp -s "$scratch/wrong" "$scratch/right"
}

for page in RULES STUDENT; do
	if [ "$(getconf PAGESIZE)" -eq 4096 ]; then
		expect "$page" draws_the_same "$page.md"
	else
		skip "$page" "its drawings are for pages of 4096 bytes"
	fi
done
expect page_of_heapview_has_the_rules page_of_heapview_has_the_rules
expect each_rule_is_drawn each_rule_is_drawn
expect each_rule_is_applied each_rule_is_applied
expect comments_cite_the_rules comments_cite_the_rules
expect a_wrong_drawing_is_noticed a_wrong_drawing_is_noticed
finish
