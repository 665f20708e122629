# SPDX-License-Identifier: BSD-3-Clause
#
# The Markdown report of the rows that runner.c prints. A mark is what osmem must reach: xR, its
# ratio to the base is at most R (of the measurement, or of CPU time where there is none); <N, its
# measurement is below N. Exit status 1 if osmem failed to run something.

function number(n) {
	return sprintf(n < 10 ? "%.2f" : n < 100 ? "%.1f" : "%.0f", n)
}

function verdict(mark, value, r) {
	if (mark == "")
		return ""
	if (substr(mark, 1, 1) == "<")
		is_met = value < substr(mark, 2) + 0
	else
		is_met = r <= substr(mark, 2) + 0
	met += is_met
	missed += !is_met
	return (is_met ? "met " : "**missed** ") mark
}

BEGIN {
	FS = ","
}

NR == 1 {
	next
}

$1 != section {
	section = $1
	printf "\n## %s\n\n", section
	print "| workload | allocator | measured | CPU ms | wall ms | RSS MiB | ratio | CPU | wall | RSS | mark |"
	print "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |"
}

$5 != "ok" {
	printf "| %s | %s | %s | | | | | | | | |\n", $2, $3, $5
	if ($3 ~ /^osmem/)
		broken = 1
	next
}

{
	has_value = $10 != ""
	printf "| %s | %s | %s |", $2, $3, has_value ? number($9) " " $10 : ""
	if ($7 > 0)
		printf " %s | %s | %s |", number($7), number($6), number($8 / 1024)
	else
		printf " | | |"
	printf " %s |", (has_value && $14 > 0 ? number($14) : "")
	if ($12 > 0)
		printf " %s | %s | %s |", number($12), number($11), number($13)
	else
		printf " | | |"
	printf " %s |\n", ($3 ~ /^osmem/ ? verdict($15, $9, has_value ? $14 : $12) : "")
}

END {
	printf "\n%d marks met, %d missed\n", met, missed
	exit broken
}
