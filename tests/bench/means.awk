# SPDX-License-Identifier: BSD-3-Clause
#
# A small chart (SVG) of the geometric means in README.md: bars of time and of peak memory relative
# to glibc, of this library and of what the README of the whole project compares it with.

function cells(   n, i, part) {
	n = split($0, part, "|")
	for (i = 2; i < n; i++) {
		gsub(/^[ *]+|[ *]+$/, "", part[i])
		cell[i - 1] = part[i]
	}
	return n - 2
}

/^\| geometric mean of / {
	count = cells()
	for (i = 2; i <= count; i++)
		column[cell[i]] = i
	is_in = 1
}

is_in && /^\| (time|peak memory) \|/ {
	cells()
	name = cell[1]
	value[name, "glibc"] = 1
	for (v in column)
		value[name, v] = cell[column[v]]
}

!/^\|/ {
	is_in = 0
}

function text(x, y, class, words) {
	printf "<text x=\"%d\" y=\"%d\" class=\"%s\">%s</text>\n", x, y, class, words
}

function bar(x, y, length_, class) {
	printf "<rect x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"14\" class=\"%s\"/>\n", x, y, length_, class
}

function panel(x, name, title,   i, v, y) {
	text(x, 20, "head", title)
	for (i = 1; i <= shown; i++) {
		v = list[i]
		y = 12 + i * 22
		text(x + 78, y + 12, "name", v)
		bar(x + 86, y, 110 * value[name, v], v == "osmem" ? "ours" : "theirs")
		text(x + 92 + 110 * value[name, v], y + 12, "figure", sprintf("%.2f", value[name, v]))
	}
}

END {
	shown = split("osmem,glibc,jemalloc,mimalloc 2,tcmalloc", list, ",")
	print "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 800 150\" width=\"800\" role=\"img\">"
	print "<title>Geometric means of 80 workloads, relative to glibc: time and peak memory</title>"
	print "<style>text{font:13px sans-serif;fill:#222}.head{font-weight:bold}.name{text-anchor:end}"
	print ".ours{fill:#0b6bcb}.theirs{fill:#8c9aa8}.back{fill:#fff}"
	print "@media (prefers-color-scheme:dark){text{fill:#eaeaea}.back{fill:#161616}.ours{fill:#5aa9ff}" \
		".theirs{fill:#7d8893}}</style>"
	print "<rect class=\"back\" width=\"800\" height=\"150\"/>"
	panel(10, "time", "Time relative to glibc")
	panel(410, "peak memory", "Peak memory relative to glibc")
	print "</svg>"
}
