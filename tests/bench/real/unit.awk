# SPDX-License-Identifier: BSD-3-Clause
#
# A C file of many functions, for compilers: awk -v functions=N -f unit.awk

BEGIN {
	print "#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>"
	for (n = 0; n < functions; n++) {
		printf "struct s%d { int a, b; char text[%d]; struct s%d *next; };\n", n, n + 1, n
		printf "int f%d(struct s%d *s, int n)\n{\n\tint sum = 0;\n", n, n
		printf "\tfor (; s; s = s->next) {\n\t\tswitch (s->a %% 5) {\n"
		for (k = 0; k < 5; k++)
			printf "\t\tcase %d: sum += s->b * %d + (int)strlen(s->text); break;\n", k, n + k
		printf "\t\t}\n\t\tif (sum > n)\n\t\t\tprintf(\"%%d\\n\", sum);\n\t}\n\treturn sum;\n}\n"
	}
}
