# SPDX-License-Identifier: BSD-3-Clause
#
# rules.html, the text of the rules in the page, from tests/model/RULES.md: headings, paragraphs, lists
# and blocks of code from "## Rule 1" on.

function escape(text)
{
	gsub(/&/, "\\&amp;", text)
	gsub(/</, "\\&lt;", text)
	gsub(/>/, "\\&gt;", text)
	return text
}

# Code and emphasis; links lead nowhere in a page, so their texts stay.
function inline(text)
{
	text = escape(text)
	while (match(text, /`[^`]*`/))
		text = substr(text, 1, RSTART - 1) "<code>" substr(text, RSTART + 1, RLENGTH - 2) "</code>" substr(text, RSTART + RLENGTH)
	while (match(text, /\*\*[^*]*\*\*/))
		text = substr(text, 1, RSTART - 1) "<b>" substr(text, RSTART + 2, RLENGTH - 4) "</b>" substr(text, RSTART + RLENGTH)
	while (match(text, /\*[^* ][^*]*\*/))
		text = substr(text, 1, RSTART - 1) "<i>" substr(text, RSTART + 1, RLENGTH - 2) "</i>" substr(text, RSTART + RLENGTH)
	while (match(text, /\[[^]]*\]\([^)]*\)/)) {
		link = substr(text, RSTART + 1, RLENGTH - 1)
		sub(/\].*/, "", link)
		text = substr(text, 1, RSTART - 1) link substr(text, RSTART + RLENGTH)
	}
	return text
}

function flush()
{
	if (paragraph != "")
		print "<p>" inline(paragraph) "</p>"
	paragraph = ""
}

function end_article()
{
	flush()
	if (in_article)
		print "</article>"
	in_article = 0
}

/^```/ {
	if (in_article) {
		flush()
		print in_code ? "</pre>" : "<pre>"
	}
	in_code = !in_code
	next
}
in_code { if (in_article) print escape($0); next }
/^## / {
	end_article()
	if ($2 == "Rule") {
		number = $3 + 0
		print "<article id=\"rule-" number "\">"
		print "<h3>" inline(substr($0, 4)) "</h3>"
		in_article = 1
	}
	next
}
!in_article { next }
/^$/ { flush(); next }
/^([-*]|[0-9a-d]+[.)]) / { flush() }
{ paragraph = paragraph (paragraph == "" ? "" : " ") $0 }
END { end_article() }
