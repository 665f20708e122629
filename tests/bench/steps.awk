# SPDX-License-Identifier: BSD-3-Clause
#
# After csv.awk: what steps.sh measured, as a table (-v form=table) or a chart (SVG). Figures are
# what the work without a step takes over what it takes with it, both medians.

# Of CPU time, or of what the work says of itself.
function figure() {
	return field("unit") == "" ? field("cpu_ms") : field("value")
}

field("variant") == "before" {
	count++
	title[count] = field("workload")
	unit[count] = field("unit") == "" ? "ms" : field("unit")
	before[count] = figure()
	faults_before[count] = field("faults")
	memory_before[count] = field("rss_kib")
	is_ok[count] = field("status") == "ok"
}

field("variant") == "after" {
	after[count] = figure()
	faults_after[count] = field("faults")
	memory_after[count] = field("rss_kib")
	is_ok[count] = is_ok[count] && field("status") == "ok" && after[count] > 0
	times[count] = is_ok[count] ? before[count] / after[count] : 0
}

function shown(x) {
	return x < 9.95 ? sprintf("%.1f", x) : sprintf("%.0f", x)
}

function table(   i) {
	print "| step | without it | with it | times | peak memory, MiB | page faults |"
	print "| --- | --- | --- | --- | --- | --- |"
	for (i = 1; i <= count; i++)
		printf "| %s | %s %s | %s %s | %s | %s → %s | %d → %d |\n", title[i], shown(before[i]), unit[i],
			shown(after[i]), unit[i], is_ok[i] ? shown(times[i]) : "failed",
			shown(memory_before[i] / 1024), shown(memory_after[i] / 1024), faults_before[i],
			faults_after[i]
}

function x_of(r) {
	return left + width * log(r) / log(largest)
}

function text(x, y, style, words) {
	printf "<text x=\"%.1f\" y=\"%.1f\" %s>%s</text>\n", x, y, style, words
}

function bar(y, i,   end) {
	end = x_of(times[i] > 1.01 ? times[i] : 1.01)
	text(left - 10, y + 15, "text-anchor=\"end\"", title[i])
	printf "<rect x=\"%.1f\" y=\"%d\" width=\"%.1f\" height=\"%d\" fill=\"#1f77b4\"/>\n", left, y + 4, end - left,
		row - 8
	text(end + 6, y + 15, "font-weight=\"bold\"", is_ok[i] ? shown(times[i]) : "failed")
}

function chart(   i, r) {
	left = 450
	width = 380
	row = 24
	top = 50
	largest = 10
	for (i = 1; i <= count; i++)
		while (times[i] > largest)
			largest *= 10
	printf "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\"", left + width + 60, top + row * count + 12
	printf " width=\"%d\" font-family=\"sans-serif\" font-size=\"13\" fill=\"#222\">\n", left + width + 60
	print "<title>What each step is worth: CPU time without it over CPU time with it</title>"
	print "<style>.back{fill:#fff}line{stroke:#ddd}.one{stroke:#444}"
	print "@media (prefers-color-scheme:dark){svg{fill:#eaeaea}.back{fill:#161616}line{stroke:#383838}.one{stroke:#bbb}}</style>"
	print "<rect class=\"back\" width=\"100%\" height=\"100%\"/>"
	text(left, 20, "font-weight=\"bold\"", "CPU time without the step / with it")
	for (r = 1; r <= largest; r *= 10) {
		printf "<line x1=\"%.1f\" y1=\"%d\" x2=\"%.1f\" y2=\"%d\"%s/>\n", x_of(r), top - 4, x_of(r),
			top + row * count, r == 1 ? " class=\"one\"" : ""
		text(x_of(r), top - 8, "text-anchor=\"middle\"", r)
	}
	for (i = 1; i <= count; i++)
		bar(top + (i - 1) * row, i)
	print "</svg>"
}

END {
	if (form == "table")
		table()
	else
		chart()
}
