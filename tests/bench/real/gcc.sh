#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# gcc -O1 on a large C file: cc1 and as.

case $1 in
prepare)
	command -v gcc >/dev/null || { echo "gcc is not installed" && exit 77; }
	awk 'BEGIN {
		print "#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>"
		for (n = 0; n < 150; n++) {
			printf "struct s%d { int a, b; char text[%d]; struct s%d *next; };\n", n, n + 1, n
			printf "int f%d(struct s%d *s, int n)\n{\n\tint sum = 0;\n", n, n
			printf "\tfor (; s; s = s->next) {\n\t\tswitch (s->a %% 5) {\n"
			for (k = 0; k < 5; k++)
				printf "\t\tcase %d: sum += s->b * %d + (int)strlen(s->text); break;\n", k, n + k
			printf "\t\t}\n\t\tif (sum > n)\n\t\t\tprintf(\"%%d\\n\", sum);\n\t}\n\treturn sum;\n}\n"
		}
	}' >big.c
	;;
run)
	exec gcc -O1 -c -o /dev/null big.c
	;;
esac
