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
# The page of heapview has the rules with their drawings: src/tools/page/rules.html.
rules_html() {
	awk -f "$src/tools/page/rules.awk" "$here/RULES.md"
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
	expect "$page" draws_the_same "$page.md"
done
expect page_of_heapview_has_the_rules page_of_heapview_has_the_rules
expect each_rule_is_drawn each_rule_is_drawn
expect each_rule_is_applied each_rule_is_applied
expect comments_cite_the_rules comments_cite_the_rules
expect a_wrong_drawing_is_noticed a_wrong_drawing_is_noticed
finish
