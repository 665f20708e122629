// SPDX-License-Identifier: BSD-3-Clause

/* Reads mangled names, and prints them as heapview shows them. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/profile.h"

int main(void)
{
	char line[4096];

	while (fgets(line, sizeof(line), stdin)) {
		char *name, *brief;

		line[strcspn(line, "\n")] = '\0';
		name = demangle(line);
		brief = shorten(name);
		puts(brief);
		free(name);
		free(brief);
	}
	return 0;
}
