# SPDX-License-Identifier: BSD-3-Clause
#
# The rows that runner.c prints: field(NAME) of the present one. For the programs that follow, whose
# rules do not see the row of names.

BEGIN {
	FS = ","
}

NR == 1 {
	for (i = 1; i <= NF; i++)
		column[$i] = i
	next
}

function field(name) {
	return $column[name]
}
